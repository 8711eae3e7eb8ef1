"""One logit a pixel: its sigmoid is the chance of class 1 of two, wherever logits are read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import adapt
from adapt.disk.files import read_mapping
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.predict import predictions
from adapt.evaluation.protocol import most_likely, predict
from adapt.export import export
from adapt.machine.runtime import runtime
from adapt.networks import build_network
from adapt.networks.factory import permit
from adapt.networks.layers import auto_taps, trace
from adapt.networks.saved import Model, check_outputs, load_complete, load_model, save_model
from adapt.networks.taps import LOGITS, logits_of, two_logits, upsample
from adapt.objective.terms import Objective
from adapt.penalties.fisher import fisher_of
from adapt.settings.commands import EvaluateConfig, ExportConfig, PredictConfig
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.objective import (
    KDConfig,
    ObjectiveConfig,
    PseudoConfig,
    SupervisedConfig,
)
from adapt.settings.training import TrainConfig
from adapt.training.adapt import adapt as adapting
from adapt.training.verdict import read_verdict

NET = """
from torch import nn

def one():
    body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(body, nn.Conv2d(6, 1, 1))
"""
SIZE = (6, 10)
CONFIG = NetworkConfig(width=1 / 32, batch_norm=True)
TWO = ("background", "crop")


def maps(seed: int) -> Tensor:
    """A student's or teacher's one logit, (2, 1, 3, 5)."""
    return 2 * torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(seed))


def bernoulli(wanted: Tensor, found: Tensor, temperature: float) -> Tensor:
    """T^2 KL(p || q) in nats of two sigmoids, by its definition."""
    p, q = ((z.double() / temperature).sigmoid() for z in (wanted, found))
    return temperature**2 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()


def binary(logits: Tensor, labels: Tensor) -> Tensor:
    """PyTorch's binary cross-entropy over the pixels that are not void."""
    kept, large = labels != 255, upsample(logits, SIZE)[:, 0]
    wanted = labels[kept].float()
    return nn.functional.binary_cross_entropy_with_logits(large[kept], wanted)


def test_losses_are_the_binary_ones() -> None:
    student, teacher = maps(0), maps(1)
    both = {LOGITS: two_logits(student)}, {LOGITS: two_logits(teacher)}
    y = torch.from_numpy(np.random.default_rng(0).choice([0, 1, 255], (2, *SIZE)))
    found = Objective(ObjectiveConfig(supervised=SupervisedConfig(1.0)))(*both, {"y": y})[0]
    assert found.item() == pytest.approx(binary(student, y).item(), rel=1e-5)
    found = Objective(ObjectiveConfig(kd=KDConfig(1.0, 2.0)))(*both, {})[0]
    assert found.item() == pytest.approx(bernoulli(teacher, student, 2.0).item(), rel=1e-5)
    chance = upsample(teacher, SIZE)[:, 0].sigmoid()
    sure = torch.maximum(chance, 1 - chance) >= 0.8
    labels = (chance > 0.5).long().where(sure, 255)
    pseudo = Objective(ObjectiveConfig(pseudo=PseudoConfig(1.0, tau=0.8)))
    found = pseudo(*both, {"x1": torch.zeros(2, 3, *SIZE)})[0]
    assert 0 < sure.sum() < sure.numel()
    assert found.item() == pytest.approx(binary(student, labels).item(), rel=1e-5)


def test_predictions_are_thresholds_at_zero_and_probabilities_sigmoids() -> None:
    net = nn.Conv2d(3, 1, 3, padding=1)
    images = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    given = runtime("cpu", "fp32"), net, NetworkConfig(mean=[0.5] * 3, std=[1.0] * 3), images
    with torch.no_grad():
        z = upsample(net(images.float() / 255 - 0.5), (16, 18))[:, 0]
    found = predict(*given, (16, 18))
    assert found.dtype == np.uint8 and np.array_equal(found, z > 0) and 0 < found.mean() < 1
    chances = predict(*given, (16, 18), probabilities=True)
    assert chances[:, 1] == pytest.approx(z.sigmoid().numpy(), abs=1e-6)
    assert logits_of(torch.tensor([[3.0]])).tolist() == [[0, 3]], "of a classifier of images"


def test_fisher_information_is_that_of_a_bernoulli_variable() -> None:
    """Of z = w x it is p (1 - p) x^2, here the mean over many draws of one pixel's label."""
    net = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(net.weight, 0.7)
    found = fisher_of(net, [("a", torch.full((1, 1, 1, 1), 2.0))], "sum", 600, 0)["weight"]
    p = torch.tensor(1.4).sigmoid()
    assert found.item() == pytest.approx((p * (1 - p) * 4).item(), rel=0.2)


def test_taps_are_chosen_before_the_one_logit() -> None:
    scope: dict[str, Callable[[], nn.Module]] = {}
    exec(NET, scope)
    assert set(auto_taps(trace(scope["one"](), (16, 16)))) == {"0"}


@pytest.mark.parametrize("classes", [(), TWO], ids=["numbered", "named"])
def test_a_file_tells_that_a_built_in_network_has_one_logit(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    """And the run that is made of it remembers it."""
    net = build_network(NetworkConfig(width=1 / 32, batch_norm=True, one_logit=True), 2)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    found = load_complete(str(tmp_path / "w.pth"), CONFIG, classes, "teacher", (64, 64))
    assert found.network.one_logit and found.classes == (classes or ("class 0", "class 1"))
    save_model(tmp_path / "run", found.net, found.network, found.classes)
    again = load_model(tmp_path / "run")
    assert again.net.state_dict()["classifier.weight"].shape[0] == 1
    assert isinstance(again, Model) and again.classes == found.classes


@pytest.mark.parametrize(
    ("count", "classes", "words"),
    [
        (1, ("crop",), r"w has 1 output \(one logit, for two classes\); .* has 1 class: crop"),
        (1, ("a", "b", "c"), r"has 1 output .*; the data has 3 classes: a, b, c; give a network"),
        (3, TWO, "w has 3 outputs; the data has 2 classes: background, crop; give a network for"),
        (2, ("a",), "w has 2 outputs; the data has 1 class: a"),
        (20, tuple("abcdefghijklmnopqrs"), "20 outputs; the data has 19 .*, k, l and 7 more; give"),
        (65_536, (), "w has 65536 outputs; masks of 16 bits hold at most 65535 classes"),
    ],
)  # fmt: skip
def test_outputs_that_are_not_the_classes_are_named(
    count: int, classes: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_outputs(count, classes, "w")


def test_evaluate_counts_thresholds_and_refuses_labels_beyond_them() -> None:
    net = nn.Conv2d(3, 1, 1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    label = rng.choice([0, 1, 255], (8, 9))
    with torch.no_grad():
        z = net(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()
    kept = label != 255
    said, is_one = (z > 0)[kept], (label == 1)[kept]
    ious = [100 * (said & is_one).sum() / (said | is_one).sum()]
    ious.insert(0, 100 * (~said & ~is_one).sum() / (~said | ~is_one).sum())
    how = {"mean": [0.0] * 3, "std": [1.0] * 3, "device": "cpu", "precision": "fp32"}
    assert adapt.evaluate(net, [(image, label)], **how).iou == pytest.approx(ious)
    for wrong in (2, -1, 300):
        with pytest.raises(InputError, match=rf"label {wrong} is out of range.* 2 classes, 0\.\.1"):
            adapt.evaluate(net, [(image, np.where(kept, label, wrong))], **how)
    with pytest.raises(InputError, match="the teacher has 5 classes, net 2"):
        adapt.evaluate(net, [(image, image)], teacher=nn.Conv2d(3, 5, 1), **how)


def test_more_classes_than_are_upsampled_together_have_the_same_argmax() -> None:
    """Equal logits included, of which the first one counts."""
    logits = torch.randint(0, 6, (2, 600, 4, 5)).float()
    logits[:, 590] = logits[:, 300] = 9.0
    wanted = upsample(logits, (7, 9)).argmax(dim=1)
    assert torch.equal(most_likely(logits, (7, 9)), wanted.int()) and (wanted == 300).all()
    logits = torch.randn(1, 600, 4, 5)
    found = most_likely(logits, (7, 9))
    assert found.dtype == torch.int32 and torch.equal(
        found, upsample(logits, (7, 9)).argmax(1).int()
    )


def test_a_network_of_one_logit_from_its_file_to_the_exported_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its masks have both classes, each where the logit says so; and masks of 0 and 255, whose
    second class would be void, are warned of until data.codes says so."""
    (tmp_path / "ones.py").write_text(NET)
    scope: dict[str, Callable[[], nn.Module]] = {}
    exec(NET, scope)
    torch.manual_seed(0)
    net = scope["one"]().eval()
    with torch.no_grad():
        net[1].bias -= net(torch.randn(1, 3, 64, 64)).median()  # both classes occur
    torch.save(net.state_dict(), tmp_path / "w.pth")
    rng = np.random.default_rng(0)
    for folder in ("OLD", "NEW", "LABELS"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        image = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"OLD/{number}.png")
        Image.fromarray(255 - image).save(tmp_path / f"NEW/{number}.png")
        Image.fromarray((image[..., 0] > 127).astype(np.uint8) * 255).save(
            tmp_path / f"LABELS/{number}.png"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    permit("ones:one")
    cpu = {"device": "cpu", "precision": "fp32"}
    run = adapting(
        TrainConfig(
            run="run", teacher="w.pth", network=NetworkConfig(factory="ones:one"), batch=2, steps=2,
            data=DataConfig("pairs", "OLD", "NEW", classes=list(TWO), parts={"a": 0.5, "val": 0.5}),
            objective=ObjectiveConfig(kd=KDConfig(1.0)), domain="d2", **cpu,
        )
    )  # fmt: skip
    verdict = read_verdict(run)
    assert verdict and verdict.before and verdict.before < 90 and verdict.classes == list(TWO)
    out = predictions(PredictConfig(run="run", images="NEW", out="masks", **cpu))
    image = np.array(Image.open("NEW/0.png"))
    mean, std = (np.array(v, np.float32) for v in (CONFIG.mean, CONFIG.std))
    x = torch.from_numpy((image / np.float32(255) - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        z = upsample(load_model(run).net.eval()(x), (16, 24))[0, 0]
    found, clear = np.array(Image.open(out / "0.png")), (z.abs() > 1e-4).numpy()
    assert np.array_equal(found[clear], (z > 0).numpy()[clear]) and 0 < found.mean() < 1
    labels = DataConfig(labels="LABELS")
    evaluate(EvaluateConfig(run="run", split="val", data=labels, **cpu))
    assert "of the labels' pixels are void, and none is crop; if a value" in capsys.readouterr().out
    scored = evaluate(
        EvaluateConfig(run="run", split="val", data=replace(labels, codes=[0, 255]), **cpu)
    )
    assert "warning" not in capsys.readouterr().out
    record = read_mapping(scored)
    assert record["void"] == 0 and 0 < record["truth"]["miou"] < 100
    export(ExportConfig("run", out="out", split="val", images=1, formats=["safetensors"]))
    assert "equal argmax 100.0000 %" in capsys.readouterr().out

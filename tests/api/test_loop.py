"""The method's parts in loops of other people's: their own, Lightning's, transformers' Trainer."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

import adapt
from adapt.data.files import say_once
from adapt.penalties.fisher import fisher_of

TAPS = {"stem": 0.25, "body": 0.75}


def small() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential()
    for name, layer in (
        ("stem", nn.Conv2d(3, 6, 3, padding=1)), ("mid", nn.ReLU()),
        ("body", nn.Conv2d(6, 8, 3, stride=2, padding=1)), ("head", nn.Conv2d(8, 5, 1)),
    ):  # fmt: skip
        net.add_module(name, layer)
    return net


def pairs() -> list[tuple[Tensor, Tensor]]:
    """Eight pairs of normalised images."""
    x1 = torch.rand(8, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    return list(zip(x1, 0.5 - x1, strict=True))


def loss_of(student: nn.Module, teacher: nn.Module, x1: Tensor, x2: Tensor) -> Tensor:
    with torch.no_grad():
        wanted = adapt.taps(teacher, x1, TAPS)
    return adapt.regression_loss(adapt.taps(student, x2, TAPS), wanted, TAPS)


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Tensor]:
    """Four steps of SGD in a plain loop, the penalty around each step."""
    teacher = small()
    student = deepcopy(teacher)
    penalty = adapt.Penalty(student, "l2_sp", alpha=0.1)
    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    for _ in range(2):
        for x1, x2 in DataLoader(pairs(), batch_size=4):  # type: ignore[arg-type]
            optimizer.zero_grad()
            loss_of(student, teacher, x1, x2).backward()
            penalty.before_step(optimizer)
            optimizer.step()
            penalty.after_step(optimizer)
    return student.state_dict()


def test_the_loss_and_the_pull_are_their_formulas() -> None:
    teacher, (x1, x2) = small(), (torch.stack(x) for x in zip(*pairs(), strict=True))
    student = deepcopy(teacher)
    maps, wanted = adapt.taps(student, x2, TAPS), adapt.taps(teacher, x1, TAPS)
    expected = sum(
        w * ((maps[k] - wanted[k]) ** 2).sum((1, 2, 3)).div((wanted[k] ** 2).sum((1, 2, 3))).mean()
        for k, w in TAPS.items()
    )
    assert torch.allclose(adapt.regression_loss(maps, wanted, TAPS), expected)  # type: ignore[arg-type]
    penalty = adapt.Penalty(student, alpha=0.3)
    optimizer = torch.optim.SGD(student.parameters(), 1.0)
    penalty.attach(optimizer)
    weight, start = student.body.weight, teacher.body.weight.detach()
    with torch.no_grad():
        weight += 0.5
    for p in student.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.allclose(weight.detach(), start + 0.5 - 0.3 * 0.5)


def test_lightning(by_hand: dict[str, Tensor]) -> None:
    lightning = pytest.importorskip("pytorch_lightning")

    class Adaptation(lightning.LightningModule):
        def __init__(self, teacher: nn.Module) -> None:
            super().__init__()
            self.teacher, self.student = teacher.requires_grad_(False), deepcopy(teacher)
            self.student.requires_grad_()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return loss_of(self.student, self.teacher, *batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            optimizer = torch.optim.SGD(self.student.parameters(), 0.1)
            adapt.Penalty(self.student, "l2_sp", alpha=0.1).attach(optimizer)
            return optimizer

    made = Adaptation(small())
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(made, DataLoader(pairs(), batch_size=4))  # type: ignore[arg-type]
    assert_same(made.student.state_dict(), by_hand)


def test_the_trainer_of_transformers(by_hand: dict[str, Tensor], tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    teacher, student = small(), small()

    class Adaptation(transformers.Trainer):
        def compute_loss(self, model: nn.Module, inputs: Any, **given: Any) -> Tensor:
            return loss_of(model, teacher, inputs["x1"], inputs["x2"])

        def _get_train_sampler(self, *given: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    optimizer = torch.optim.SGD(student.parameters(), 0.1)
    adapt.Penalty(student, "l2_sp", alpha=0.1).attach(optimizer)
    rate = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    settings = transformers.TrainingArguments(
        str(tmp_path), per_device_train_batch_size=4, num_train_epochs=2, use_cpu=True,
        max_grad_norm=0, remove_unused_columns=False, report_to="none", save_strategy="no",
        disable_tqdm=True,
    )  # fmt: skip
    items = [{"x1": x1, "x2": x2} for x1, x2 in pairs()]
    Adaptation(student, settings, train_dataset=items, optimizers=(optimizer, rate)).train()
    assert_same(student.state_dict(), by_hand)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, value in wanted.items():
        assert torch.allclose(found[name], value, rtol=1e-5, atol=1e-7), name


def test_fisher_and_scores(capsys: pytest.CaptureFixture) -> None:
    say_once.cache_clear()
    net, images = small(), [x1 for x1, _ in pairs()]
    found = adapt.fisher(net, [torch.stack(images[:5]), *images[5:]], seed=2)
    singly = [(str(i), image[None]) for i, image in enumerate(images)]
    assert all(torch.equal(v, found[k]) for k, v in fisher_of(net, singly, seed=2).items())
    rng = np.random.default_rng(0)
    labelled = [(image, rng.integers(0, 5, (16, 20))) for image in images]
    labelled[0][1][:8] = 255
    scores = adapt.evaluate(net, labelled, device="cpu", precision="fp32")
    with torch.no_grad():
        logits = nn.functional.interpolate(net(torch.stack(images)), (16, 20), mode="bilinear")
    truth, said = np.stack([y for _, y in labelled]), logits.argmax(1).numpy()
    known = truth != 255
    both = [((truth == c) & (said == c)).sum() for c in range(5)]
    either = [(known & ((truth == c) | (said == c))).sum() for c in range(5)]
    wanted = 100 * np.mean([b / e for b, e in zip(both, either, strict=True)])
    assert scores.miou == pytest.approx(wanted)
    loader = DataLoader(pairs(), batch_size=3)  # type: ignore[arg-type]
    assert adapt.evaluate(net, loader, teacher=net, device="cpu").miou < 100
    same = [(x1, x1) for x1, _ in pairs()]
    assert adapt.evaluate(net, same, teacher=net, device="cpu").miou == 100
    assert capsys.readouterr().out.count("all values of one are in 0..1") == 1


@pytest.mark.parametrize(
    "labels", [np.zeros((16, 20)), np.zeros((16, 20, 1), int), np.zeros((2, 16, 20), int)]
)
def test_labels_are_integers_of_each_pixel(labels: Any) -> None:
    """Floating point ones, as torchvision's ToTensor makes of masks, would be cut to 0."""
    with pytest.raises(adapt.InputError, match=r"labels of 1 image\(s\) are .*integers \(H, W\)"):
        adapt.evaluate(small(), [(pairs()[0][0], labels)], device="cpu")


def test_a_batch_of_integers_has_a_known_range() -> None:
    """Those of 32 bits, which may hold 16-bit images, would be divided by 255."""
    deep = torch.full((2, 3, 16, 20), 1000, dtype=torch.int32)
    labels = torch.zeros(2, 16, 20, dtype=torch.int64)
    with pytest.raises(adapt.InputError, match="a batch of images is torch"):
        adapt.evaluate(small(), [(deep, labels)], device="cpu")
    batches = DataLoader([(deep[0], deep[0])] * 2, batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(adapt.InputError, match="a batch of images is torch"):
        adapt.fit(small(), batches, taps=TAPS, steps=1, device="cpu")
    assert adapt.evaluate(small(), [(deep.to(torch.uint16), labels)], device="cpu").iou


def test_what_is_not_valid_does_not_count() -> None:
    """With labels as with a teacher; a mask or a batch of another size is named."""
    net, every = small(), pairs()
    label = np.random.default_rng(0).integers(0, 5, (16, 20))
    valid, voided = np.ones_like(label), label.copy()
    valid[:8], voided[:8] = 0, 255

    def scores(*data: Any, teacher: nn.Module | None = None) -> Any:
        return adapt.evaluate(net, data, teacher=teacher, device="cpu", precision="fp32")

    masked = scores(*((x1, label, valid) for x1, _ in every))
    assert repr(masked) == repr(scores(*((x1, voided) for x1, _ in every)))
    assert repr(masked) != repr(scores(*((x1, label) for x1, _ in every)))
    for teacher, second in ((net, every[0][1]), (None, label)):
        with pytest.raises(adapt.InputError, match=r"valid is \(3, 20\) for \(1, 16, 20\)"):
            scores((every[0][0], second, valid[:3]), teacher=teacher)
    x1, x2 = (torch.stack(x) for x in zip(*every, strict=True))
    with pytest.raises(adapt.InputError, match="3 old and 8 new images are no pairs"):
        scores((x1[:3], x2), teacher=net)


def test_what_can_only_be_iterated_is_scored_too() -> None:
    class Stream(IterableDataset):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(pairs())

    net = small()
    found = [adapt.evaluate(net, d, teacher=net, device="cpu") for d in (Stream(), pairs())]
    assert repr(found[0]) == repr(found[1])


def test_a_pull_that_the_scale_would_divide_is_refused() -> None:
    net, scaler = small(), torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(net.parameters(), 0.1, fused=True)
    adapt.Penalty(net).attach(optimizer)
    scaler.scale(net(torch.stack([x1 for x1, _ in pairs()])).mean()).backward()
    with pytest.raises(adapt.InputError, match="unscale_"):
        scaler.step(optimizer)
    del optimizer.grad_scale  # which the step does where it ends
    scaler.unscale_(optimizer)
    scaler.step(optimizer)


def test_a_start_or_an_optimiser_that_makes_the_pull_another_one_is_refused() -> None:
    """Names with a wrapper's prefix would pull all to 0, and AdamW's own decay, too."""
    net = small()
    prefixed = {f"module.{name}": value for name, value in net.state_dict().items()}
    for start in (prefixed, {}):
        with pytest.raises(adapt.InputError, match=r"nothing of start_point .* pulled to 0"):
            adapt.Penalty(net, start_point=start)
    penalty = adapt.Penalty(net)
    with pytest.raises(adapt.InputError, match=r"the optimiser's weight_decay=0\.01 and pen"):
        penalty.attach(torch.optim.AdamW(net.parameters()))
    penalty.attach(torch.optim.AdamW(net.parameters(), weight_decay=0.0))


def test_layers_without_one_map_are_refused() -> None:
    shared, image = nn.ReLU(), torch.stack([x1 for x1, _ in pairs()])
    net = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    with pytest.raises(adapt.InputError, match="'1' is called several times"):
        adapt.taps(net, image, ["1", "logits"])
    with torch.inference_mode(), pytest.raises(adapt.InputError, match="no_grad"):
        adapt.taps(net, image, ["0"])
    maps = adapt.taps(net, image, ["0", "2"])
    for student, teacher, weights, words in (
        (maps, maps, {"3": 1.0}, "student: layer: '3' is not known"),
        (maps, {"0": maps["0"]}, None, "teacher: layer: '2' is not known"),
        ({}, {}, None, "name layers"),
    ):
        with pytest.raises(adapt.InputError, match=words):
            adapt.regression_loss(student, teacher, weights)


def test_one_layers_name_is_that_layer() -> None:
    net, image = small(), torch.stack([x1 for x1, _ in pairs()])
    name = next(n for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    assert adapt.taps(net, image, name).keys() == {name}


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((4, 8, 5, 5), (4, 1, 5, 5), None), "x: the student's maps are .* channels must be"),
        (((4, 8, 5, 5), (1, 8, 5, 5), None), "x: the student's maps are"),
        (((4, 8, 5, 5), (4, 8, 5, 5), (1, 9, 9)), r"valid is \(1, 9, 9\); it must be \(B, H, W\)"),
        (((4, 8, 5, 5), (4, 8, 5, 5), (4, 1, 9, 9)), r"it must be \(B, H, W\) of 4 image"),
    ],
)
def test_maps_and_masks_are_not_spread_over_others(shapes: Any, words: str) -> None:
    student, teacher, valid = (s and torch.rand(s) for s in shapes)
    with pytest.raises(adapt.InputError, match=words):
        adapt.regression_loss({"x": student}, {"x": teacher}, valid=valid)


@pytest.mark.system
def test_names_load_lazily_and_are_those_of_the_stub() -> None:
    import subprocess
    import sys
    from pathlib import Path

    code = "import sys, adapt; assert 'torch' not in sys.modules; print(adapt.fit.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "fit\n"
    stub = Path(str(adapt.__file__)).with_suffix(".pyi").read_text()
    assert all(f"as {name}\n" in stub or f"{name}: str" in stub for name in adapt.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        adapt.fitt  # noqa: B018

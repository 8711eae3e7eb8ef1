"""Stitch: the teacher goes on from the student's maps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_distances import mask
from tiny import adapting, curve, interrupted, refused, same
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.cuts import run_from
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import forward
from adapt.objective.terms import Objective, cut_at
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig, StitchConfig
from adapt.training.train import train

TAPS = ["pool1", "pool3", "pool5"]
VALID = mask()
X1, X2 = torch.randn(2, len(VALID), 3, *VALID.shape[1:], generator=torch.Generator().manual_seed(0))


def stitched(**settings: object) -> ObjectiveConfig:
    return ObjectiveConfig("stitch", stitch=StitchConfig(1.0, **settings))  # type: ignore[arg-type]


def loss_of(
    config: ObjectiveConfig, student: nn.Module, teacher: nn.Module, x2: Tensor, step: int = 0
) -> tuple[Tensor, dict]:
    """As a step computes it."""
    objective = Objective(config)
    maps = forward(student, x2, objective.student)
    for tap in objective.cuts(0, step):
        maps[cut_at(tap)] = run_from(teacher, tap, maps[tap], X1[:1])
    return objective(maps, forward(teacher, X1, objective.teacher), {"valid": VALID})


@pytest.fixture
def teacher() -> nn.Module:
    torch.manual_seed(0)
    net = DeepLabVGG16(3, width=1 / 16, batch_norm=True).eval().requires_grad_(False)
    nn.init.normal_(net.classifier.weight)  # sure of something
    return net


@pytest.fixture
def student(teacher: nn.Module) -> nn.Module:
    made = DeepLabVGG16(3, width=1 / 16, batch_norm=True).eval()
    made.load_state_dict(teacher.state_dict())
    return made


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("cuts", ["one", "all"])
def test_equal_networks_and_images_give_exactly_zero(
    teacher: nn.Module, student: nn.Module, cuts: str
) -> None:
    loss, _ = loss_of(stitched(taps=TAPS, cuts=cuts), student, teacher, X1.clone())
    loss.backward()
    found = gradients(student)
    assert loss.item() == 0 and found and not any(g.any() for g in found.values())
    assert {name.partition(".")[0] for name in found} == {f"conv{n}" for n in range(1, 6)}


def test_it_is_the_composition_by_hand(teacher: nn.Module, student: nn.Module) -> None:
    """Student up to pool3, teacher after it; the gradient is that of autograd, reaches the student
    up to there, and no weight of the teacher. A pixel that is not valid counts nowhere."""
    loss, parts = loss_of(stitched(taps=["pool3"]), student, teacher, X2)
    loss.backward()
    found = gradients(student)
    assert parts.keys() == {"stitch/pool3"} and not gradients(teacher)
    student.zero_grad()
    x = X2
    for n in (1, 2, 3):
        x = student.get_submodule(f"pool{n}")(student.get_submodule(f"conv{n}")(x))
    for n in (4, 5):
        x = teacher.get_submodule(f"pool{n}")(teacher.get_submodule(f"conv{n}")(x))
    log_q, log_p = (z.log_softmax(1) for z in (teacher.classify(x), teacher(X1)))
    apart = nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(1)
    seen = nn.functional.interpolate(VALID[:, None].float(), apart.shape[1:])[:, 0]
    wanted = (apart * seen).sum() / seen.sum()
    wanted.backward()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5) and loss > 0
    assert found.keys() == gradients(student).keys()
    for name, gradient in gradients(student).items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-7), name


def test_all_halves_with_depth_and_one_takes_every_tap_in_turn(
    teacher: nn.Module, student: nn.Module
) -> None:
    alone = {
        tap: loss_of(stitched(taps=[tap]), student, teacher, X2)[1][f"stitch/{tap}"][0]
        for tap in TAPS
    }
    loss, parts = loss_of(stitched(taps=TAPS, cuts="all"), student, teacher, X2)
    assert {name: (raw.item(), w) for name, (raw, w) in parts.items()} == {
        f"stitch/{tap}": (raw.item(), 2**n / 7) for n, (tap, raw) in enumerate(alone.items())
    }
    assert loss.item() == pytest.approx(sum(v * w for v, w in parts.values()).item(), rel=1e-6)
    one = stitched(taps=TAPS)
    drawn = [Objective(one).cuts(0, step) for step in range(90)]
    assert drawn != [Objective(one).cuts(1, step) for step in range(90)]
    assert all(18 < drawn.count([tap]) < 42 for tap in TAPS)
    loss, parts = loss_of(one, student, teacher, X2, step=drawn.index(["pool1"]))
    assert parts["stitch/pool1"] == (alone["pool1"], 1.0) and loss == alone["pool1"]
    loss.backward()
    later = [g for name, g in gradients(student).items() if name.startswith("conv5")]
    assert later and not any(g.any() for g in later), "a gradient, which is 0"


# Runs


def test_a_run_draws_the_same_cuts_when_it_is_resumed_and_with_kept_maps(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In bf16, by the layers of taps=auto; steps differ in what they log."""
    how = {"objective": stitched(), "precision": "bf16", "steps": 8, "checkpoint_every": 1}
    data = DataConfig(target=str(world / "d2"), explicit=["crop"])
    train(adapting(world, tmp_path / "straight", data=data, **how))
    assert (
        "stitch: the teacher goes on from conv1, conv2, conv3, fc7.2\n" in capsys.readouterr().out
    )
    kept = adapting(world, tmp_path / "kept", data=data, cache_teacher="ram", **how)
    interrupted(kept, 5)
    train(kept)
    assert same(tmp_path / "straight", tmp_path / "kept")
    lines = curve(tmp_path / "straight")
    assert lines == curve(tmp_path / "kept")
    assert len({part for line in lines for part in line["parts"]}) > 1
    assert all(len(line["parts"]) == 1 for line in lines)


def test_a_student_of_another_network_is_brought_to_the_teachers_channels(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = {"network": NetworkConfig(width=1 / 64), "start": "none", "steps": 3}
    how = {"objective": stitched(cuts="all"), "penalty": PenaltyConfig("none"), **smaller}
    train(adapting(world, tmp_path / "small", **how))
    assert "conv3 4 -> conv3 8" in capsys.readouterr().out
    assert all(len(line["parts"]) == 4 for line in curve(tmp_path / "small"))


def test_what_cannot_be_stitched_is_refused_by_name(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    refused(adapting(world, run, objective=stitched(taps=["pol3"])), "'pol3' is not known")
    both = ObjectiveConfig(
        "both", RegressionConfig(1.0, {"pool3": 1.0}), stitch=StitchConfig(1.0, ["pool3"], "all",
        {"pool3": "conv3"}),
    )  # fmt: skip
    refused(adapting(world, run, objective=both), "pool3 is paired with the student's pool3 and c")
    with pytest.raises(InputError, match=r"stitch\.cuts: 'some' is not known\. Choices: one, all"):
        StitchConfig(1.0, cuts="some")
    refused(
        replace(adapting(world, run, objective=stitched()), teacher="", start="none"),
        "needs teacher=RUN",
    )

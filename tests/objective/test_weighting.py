"""Weights that follow the training: against their equations, at equality, in runs and resumed."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_distances import maps
from tiny import adapting, curve, interrupted, same
from torch import Tensor

from adapt.disk.checkpoint import newest
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.networks.preprocessing import as_input
from adapt.objective.terms import Objective
from adapt.objective.weighting import WEIGHTINGS, Weighting
from adapt.settings.choices import FIXED
from adapt.settings.choices import WEIGHTINGS as NAMES
from adapt.settings.groups import ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.training.checks import check_used
from adapt.training.setup import prepare, resolve
from adapt.training.train import batches_from, losses_after, one_step, train

W_INC = {"pool1": 0.2, "pool2": 0.4, "pool3": 0.6, "pool4": 0.8, "pool5": 0.9}
SUM = 2.9
LOSSES = torch.tensor([0.5, 0.25, 1.0, 2.0, 4.0], dtype=torch.double)
every_rule = pytest.mark.parametrize("name", WEIGHTINGS)


def rule(name: str, steps: int = 9, seed: int = 3, **options: float) -> Weighting:
    return WEIGHTINGS[name](RegressionConfig(1.0, W_INC, weighting=name, **options), seed, steps)


def never() -> Tensor:
    raise AssertionError("only FAMO computes the losses again")


def test_every_choice_has_a_rule_of_the_given_sum() -> None:
    assert (FIXED, *WEIGHTINGS) == NAMES
    for name in WEIGHTINGS:
        for step in range(3):
            assert sum(rule(name)(LOSSES, step)) == pytest.approx(SUM, rel=1e-12)
    assert Objective(ObjectiveConfig("x", RegressionConfig(1.0, W_INC))).weighting is None


@pytest.mark.parametrize("name", ["log", "famo"])
def test_the_gradient_is_that_of_logarithms(name: str) -> None:
    """Through Objective, against autograd of c sum_l z_l log(L_l + 1e-8) as it is printed."""
    config = RegressionConfig(2.0, W_INC, "mean", weighting=name)
    objective = Objective(ObjectiveConfig("x", config))
    z = torch.full((5,), 0.2)
    if name == "famo":
        objective.weighting.memory[0] = torch.linspace(-1, 1, 5)
        z = torch.linspace(-1, 1, 5).softmax(0)
    own, found = ({t: maps(i) for i, t in enumerate(W_INC, n)} for n in (0, 9))
    own = {tap: of.requires_grad_() for tap, of in own.items()}
    loss, parts = objective(own, found, {})
    loss.backward()
    raws = torch.stack([(own[t].detach() - found[t]).square().mean() for t in W_INC])
    c = 2 * SUM / (z / raws).sum()
    assert [w for _, w in parts.values()] == pytest.approx((c * z / raws).tolist(), rel=1e-5)
    again = {tap: of.detach().requires_grad_() for tap, of in own.items()}
    logs = [(again[t] - found[t]).square().mean().add(1e-8).log() for t in W_INC]
    (c * (z * torch.stack(logs)).sum()).backward()
    for tap in W_INC:
        assert torch.allclose(
            own[tap].grad, again[tap].grad, rtol=1e-4, atol=1e-9
        )  # float32 inside


def test_famos_logits_move_along_autograds_gradient() -> None:
    found, after = rule("famo", beta=0.7, gamma=0.1), LOSSES * torch.linspace(0.5, 0.9, 5).double()
    found.memory[0] = torch.linspace(-1, 1, 5)
    xi = found.memory[0].clone().requires_grad_()
    found(LOSSES, 0)
    found.after(0, lambda: after)
    (xi.softmax(0) @ (LOSSES.log() - after.log())).backward()
    wanted = xi.detach() - 0.7 * (xi.grad + 0.1 * xi.detach())
    assert torch.allclose(found.memory[0], wanted, rtol=1e-7)


def test_dwa_compares_the_means_of_the_last_two_windows() -> None:
    found, seen = rule("dwa", window=3), []
    for step in range(11):
        losses = LOSSES * torch.rand(5, generator=torch.Generator().manual_seed(step))
        weighed = found(losses, step)
        whole = step // 3
        ratios = np.ones(5)
        if whole >= 2:
            last, before = (sum(seen[3 * (whole - n) :][:3]) / 3 for n in (1, 2))
            ratios = last / before
        raised = np.exp(ratios / 2)
        assert weighed == pytest.approx(SUM * raised / raised.sum(), rel=1e-6)
        found.after(step, never)
        seen.append(losses.numpy())


def test_rlw_draws_a_normal_logit_for_each_layer_and_step() -> None:
    drawn = np.array([rule("rlw")(LOSSES, step) for step in range(2000)])
    logs = np.log(drawn / drawn[:, :1])[:, 1:]  # logits of the others less that of the first
    # Of 2,000 draws: 5 standard errors of a deviation of sqrt(2), and of a correlation of 1/2.
    assert logs.std(axis=0) == pytest.approx(math.sqrt(2), abs=5 * math.sqrt(2 / 4000))
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(0.5, abs=5 * 0.75 / math.sqrt(2000))
    assert abs(np.corrcoef(logs[1:, 0], logs[:-1, 0])[0, 1]) < 5 / math.sqrt(2000)
    assert rule("rlw")(LOSSES, 7) == drawn[7].tolist() != rule("rlw", seed=4)(LOSSES, 7)


def test_ramp_goes_from_w_dec_to_w_inc() -> None:
    found, given = rule("ramp"), np.array([*W_INC.values()])
    for step in range(9):
        wanted = given[::-1] + (given - given[::-1]) * step / 8
        assert found(LOSSES, step) == pytest.approx(wanted, rel=1e-12)
    assert rule("ramp", steps=1)(LOSSES, 0) == pytest.approx(given[::-1])


@every_rule
def test_equal_maps_give_exactly_zero(name: str) -> None:
    """At any step, with losses of 0 in all that a rule remembers."""
    config = RegressionConfig(
        1.0, W_INC, weighting=name, **({"window": 1} if name == "dwa" else {})
    )
    objective = Objective(ObjectiveConfig("x", config), steps=4)
    teacher = {tap: maps(i).float() for i, tap in enumerate(W_INC)}
    for step in range(4):
        student = {tap: of.clone().requires_grad_() for tap, of in teacher.items()}
        loss, parts = objective(student, teacher, {}, step)
        objective.weighting.after(step, lambda parts=parts: objective.losses(parts))
        loss.backward()
        assert loss.item() == 0 and not any(of.grad.any() for of in student.values())
        assert sum(w for _, w in parts.values()) == pytest.approx(SUM)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegressionConfig(1.0, {"pool5": 1.0}, weighting="log"), "pool5 is the only one"),
        (lambda: RegressionConfig(1.0, W_INC, window=9), "window is 9, but weighting=fixed does"),
        (lambda: RegressionConfig(1.0, W_INC, weighting="dwa", gamma=1), "longs to weighting=famo"),
        (lambda: RegressionConfig(1.0, W_INC, weighting="famos"), "Did you mean 'famo'"),
    ],
)  # fmt: skip
def test_wrong_weightings_are_named(make: Callable[[], RegressionConfig], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Objective(ObjectiveConfig("x", make()))


# Runs

OPTIONS = {"dwa": {"window": 2}, "famo": {"beta": 5.0}}


def weighed(world: Path, run: Path, name: str, **changes: object):
    own = RegressionConfig(1.0, W_INC, weighting=name, **OPTIONS.get(name, {}))
    return adapting(world, run, objective=ObjectiveConfig(name, own), **changes)


@pytest.mark.parametrize("name", ["dwa", "famo", "rlw"])
def test_a_resumed_run_has_the_same_weights(world: Path, tmp_path: Path, name: str) -> None:
    """Killed between two checkpoints, and in the middle of dwa's window. The rules that remember
    something, and the one that draws."""
    how = {"steps": 6, "checkpoint_every": 3, "schedule": ScheduleConfig(lr=0.05)}
    train(weighed(world, tmp_path / "a", name, **how))
    interrupted(weighed(world, tmp_path / "b", name, **how), 5)
    train(weighed(world, tmp_path / "b", name, **how))
    assert same(tmp_path / "a", tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    shown = []
    for line in read_metrics(tmp_path / "a"):
        shown.append([part["weighted"] / part["raw"] for part in line["parts"].values()])
        assert sum(shown[-1]) == pytest.approx(SUM)
    assert shown[-1] != pytest.approx(shown[0], rel=1e-3), "they follow the training"


def test_famo_sees_the_same_batch_after_the_update_and_changes_nothing_by_it(
    world: Path, tmp_path: Path
) -> None:
    config = weighed(world, tmp_path / "run", "famo", steps=1)
    setup = prepare(*resolve(config))
    batch = next(batches_from(setup, 0))
    parts = one_step(setup, batch, 0)["parts"]
    tracked = {k: b.clone() for k, b in setup.student.named_buffers()}
    before = setup.objective.losses(parts)
    images = {k: as_input(batch[k], setup.config.network) for k in ("x1", "x2")}
    after = losses_after(setup, images["x2"], setup.target(images["x1"], {}), images, None)
    fallen = before.log() - after.log()
    assert fallen.abs().min() > 1e-5
    wanted = -5.0 * 0.2 * (fallen - fallen.mean())  # z = 1/5, xi = 0
    assert torch.allclose(setup.objective.weighting.memory[0], wanted, rtol=1e-6)
    assert all(torch.equal(b, tracked[k]) for k, b in setup.student.named_buffers())
    assert tracked["conv1.1.num_batches_tracked"] == 7, "the teacher's 6 steps and this one"


def test_a_checkpoint_holds_what_a_rule_remembers(world: Path, tmp_path: Path) -> None:
    run = train(weighed(world, tmp_path / "run", "famo", steps=2))
    assert all(line["penalty"] > 0 for line in read_metrics(run)[1:]), "the second pass costs none"
    found, _ = newest(run / "checkpoints")
    assert found.state["weighting"].shape == (1, 5) and found.state["weighting"].any()
    plain = train(adapting(world, tmp_path / "plain", steps=2))
    assert "weighting" not in newest(plain / "checkpoints")[0].state


def test_dwa_without_two_windows_says_that_it_weighs_nothing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for window, steps, idle in ((2, 4, True), (1, 2, True), (1, 3, False), (25, 0, False)):
        config = RegressionConfig(1.0, {"pool2": 1.0, "pool3": 1.0}, weighting="dwa", window=window)
        own = adapting(world, tmp_path, objective=ObjectiveConfig("x", config), steps=steps)
        check_used(own)
        assert ("weighs all layers alike" in capsys.readouterr().out) == idle

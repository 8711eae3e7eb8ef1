"""The objective's terms against numpy loops, what equal networks give, where gradients reach."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_distances import BATCH, CHANNELS, IMAGE, H, W, maps, mask
from tiny import adapting, weights
from torch import Tensor, nn

from adapt.data.images import IGNORE
from adapt.disk.runs import read_metrics
from adapt.errors import InputError
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS, forward, upsample
from adapt.objective.distances import DISTANCES, cells
from adapt.objective.terms import Objective
from adapt.settings.groups import ScheduleConfig
from adapt.settings.objective import (
    KDConfig,
    ObjectiveConfig,
    PseudoConfig,
    RegressionConfig,
    SupervisedConfig,
)
from adapt.training.train import train

POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")


def regression(taps: dict[str, float], distance: str = "relative") -> Objective:
    return Objective(ObjectiveConfig("test", RegressionConfig(1.0, taps, distance)))


# With networks


@pytest.fixture(params=[False, True], ids=["plain", "batch_norm"])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """A student and a teacher with the same weights, each its own copy, in eval mode."""
    student, teacher = (DeepLabVGG16(3, width=1 / 16, batch_norm=request.param) for _ in range(2))
    teacher.load_state_dict(student.state_dict())
    return student.eval(), teacher.eval().requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 33, 41, generator=torch.Generator().manual_seed(0))


def loss_of(
    objective: Objective, student: nn.Module, teacher: nn.Module, x1: Tensor, x2: Tensor
) -> Tensor:
    with torch.no_grad():
        wanted = forward(teacher, x1, objective.teacher)
    return objective(forward(student, x2, objective.student), wanted, {"x1": x1})[0]


ZERO_AT_EQUALITY = {
    "pools": ObjectiveConfig("r", RegressionConfig(1.0, dict.fromkeys(POOLS, 1.0))),
    "kd": ObjectiveConfig("kd", kd=KDConfig(1.0)),
    "kd-4": ObjectiveConfig("kd", kd=KDConfig(1.0, temperature=4.0)),
    "pool5_kd": ObjectiveConfig("both", RegressionConfig(1.0, {"pool5": 1.0}), kd=KDConfig(1.0)),
}


@pytest.mark.parametrize("config", ZERO_AT_EQUALITY.values(), ids=ZERO_AT_EQUALITY)
def test_equal_images_and_weights_give_exactly_zero(
    pair: tuple[nn.Module, nn.Module], x: Tensor, config: ObjectiveConfig
) -> None:
    student, teacher = pair
    loss = loss_of(Objective(config), student, teacher, x, x.clone())
    loss.backward()
    assert loss.item() == 0
    reached = [p.grad for p in student.parameters() if p.grad is not None]
    assert reached and not any(g.any() for g in reached)


@pytest.mark.parametrize("tap", POOLS)
def test_a_layers_gradient_reaches_the_layers_up_to_it_only(
    pair: tuple[nn.Module, nn.Module], x: Tensor, tap: str
) -> None:
    student, teacher = pair
    loss_of(regression({tap: 1.0}), student, teacher, x, x.flip(3)).backward()
    front = {f"conv{i}" for i in range(1, int(tap[-1]) + 1)}
    reached = {n.split(".")[0] for n, p in student.named_parameters() if p.grad is not None}
    assert reached == front
    assert all(p.grad.any() for p in student.parameters() if p.grad is not None and p.ndim == 4)
    assert all(p.grad is None for p in teacher.parameters())


# The objective as a whole


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    """All four terms at once; each part is what its term gives alone."""
    alone = {
        "regression": RegressionConfig(0.5, {"pool1": 0.2, "pool5": 0.9}, "cosine"),
        "supervised": SupervisedConfig(2.0),
        "kd": KDConfig(3.0, temperature=2.0),
        "pseudo": PseudoConfig(0.25, tau=0.4),
    }
    objective = Objective(ObjectiveConfig("all", **alone))
    assert objective.student == objective.teacher == {"pool1", "pool5", LOGITS}
    assert objective.labels
    student = {tap: maps(i).float() for i, tap in enumerate(("pool1", "pool5", LOGITS))}
    teacher = {tap: maps(9 + i).float() for i, tap in enumerate(("pool1", "pool5", LOGITS))}
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, CHANNELS, (BATCH, *IMAGE), generator=generator, dtype=torch.uint8)
    batch = {"y": y, "x1": torch.empty(BATCH, 3, *IMAGE), "valid": mask()}
    loss, parts = objective(student, teacher, batch)
    factors = {
        "regression/pool1": 0.1, "regression/pool5": 0.45, "supervised/cross_entropy": 2.0,
        "kd/divergence": 3.0, "pseudo/cross_entropy": 0.25, "pseudo/confident": 0.0,
    }  # fmt: skip
    assert {name: weight for name, (_, weight) in parts.items()} == pytest.approx(factors)
    total = sum(raw.item() * factors[name] for name, (raw, _) in parts.items())
    assert loss.item() == pytest.approx(total, rel=1e-6)  # float32
    for name, config in alone.items():
        for part, (raw, _) in Objective(ObjectiveConfig("one", **{name: config}))(
            student, teacher, batch
        )[1].items():
            assert torch.equal(raw, parts[part][0]) and raw.item() > 0


def test_a_term_of_weight_0_needs_nothing() -> None:
    config = ObjectiveConfig("one", RegressionConfig(0.0, {"pool1": 1.0}), SupervisedConfig(1.0))
    objective = Objective(config)
    assert (objective.student, objective.teacher) == ({LOGITS}, frozenset())
    assert objective.labels and not regression({"pool1": 1.0}).labels


def test_maps_in_bf16_are_compared_in_fp32() -> None:
    """In bf16 a sum of 140 squares of about 1 would be a multiple of 1."""
    student, teacher = maps(0).bfloat16(), maps(1).bfloat16()
    objective = regression({"pool1": 1.0}, "sum")
    raw = objective({"pool1": student}, {"pool1": teacher}, {})[1]["regression/pool1"][0]
    assert torch.equal(raw, DISTANCES["sum"](student.float(), teacher.float()))
    for config in (ObjectiveConfig(kd=KDConfig(1.0)), ObjectiveConfig(pseudo=PseudoConfig(1.0, 0))):
        batch = {"x1": torch.empty(BATCH, 3, *IMAGE)}
        low, full = (
            Objective(config)({LOGITS: s}, {LOGITS: t}, batch)[0]
            for s, t in ((student, teacher), (student.float(), teacher.float()))
        )
        assert low.dtype == torch.float32 and torch.equal(low, full)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (ObjectiveConfig, "'custom': no term of regression, kd, pseudo, supervised, stitch is"),
        (lambda: ObjectiveConfig("x", RegressionConfig(1.0, {"pool1": 1.0}, temperature=4.0)),
         r"temperature is 4\.0, but distance=relative.*=cwd"),
        (lambda: ObjectiveConfig("x", RegressionConfig(1.0, {"pool1": 1.0}, "cwd", margin=0.8)),
         r"margin is 0\.8, but distance=cwd.*=cosine"),
        (lambda: RegressionConfig(1.0, {"pool1": 1.0}, "realtive"),
         r"'realtive'.*Did you mean 'relative'.*sum, mean"),
        (lambda: KDConfig(temperature=0.0), "kd.temperature is 0"),
        (lambda: RegressionConfig(temperature=-1.0), "regression.temperature is -1"),
        (lambda: RegressionConfig(margin=1.5), "regression.margin is 1.5"),
        (lambda: PseudoConfig(tau=1.0), "pseudo.tau is 1"),
        (lambda: PseudoConfig(threshold="median"), "Choices: fixed, class_median"),
        (lambda: ObjectiveConfig("x", pseudo=PseudoConfig(1.0, cap=0.8)),
         "cap is 0.8, but threshold=fixed does not use it"),
        (lambda: ObjectiveConfig("x", pseudo=PseudoConfig(1.0, 0.5, "class_median")),
         "tau is 0.5, but threshold=class_median does not use it"),
        (lambda: PseudoConfig(weighting="shares"), "Did you mean 'share'"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Objective(make())  # type: ignore[arg-type]


# Cross-entropy


def test_cross_entropy_is_the_mean_over_valid_pixels_at_the_labels_size() -> None:
    """Of none at all it is 0, and so is its gradient."""
    logits = maps(0).float().requires_grad_()
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.choice(np.array([0, 1, 2, 3, IGNORE], np.uint8), (BATCH, *IMAGE)))
    large = nn.functional.interpolate(logits.detach(), IMAGE, mode="bilinear", align_corners=False)
    chances = large.double().log_softmax(dim=1)
    terms = [
        -chances[b, int(y[b, i, j]), i, j].item() for b, i, j in np.argwhere(y.numpy() != IGNORE)
    ]
    objective = Objective(ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0)))
    found = objective({LOGITS: logits}, {}, {"y": y})[0]
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)  # float32
    empty = objective({LOGITS: logits}, {}, {"y": torch.full_like(y, IGNORE)})[0]
    empty.backward()
    assert empty.item() == 0 and logits.grad is not None and not logits.grad.any()


# Distillation of the logits


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of one pixel's logits (C,)."""
    raised = np.exp(logits / temperature)
    return raised / raised.sum()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_kd_and_its_gradient_are_their_formulas(temperature: float, masked: bool) -> None:
    student, teacher = maps(0), 3 * maps(1)
    seen = mask() if masked else torch.ones(BATCH, *IMAGE, dtype=torch.uint8)
    places = [
        (b, i, j)
        for b in range(BATCH)
        for i in range(H)
        for j in range(W)
        if seen[b, i * IMAGE[0] // H, j * IMAGE[1] // W]
    ]
    value, gradient = 0.0, np.zeros(student.shape)
    for b, i, j in places:
        p, q = (probabilities(of[b, :, i, j].numpy(), temperature) for of in (teacher, student))
        value += temperature**2 * sum(p * np.log(p / q)) / len(places)
        gradient[b, :, i, j] = temperature * (q - p) / len(places)
    logits = student.float().requires_grad_()
    objective = Objective(ObjectiveConfig(kd=KDConfig(1.0, temperature)))
    loss = objective({LOGITS: logits}, {LOGITS: teacher}, {"valid": seen} if masked else {})[0]
    loss.backward()
    assert logits.grad is not None
    # float32 against double.
    assert loss.item() == pytest.approx(value, rel=1e-5)
    assert np.allclose(logits.grad.numpy(), gradient, rtol=1e-4, atol=1e-8)


def test_kd_without_a_valid_pixel_is_0_and_takes_a_teacher_of_another_stride() -> None:
    coarse, student = maps(1).float(), torch.randn(BATCH, CHANNELS, 2 * H, 2 * W)
    student.requires_grad_()
    objective = Objective(ObjectiveConfig(kd=KDConfig(1.0)))
    found = objective({LOGITS: student}, {LOGITS: coarse}, {})[0]
    fine = upsample(coarse, (2 * H, 2 * W))
    assert torch.equal(found, objective({LOGITS: student}, {LOGITS: fine}, {})[0])
    nothing = torch.zeros(BATCH, *IMAGE, dtype=torch.uint8)
    empty = objective({LOGITS: student}, {LOGITS: coarse}, {"valid": nothing})[0]
    empty.backward()
    assert empty.item() == 0 and student.grad is not None and not student.grad.any()


# The teacher's own labels


def slow_pseudo(
    config: PseudoConfig, student: np.ndarray, teacher: np.ndarray, valid: np.ndarray
) -> tuple[float, float]:
    """Cross-entropy and confident share of logits (B, C, H, W) at the image's size, pixel by
    pixel."""
    pixels = []
    for b, i, j in np.argwhere(valid):
        chance = probabilities(teacher[b, :, i, j])
        label = int(np.argmax(chance))
        loss = -float(np.log(probabilities(student[b, :, i, j])[label]))
        pixels.append((label, float(chance[label]), loss))
    least = dict.fromkeys(range(CHANNELS), config.tau)
    if config.threshold == "class_median":
        for label in {own for own, _, _ in pixels}:
            chances = sorted(chance for own, chance, _ in pixels if own == label)
            least[label] = min(chances[(len(chances) - 1) // 2], config.cap)
    sure = [loss for label, chance, loss in pixels if chance >= least[label]]
    share = len(sure) / len(pixels)
    if config.weighting == "share":
        return share * sum(loss for _, _, loss in pixels) / len(pixels), share
    return sum(sure) / len(sure), share


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        PseudoConfig(1.0, tau=0.0),
        PseudoConfig(1.0, tau=0.7),
        PseudoConfig(1.0, tau=0.7, weighting="share"),
        PseudoConfig(1.0, threshold="class_median"),
        PseudoConfig(1.0, threshold="class_median", cap=0.5),
        PseudoConfig(1.0, threshold="class_median", weighting="share"),
    ],
    ids=lambda c: f"{c.tau}-{c.threshold}-{c.cap}-{c.weighting}",
)
def test_pseudo_is_its_formula(config: PseudoConfig, masked: bool) -> None:
    student, teacher = maps(0), 2 * maps(1)
    seen = mask() if masked else torch.ones(BATCH, *IMAGE, dtype=torch.uint8)
    large = [upsample(of, IMAGE).numpy() for of in (student, teacher)]
    wanted, share = slow_pseudo(config, large[0], large[1], seen.numpy())
    batch = {"x1": torch.empty(BATCH, 3, *IMAGE)} | ({"valid": seen} if masked else {})
    objective = Objective(ObjectiveConfig(pseudo=config))
    loss, parts = objective({LOGITS: student}, {LOGITS: teacher}, batch)
    # float32 against double: of 2,757 pixels, the one at the median may fall on either side.
    assert parts["pseudo/confident"][0].item() == pytest.approx(share, abs=5e-4)
    assert loss.item() == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("weighting", ["ignore", "share"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_teacher_that_is_never_confident_gives_0_and_a_zero_gradient(
    weighting: str, masked: bool
) -> None:
    logits = maps(0).float().requires_grad_()
    seen = torch.full((BATCH, *IMAGE), 0 if masked else 1, dtype=torch.uint8)
    batch = {"x1": torch.empty(BATCH, 3, *IMAGE), "valid": seen}
    config = PseudoConfig(1.0, threshold="class_median" if masked else "fixed", weighting=weighting)
    loss, parts = Objective(ObjectiveConfig(pseudo=config))(
        {LOGITS: logits}, {LOGITS: maps(1)}, batch
    )
    loss.backward()
    assert loss.item() == parts["pseudo/confident"][0].item() == 0
    assert logits.grad is not None and not logits.grad.any()


# Where the teacher is sure


@pytest.mark.parametrize("distance", ["relative", "mean", "pearson"])
@pytest.mark.parametrize("masked", [False, True])
def test_places_where_the_teacher_is_unsure_do_not_count(distance: str, masked: bool) -> None:
    """They are a mask of pixels of x1, beside `valid`; the gradient there is 0."""
    config = RegressionConfig(1.0, {"pool1": 1.0}, distance, confidence=0.6)
    student, teacher, logits = (
        maps(0).float().requires_grad_(),
        maps(1).float(),
        2 * maps(2).float(),
    )
    batch = {"x1": torch.empty(BATCH, 3, *IMAGE)} | ({"valid": mask()} if masked else {})
    seen = mask() if masked else torch.ones(BATCH, *IMAGE, dtype=torch.uint8)
    large, sure = upsample(logits, IMAGE).numpy(), np.zeros(seen.shape, np.uint8)
    for b, i, j in np.argwhere(seen.numpy()):
        sure[b, i, j] = probabilities(large[b, :, i, j]).max() >= 0.6
    objective = Objective(ObjectiveConfig("x", config))
    assert objective.teacher == {"pool1", LOGITS} and objective.student == {"pool1"}
    assert objective.dense == ["regression"], "not for one label an image"
    loss, parts = objective({"pool1": student}, {"pool1": teacher, LOGITS: logits}, batch)
    wanted = DISTANCES[distance](student, teacher, torch.from_numpy(sure))
    assert 0 < sure.sum() < seen.sum() and loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert parts["confidence/share"][1] == 0
    assert parts["confidence/share"][0].item() == pytest.approx(
        sure.sum() / int(seen.sum()), abs=1e-3
    )
    loss.backward()
    counted = cells(torch.from_numpy(sure), (H, W)).bool()
    assert student.grad is not None and student.grad.any()
    assert not student.grad[~counted.expand_as(student)].any()


def test_tokens_on_no_grid_have_no_confidence() -> None:
    config = RegressionConfig(1.0, {"a": 1.0}, confidence=0.5)
    batch, teacher = (
        {"x1": torch.empty(BATCH, 3, *IMAGE)},
        {"a": maps(1).flatten(2), LOGITS: maps(2)},
    )
    with pytest.raises(InputError, match="confidence: a has tokens on no grid"):
        Objective(ObjectiveConfig("x", config))({"a": maps(0).flatten(2)}, teacher, batch)


# Runs


TERMS = {
    "pseudo": ObjectiveConfig("pseudo", pseudo=PseudoConfig(1.0, threshold="class_median")),
    "pool3_kd": ObjectiveConfig("both", RegressionConfig(1.0, {"pool3": 1.0}), kd=KDConfig(1.0)),
    "cwd": ObjectiveConfig("cwd", RegressionConfig(5.0, {"pool3": 1.0}, "cwd")),
    "pearson": ObjectiveConfig("pearson", RegressionConfig(1.0, {"pool3": 1.0}, "pearson")),
}


@pytest.mark.parametrize("name", TERMS)
def test_training_lowers_the_loss_and_moves_what_it_reaches(
    world: Path, tmp_path: Path, name: str
) -> None:
    """kd and pseudo train the classifier too; a regression of pool3 trains nothing after it."""
    longer = {"steps": 30, "batch": 4, "schedule": ScheduleConfig(lr=0.05)}
    train(adapting(world, tmp_path / "s", objective=TERMS[name], **longer))
    lines = read_metrics(tmp_path / "s")
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    before, after = weights(world / "teacher"), weights(tmp_path / "s")
    moved = {k.split(".")[0] for k in after if not torch.equal(before[k], after[k])}
    body = {"conv1", "conv2", "conv3"}
    head = {"conv4", "conv5", "fc6", "fc7", "classifier"}
    assert moved == (body | head if "kd" in name or name == "pseudo" else body)
    assert all(line["parts"].keys() == lines[0]["parts"].keys() for line in lines)

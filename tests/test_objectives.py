"""The objective's terms against numpy loops, and where their gradients reach."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adapt.config import ObjectiveConfig, RegressionConfig, SupervisedConfig
from adapt.errors import InputError
from adapt.images import IGNORE
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.objectives import DISTANCES, Objective, cells
from adapt.taps import LOGITS, forward

POOLS = ("pool1", "pool2", "pool3", "pool4", "pool5")
BATCH, CHANNELS, H, W = 3, 4, 5, 7
IMAGE = (39, 53)
"""Neither side is a multiple of the map's, and they are not square."""


def regression(
    taps: dict[str, float], distance: str = "relative", weight: float = 1.0
) -> Objective:
    return Objective(ObjectiveConfig("test", RegressionConfig(weight, taps, distance)))


def maps(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, CHANNELS, H, W, generator=generator, dtype=torch.double)


def mask() -> Tensor:
    """Valid pixels (B, H, W): a random third, all, and none."""
    drawn = np.random.default_rng(0).random((BATCH, *IMAGE)) < 0.33
    drawn[1], drawn[2] = True, False
    return torch.from_numpy(drawn.astype(np.uint8))


def slow(distance: str, student: np.ndarray, teacher: np.ndarray, valid: np.ndarray) -> float:
    """The documented formulas, one value at a time."""
    differences, references, counts = [], [], []
    for b in range(BATCH):
        difference = reference = count = 0.0
        for c in range(CHANNELS):
            for i in range(H):
                for j in range(W):
                    if valid[b, i * IMAGE[0] // H, j * IMAGE[1] // W]:
                        difference += (student[b, c, i, j] - teacher[b, c, i, j]) ** 2
                        reference += teacher[b, c, i, j] ** 2
                        count += 1
        differences.append(difference)
        references.append(reference)
        counts.append(count)
    if distance == "sum":
        return sum(differences) / BATCH
    if distance == "mean":
        return sum(differences) / sum(counts)
    return sum(d / r if r else 0.0 for d, r in zip(differences, references, strict=True)) / BATCH


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_are_their_formulas(distance: str, masked: bool) -> None:
    student, teacher = maps(0), maps(1)
    valid = mask() if masked else None
    everywhere = np.ones((BATCH, *IMAGE))
    found = DISTANCES[distance](student, teacher, valid)
    wanted = slow(
        distance,
        student.numpy(),
        teacher.numpy(),
        valid.numpy() if valid is not None else everywhere,
    )
    # The mask is float32, but 0 and 1 are exact in it; what is left is the order of summation.
    assert found.item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("size", [(5, 7), (2, 3), (20, 27), IMAGE], ids=str)
def test_a_cell_is_valid_where_its_nearest_pixel_is(size: tuple[int, int]) -> None:
    valid = mask()
    found = cells(valid, size)
    for i in range(size[0]):
        for j in range(size[1]):
            pixels = valid[:, i * IMAGE[0] // size[0], j * IMAGE[1] // size[1]]
            assert torch.equal(found[:, 0, i, j], pixels.float())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_of_distances_are_right(distance: str, masked: bool) -> None:
    student, teacher = maps(0).requires_grad_(), maps(1)
    valid = mask() if masked else None
    assert torch.autograd.gradcheck(lambda s: DISTANCES[distance](s, teacher, valid), student)


@pytest.mark.parametrize("distance", DISTANCES)
def test_values_outside_the_mask_do_not_count(distance: str) -> None:
    student, teacher, valid = maps(0), maps(1), mask()
    outside = cells(valid, (H, W)).expand_as(student) == 0
    wanted = DISTANCES[distance](student, teacher, valid)
    student[outside], teacher[outside] = 1e3, -1e3
    assert torch.equal(DISTANCES[distance](student, teacher, valid), wanted)


@pytest.mark.parametrize("distance", DISTANCES)
def test_without_any_valid_pixel_the_value_is_0_and_the_gradient_too(distance: str) -> None:
    student, teacher = maps(0).float().requires_grad_(), maps(1).float()
    value = DISTANCES[distance](student, teacher, torch.zeros(BATCH, *IMAGE, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0
    assert student.grad is not None and not student.grad.any()  # NaN would count as true


def test_relative_distance_does_not_depend_on_the_layers_scale() -> None:
    student, teacher = maps(0), maps(1)
    once, scaled = (DISTANCES["relative"](f * student, f * teacher) for f in (1, 1024))
    assert torch.equal(once, scaled)  # a power of two rounds nothing


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
    return objective(forward(student, x2, objective.student), wanted, {})[0]


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_images_and_weights_give_exactly_zero(
    pair: tuple[nn.Module, nn.Module], x: Tensor, distance: str
) -> None:
    student, teacher = pair
    loss = loss_of(regression(dict.fromkeys(POOLS, 1.0), distance), student, teacher, x, x.clone())
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


def test_a_deeper_term_leaves_a_shallower_ones_share_of_the_gradient_alone(
    pair: tuple[nn.Module, nn.Module], x: Tensor
) -> None:
    student, teacher = pair

    def gradient(taps: dict[str, float], of: str) -> Tensor:
        student.zero_grad()
        loss_of(regression(taps), student, teacher, x, x.flip(3)).backward()
        weight = student.get_submodule(of)[0].weight
        return torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()

    both = {"pool2": 0.3, "pool4": 0.7}
    for of in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        apart = sum(gradient({tap: weight}, of) for tap, weight in both.items())
        together = gradient(both, of)
        # Same sum in another order, in float32.
        assert torch.allclose(
            together, apart, rtol=1e-4, atol=1e-6 * float(together.abs().max() + 1)
        )
    assert torch.equal(gradient(both, "conv3"), gradient({"pool4": 0.7}, "conv3"))
    assert not gradient(both, "conv5").any()


# The objective as a whole


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    config = ObjectiveConfig(
        "both",
        RegressionConfig(0.5, {"pool1": 0.2, "pool5": 0.9}, "mean"),
        SupervisedConfig(2.0),
    )
    objective = Objective(config)
    assert objective.student == {"pool1", "pool5", LOGITS}
    assert objective.teacher == {"pool1", "pool5"}
    assert objective.labels
    generator = torch.Generator().manual_seed(0)
    student = {tap: maps(i).float() for i, tap in enumerate(("pool1", "pool5", LOGITS))}
    teacher = {tap: maps(9 + i).float() for i, tap in enumerate(("pool1", "pool5"))}
    y = torch.randint(0, CHANNELS, (BATCH, *IMAGE), generator=generator, dtype=torch.uint8)
    loss, parts = objective(student, teacher, {"y": y})
    weights = {"regression/pool1": 0.1, "regression/pool5": 0.45, "supervised/cross_entropy": 2.0}
    assert {name: weight for name, (_, weight) in parts.items()} == pytest.approx(weights)
    for tap in ("pool1", "pool5"):
        wanted = DISTANCES["mean"](student[tap], teacher[tap])
        assert torch.equal(parts[f"regression/{tap}"][0], wanted)
    total = sum(raw.item() * weights[name] for name, (raw, _) in parts.items())
    assert loss.item() == pytest.approx(total, rel=1e-6)  # float32


def test_a_term_of_weight_0_needs_nothing() -> None:
    config = ObjectiveConfig("one", RegressionConfig(0.0, {"pool1": 1.0}), SupervisedConfig(1.0))
    objective = Objective(config)
    assert (objective.student, objective.teacher) == ({LOGITS}, frozenset())
    assert not regression({"pool1": 1.0}).labels


def test_an_objective_without_terms_is_refused() -> None:
    with pytest.raises(InputError, match="'custom': no term of regression, supervised is on"):
        Objective(ObjectiveConfig())


def test_an_unknown_distance_names_the_choices() -> None:
    with pytest.raises(InputError, match=r"'realtive'.*Did you mean 'relative'.*sum, mean"):
        regression({"pool1": 1.0}, "realtive")


def test_maps_in_bf16_are_compared_in_fp32() -> None:
    """In bf16 a sum of 140 squares of about 1 would be a multiple of 1."""
    student, teacher = maps(0).bfloat16(), maps(1).bfloat16()
    objective = regression({"pool1": 1.0}, "sum")
    raw = objective({"pool1": student}, {"pool1": teacher}, {})[1]["regression/pool1"][0]
    assert torch.equal(raw, DISTANCES["sum"](student.float(), teacher.float()))


# Cross-entropy


@pytest.fixture
def supervised() -> Callable[[Tensor, Tensor], Tensor]:
    objective = Objective(ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0)))
    return lambda logits, y: objective({LOGITS: logits}, {}, {"y": y})[0]


def test_cross_entropy_is_the_mean_over_valid_pixels_at_the_labels_size(
    supervised: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits = maps(0).float()
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.choice(np.array([0, 1, 2, 3, IGNORE], np.uint8), (BATCH, *IMAGE)))
    large = nn.functional.interpolate(logits, IMAGE, mode="bilinear", align_corners=False)
    chances = large.double().log_softmax(dim=1)
    terms = [
        -chances[b, int(y[b, i, j]), i, j].item()
        for b in range(BATCH)
        for i in range(IMAGE[0])
        for j in range(IMAGE[1])
        if y[b, i, j] != IGNORE
    ]
    # float32 against double.
    assert supervised(logits, y).item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    mean = nn.functional.cross_entropy(large, y.long(), ignore_index=IGNORE)
    assert supervised(logits, y).item() == pytest.approx(mean.item(), rel=1e-6)


def test_an_all_void_crop_gives_0_and_a_zero_gradient(
    supervised: Callable[[Tensor, Tensor], Tensor],
) -> None:
    logits = maps(0).float().requires_grad_()
    loss = supervised(logits, torch.full((BATCH, *IMAGE), IGNORE, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()

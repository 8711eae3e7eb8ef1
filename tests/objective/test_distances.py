"""The distances against numpy loops over single values, with masks, options and gradients."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adapt.objective.distances import DISTANCES, cells

BATCH, CHANNELS, H, W = 3, 4, 5, 7
IMAGE = (39, 53)
"""Neither side is a multiple of the map's, and they are not square."""
VARIANTS: list[tuple[str, dict[str, float]]] = [
    *((name, {}) for name in DISTANCES),
    ("variance", {"variance": 0.25}),
    ("cosine", {"margin": 0.8}),
    ("cosine", {"margin": -0.2}),
    ("cwd", {"temperature": 4.0}),
    ("cwd", {"temperature": 0.5}),
]
"""Every distance as it is by default, and the ones with options with others."""
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def maps(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, CHANNELS, H, W, generator=generator, dtype=torch.double)


def mask() -> Tensor:
    """Valid pixels (B, H, W): a random third, all, and none."""
    drawn = np.random.default_rng(0).random((BATCH, *IMAGE)) < 0.33
    drawn[1], drawn[2] = True, False
    return torch.from_numpy(drawn.astype(np.uint8))


def counted(valid: np.ndarray) -> list[list[tuple[int, int]]]:
    """For each image the cells whose nearest pixel is valid."""
    return [
        [
            (i, j)
            for i in range(H)
            for j in range(W)
            if valid[b, i * IMAGE[0] // H, j * IMAGE[1] // W]
        ]
        for b in range(BATCH)
    ]


def softmax(values: list[float]) -> list[float]:
    total = sum(np.exp(v) for v in values)
    return [np.exp(v) / total for v in values]


def slow(
    name: str,
    student: np.ndarray,
    teacher: np.ndarray,
    valid: np.ndarray,
    margin: float = 1.0,
    temperature: float = 1.0,
    variance: float = 1.0,
) -> float:
    """The documented formulas, one value at a time."""
    chosen = counted(valid)
    total = sum(len(places) for places in chosen)
    pairs = [
        [(student[b, c, i, j], teacher[b, c, i, j]) for i, j in chosen[b] for c in range(CHANNELS)]
        for b in range(BATCH)
    ]
    squared = [sum((s - t) ** 2 for s, t in image) for image in pairs]
    if name == "sum":
        return sum(squared) / BATCH
    if name == "norm":
        return sum(d**0.5 for d in squared) / BATCH
    if name in ("mean", "variance"):
        return sum(squared) / (total * CHANNELS) / variance
    if name == "l1":
        return sum(abs(s - t) for image in pairs for s, t in image) / (total * CHANNELS)
    if name == "relative":
        scale = [sum(t**2 for _, t in image) for image in pairs]
        return sum(d / r if r else 0.0 for d, r in zip(squared, scale, strict=True)) / BATCH
    if name == "cosine":
        hinges = []
        for b in range(BATCH):
            for i, j in chosen[b]:
                s, t = student[b, :, i, j], teacher[b, :, i, j]
                cos = sum(s * t) / np.sqrt(sum(s**2) * sum(t**2))
                hinges.append(max(0.0, margin - cos))
        return sum(hinges) / total
    if name == "pearson":
        apart = 0.0
        for c in range(CHANNELS):
            own = [
                np.array([of[b, c, i, j] for b in range(BATCH) for i, j in chosen[b]])
                for of in (student, teacher)
            ]
            s, t = ((v - v.mean()) / np.sqrt(v.var() + 1e-6) for v in own)
            apart += np.square(s - t).mean() / 2 / CHANNELS
            assert np.square(s - t).mean() / 2 == pytest.approx(
                1 - np.corrcoef(*own)[0, 1], abs=1e-5
            )
        return apart
    assert name == "cwd"
    apart = 0.0
    for b in range(BATCH):
        for c in range(CHANNELS):
            p, q = (
                softmax([of[b, c, i, j] / temperature for i, j in chosen[b]])
                for of in (teacher, student)
            )
            apart += sum(x * np.log(x / y) for x, y in zip(p, q, strict=True))
    return temperature**2 * apart / (BATCH * CHANNELS)


@pytest.mark.parametrize("masked", [False, True])
@every_variant
def test_distances_and_gradients_are_their_formulas(
    name: str, options: dict[str, Any], masked: bool
) -> None:
    student, teacher, valid = maps(0).requires_grad_(), maps(1), mask() if masked else None
    distance = partial(DISTANCES[name], valid=valid, **options)
    seen = np.ones((BATCH, *IMAGE)) if valid is None else valid.numpy()
    wanted = slow(name, student.detach().numpy(), teacher.numpy(), seen, **options)
    # The mask is float32, but 0 and 1 are exact in it; what is left is the order of summation, and
    # what 1 - cos loses by cancelling.
    assert wanted > 0.01
    assert distance(student, teacher).item() == pytest.approx(wanted, rel=1e-12)
    assert torch.autograd.gradcheck(lambda s: distance(s, teacher), student)


@every_variant
def test_what_the_mask_leaves_out_does_not_count(name: str, options: dict[str, Any]) -> None:
    """A mask of all pixels is none; one of none makes the value and its gradient 0."""
    student, teacher, valid = maps(0), maps(1), mask()
    distance = partial(DISTANCES[name], **options)
    full, nothing = torch.ones_like(valid), torch.zeros_like(valid)
    whole = distance(student, teacher, full).item()
    assert whole == pytest.approx(distance(student, teacher, None).item(), rel=1e-12)  # other order
    wanted = distance(student, teacher, valid)
    outside = cells(valid, (H, W)).expand_as(student) == 0
    student[outside], teacher[outside] = 1e3, -1e3
    assert torch.equal(distance(student, teacher, valid), wanted)
    student = maps(0).float().requires_grad_()
    value = distance(student, maps(1).float(), nothing)
    value.backward()
    assert value.item() == 0
    assert student.grad is not None and not student.grad.any()  # NaN would count as true


@pytest.mark.parametrize("masked", [False, True])
@every_variant
def test_equal_maps_give_exactly_zero_and_no_gradient(
    name: str, options: dict[str, Any], masked: bool
) -> None:
    """In float32, and with cells that are zero in all channels, as dead ReLUs make them."""
    teacher = maps(0).float().relu()
    teacher[:, :, 1:3] = 0
    student = teacher.clone().requires_grad_()
    value = DISTANCES[name](student, teacher, mask() if masked else None, **options)
    value.backward()
    assert value.item() == 0
    assert student.grad is not None and not student.grad.any()


def test_an_image_of_which_the_teacher_shows_nothing_has_no_relative_distance() -> None:
    student, teacher = maps(0).requires_grad_(), maps(1)
    teacher[1] = 0
    value = DISTANCES["relative"](student, teacher)
    value.backward()
    wanted = slow("relative", student.detach().numpy(), teacher.numpy(), np.ones((BATCH, *IMAGE)))
    assert value.item() == pytest.approx(wanted) and student.grad is not None
    assert student.grad[0].any() and not student.grad[1].any()


def test_cosine_of_zero_vectors_is_finite_and_so_is_its_gradient() -> None:
    """Zero beside something is half of what a right angle is; zero beside zero is equal."""
    zero, other = torch.zeros(1, 4, 1, 1), torch.tensor([3.0, 0, 4, 0]).view(1, 4, 1, 1)
    for student, teacher, wanted in ((zero, other, 0.5), (other, zero, 0.5), (zero, zero, 0.0)):
        student = student.clone().requires_grad_()
        value = DISTANCES["cosine"](student, teacher)
        value.backward()
        assert value.item() == pytest.approx(wanted)
        assert student.grad is not None and student.grad.abs().max() <= 1


def test_pearson_of_dead_channels_and_of_tokens() -> None:
    """A channel that is the same everywhere beside one that is not is half of what nothing in
    common is, beside another dead one 0; scale and offset of a channel change nothing."""
    alive, dead = maps(0).float(), torch.full((BATCH, CHANNELS, H, W), 30.0)
    for student, teacher, wanted in ((dead, alive, 0.5), (alive, dead, 0.5), (dead, dead + 1, 0.0),
                                     (alive, 3 * alive + 2, 0.0)):  # fmt: skip
        student = student.clone().requires_grad_()
        value = DISTANCES["pearson"](student, teacher)
        value.backward()
        assert value.item() == pytest.approx(wanted, abs=1e-5)
        assert student.grad is not None and student.grad.isfinite().all()
    tokens = DISTANCES["pearson"](maps(0).flatten(2), maps(1).flatten(2), mask())
    assert tokens.item() == pytest.approx(DISTANCES["pearson"](maps(0), maps(1)).item())

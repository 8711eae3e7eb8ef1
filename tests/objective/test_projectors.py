"""Projectors: a linear map of the channels, only where channels differ; maps of two sizes."""

import pytest
import torch
from torch import nn

from adapt.errors import InputError
from adapt.objective.distances import DISTANCES
from adapt.objective.projectors import Projectors
from adapt.objective.terms import Objective, regression
from adapt.settings.objective import ObjectiveConfig, RegressionConfig

GRID, TOKENS = (6, 5, 4), (6, 20)
"""(C, h, w), and (C, N) of tokens that lie on no grid."""


@pytest.mark.parametrize("shape", [GRID, TOKENS])
def test_a_projector_is_a_linear_map_of_the_channels_of_maps_and_of_tokens(
    shape: tuple[int, ...],
) -> None:
    """Its values and gradients are those of a sum over the channels, cell by cell."""
    wanted = (3, 9, 9) if shape == GRID else (3, 20)
    projectors = Projectors({"theirs": "own"}, {"own": shape}, {"theirs": wanted})
    assert "own 6 -> theirs 3" in str(projectors)
    weight, bias = projectors.parameters()
    maps = torch.randn(2, *shape, requires_grad=True)
    found = projectors({"own": maps})["theirs"]
    slow = torch.einsum("bc...,dc->bd...", maps, weight)
    slow = slow + bias.view(1, 3, *[1] * (len(shape) - 1))
    torch.testing.assert_close(found, slow)
    into, given = torch.randn_like(found), [maps, weight, bias]
    for a, b in zip(
        torch.autograd.grad((found * into).sum(), given),
        torch.autograd.grad((slow * into).sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_maps_of_equal_channels_pass_as_they_are() -> None:
    projectors = Projectors({"a": "b"}, {"b": GRID}, {"a": (6, 9, 9)})
    maps = {"b": torch.randn(2, 6, 5, 4), "logits": torch.randn(2, 3, 5, 4)}
    found = projectors(maps)
    assert found.keys() == {"a", "logits"} and not list(projectors.parameters())
    assert found["a"] is maps["b"] and found["logits"] is maps["logits"]


@pytest.mark.parametrize("name", DISTANCES)
def test_a_smaller_map_is_interpolated_to_the_teachers_size(name: str) -> None:
    """Also where pixels are masked; the interpolation is torch's bilinear one."""
    own, theirs = torch.randn(2, 6, 5, 4), torch.randn(2, 6, 10, 12)
    valid = torch.rand(2, 40, 48) > 0.4
    own_of = RegressionConfig(1.0, {"t": 2.0}, name, student={"t": "s"})
    own_of.variance = {"t": 1.0} if name == "variance" else {}
    objective = Objective(ObjectiveConfig("x", own_of))
    assert (objective.student, objective.teacher) == ({"s"}, {"t"})
    loss, _ = objective({"t": own}, {"t": theirs}, {"valid": valid})
    larger = nn.functional.interpolate(own, (10, 12), mode="bilinear", align_corners=False)
    assert torch.equal(loss, 2 * DISTANCES[name](larger, theirs, valid))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"map": "tokens"}, r"the student's tokens has maps \(6, 20\), the teacher's map \(6, 5"),
        ({"more": "tokens"}, "on no grid onto as many tokens"),
    ],
)
def test_tokens_are_not_regressed_onto_maps_or_onto_other_numbers(
    pairs: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Projectors(pairs, {"tokens": TOKENS}, {"map": GRID, "more": (6, 21)})


def test_pairs_are_of_layers_that_are_regressed_and_logits_stay_logits() -> None:
    with pytest.raises(InputError, match=r"regression\.student: layer: 'pol5' is not known"):
        regression(RegressionConfig(1.0, {"pool5": 1.0}, student={"pol5": "x"}))
    with pytest.raises(InputError, match="only the student's logits"):
        regression(RegressionConfig(1.0, {"logits": 1.0}, student={"logits": "fc7"}))

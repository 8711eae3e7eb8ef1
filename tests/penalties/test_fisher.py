"""Diagonal Fisher information against closed forms, enumeration and explicit loops."""

import json
from itertools import product
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from adapt.data.sampling import image_seed
from adapt.disk.tensors import read_metadata
from adapt.errors import InputError
from adapt.networks.taps import upsample
from adapt.penalties.fisher import Values, drawn, fisher_of, load_fisher, write_fisher

Images = list[tuple[str, Tensor]]


def images(count: int, *shape: int) -> Images:
    generator = torch.Generator().manual_seed(3)
    return [(f"i{k}", torch.randn(1, 3, *shape, generator=generator)) for k in range(count)]


def classifier(classes: int) -> nn.Module:
    """Convolution, batch norm with moved statistics, ReLU, linear: (B, 3, 4, 5) -> (B, C)."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), nn.Flatten(), nn.Linear(24, classes)
    )
    net(torch.randn(9, 3, 4, 5) * 2 + 1)
    return net


def dense(stride: int = 1, classes: int = 2) -> nn.Module:
    torch.manual_seed(1)
    first = nn.Conv2d(3, 4, 3, padding=1, stride=stride)
    return nn.Sequential(first, nn.ReLU(), nn.Conv2d(4, classes, 1))


def close(found: Values, wanted: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == torch.float32
        scale = float(value.max()) + 1e-30
        assert float((found[name] - value).abs().max()) / scale < tolerance, name


def squares(net: nn.Module, log_p: Tensor) -> dict[str, Tensor]:
    net.zero_grad()
    log_p.backward(retain_graph=True)
    return {n: p.grad.double().square() for n, p in net.named_parameters() if p.grad is not None}


def test_softmax_regression_has_the_closed_form() -> None:
    """F of weight (k, i) is the mean of x_i^2 p_k (1 - p_k), of bias k that of p_k (1 - p_k)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 3, 4))
    pictures = images(7, 2, 3)
    x = torch.cat([image for _, image in pictures]).flatten(1).double()
    p = net.double()(x.view(-1, 3, 2, 3)).softmax(1).detach()
    spread = p * (1 - p)
    wanted = {"1.weight": spread.T @ x.square() / 7, "1.bias": spread.mean(0)}
    close(fisher_of(net.float(), pictures), wanted)


class Named(nn.Sequential):
    """A network that names its logits."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": super().forward(x)}


@pytest.mark.parametrize("make", [nn.Sequential, Named])
def test_one_logit_of_a_classifier_has_the_closed_form(make: type[nn.Sequential]) -> None:
    """F of weight i is the mean of x_i^2 p (1 - p), p being the sigmoid."""
    torch.manual_seed(0)
    net, pictures = make(nn.Flatten(), nn.Linear(3 * 2 * 3, 1)), images(7, 2, 3)
    x = torch.cat([image for _, image in pictures]).flatten(1).double()
    p = (x @ net[1].weight.double().T + net[1].bias).sigmoid().detach()
    spread = p * (1 - p)
    wanted = {"1.weight": spread.T @ x.square() / 7, "1.bias": spread.mean(0)}
    close(fisher_of(net, pictures), wanted)


def test_classification_sums_over_all_classes() -> None:
    net, pictures = classifier(5).eval(), images(4, 4, 5)
    wanted = {n: torch.zeros_like(p, dtype=torch.double) for n, p in net.named_parameters()}
    for _, image in pictures:
        logs = net(image).log_softmax(1)[0]
        for log_p in logs:
            for name, square in squares(net, log_p).items():
                wanted[name] += log_p.detach().exp() * square / len(pictures)
    found = fisher_of(net, pictures)
    close(found, wanted)
    assert all(value.max() > 0 for value in found.values())


def moments(net: nn.Module, image: Tensor, normalisation: str) -> tuple[dict, dict]:
    """Mean and variance of a draw's squared score, by every one of the 16 label maps of 2 classes
    and 2 x 2 pixels."""
    logs = upsample(net(image), (2, 2)).log_softmax(1)[0].flatten(1)
    mean: dict[str, Tensor] = {}
    second: dict[str, Tensor] = {}
    for labels in product(range(2), repeat=4):
        log_p = torch.stack([logs[c, n] for n, c in enumerate(labels)])
        chance = float(log_p.detach().sum().exp())
        scored = log_p.sum() if normalisation == "sum" else log_p.mean()
        for name, square in squares(net, scored).items():
            mean[name] = mean.get(name, 0) + chance * square
            second[name] = second.get(name, 0) + chance * square**2
    return mean, {n: second[n] - mean[n] ** 2 for n in mean}


@pytest.mark.parametrize(("stride", "normalisation"), [(1, "mean"), (2, "sum")])
def test_drawn_labels_estimate_the_expectation_over_all_label_maps(
    stride: int, normalisation: str
) -> None:
    """Within five standard errors, for one image and for the mean of two; logits of 2x2, and of
    1x1, which are upsampled."""
    net, pictures, draws = dense(stride), images(2, 2, 2), 500
    expected = [moments(net, image, normalisation) for _, image in pictures]
    for count in (1, 2):
        found = fisher_of(net, pictures[:count], normalisation, draws, seed=5)
        for name, value in found.items():
            mean = sum(m[name] for m, _ in expected[:count]) / count
            error = (sum(v[name] for _, v in expected[:count]) / draws).clamp(min=0).sqrt() / count
            assert ((value - mean).abs() <= 5 * error + 1e-5 * mean.max()).all(), name
            assert float(error.max()) < 0.2 * float(mean.max()), "the bound says something"


def test_one_draw_is_the_square_of_each_images_own_gradient() -> None:
    """Against torch.func's per-sample gradients of a batch of four, same labels."""
    net, pictures = dense(2, 3), images(4, 6, 8)
    x = torch.cat([image for _, image in pictures])
    weights = {n: p.detach() for n, p in net.named_parameters()}
    logits = upsample(net(x), (6, 8))
    seeds = [image_seed(2, name) for name, _ in pictures]
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    labels = torch.cat([drawn(z[None], own) for z, own in zip(logits, draws, strict=True)])

    def cost(weights: dict[str, Tensor], image: Tensor, y: Tensor) -> Tensor:
        found = torch.func.functional_call(net, weights, (image[None],))
        return nn.functional.cross_entropy(upsample(found, (6, 8)), y[None], reduction="sum")

    each = torch.func.vmap(torch.func.grad(cost), (None, 0, 0))(weights, x, labels)
    found = fisher_of(net, pictures, "sum", 1, seed=2)
    close(found, {n: g.double().square().mean(0) for n, g in each.items()})
    batch = {n: g.double().mean(0).square() for n, g in each.items()}
    assert all(not torch.allclose(found[n].double(), batch[n], rtol=0.1) for n in batch)


def test_order_and_company_do_not_matter_but_seed_and_name_do() -> None:
    """And `mean` is `sum` divided by the square of the number of pixels."""
    net, pictures = dense(2, 3), images(4, 6, 8)
    found = fisher_of(net, pictures)
    close(found, {n: v.double() * 48**2 for n, v in fisher_of(net, pictures, "mean").items()})
    close(fisher_of(net, pictures[::-1]), {n: v.double() for n, v in found.items()}, 1e-6)
    alone = [fisher_of(net, [image]) for image in pictures]
    close(found, {n: sum(a[n].double() for a in alone) / 4 for n in found}, 1e-6)
    renamed = [(f"x{name}", picture) for name, picture in pictures]
    for other in (fisher_of(net, pictures, seed=1), fisher_of(net, renamed)):
        assert all(not torch.equal(found[n], other[n]) for n in found)


def test_labels_are_drawn_by_their_probabilities() -> None:
    chances = torch.tensor([0.6, 0.0, 0.3, 0.1, 0.0])
    logits = chances.log()[None, :, None, None].expand(1, 5, 200, 200)
    labels = drawn(logits, torch.Generator().manual_seed(0))
    assert labels.shape == (1, 200, 200) and labels.dtype == torch.int64
    share = torch.bincount(labels.flatten(), minlength=5) / 40_000
    bound = 5 * (chances * (1 - chances) / 40_000).sqrt()
    assert ((share - chances).abs() <= bound).all()


def test_the_network_is_left_as_it_was_and_may_be_frozen() -> None:
    """Batch norm in train mode would move its statistics and use those of one image."""
    net, pictures = classifier(3), images(3, 4, 5)
    wanted = fisher_of(net.eval(), pictures)
    net.train()
    net[3].eval()
    net.requires_grad_(False)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = fisher_of(net, pictures)
    assert all(torch.equal(found[n], wanted[n]) for n in wanted)
    assert net.training and net[1].training and not net[3].training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())


class Unused(nn.Module):
    """One layer's output goes nowhere; one weight serves twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.unused, self.last = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.last(self.first(x).tanh())}


def test_parameters_that_nothing_reaches_have_none_and_shared_ones_count_once() -> None:
    net, pictures = Unused(), images(2, 2, 2)
    found = fisher_of(net, pictures)
    assert found.keys() == dict(net.named_parameters()).keys() and "last.weight" not in found
    assert not found["unused.weight"].any() and found["first.weight"].all()


def test_wrong_input() -> None:
    net, pictures = dense(), images(1, 2, 2)
    with pytest.raises(InputError, match="'men' is not known"):
        fisher_of(net, pictures, "men")
    with pytest.raises(InputError, match="draws is 0; it must be at least 1"):
        fisher_of(net, pictures, draws=0)
    with pytest.raises(InputError, match="no images"):
        fisher_of(net, [])
    nn.init.constant_(net[2].bias, float("nan"))
    with pytest.raises(InputError, match="logits are not finite"):
        fisher_of(net, pictures)
    flat = nn.Conv2d(3, 2, 1)
    nn.init.zeros_(flat.weight)
    with pytest.raises(InputError, match="values of weight are not finite"):
        fisher_of(flat, [("far", torch.full((1, 3, 2, 2), 1e25))])


MADE = {"model": "00", "images": 3, "normalisation": "sum"}
VALUES = {"v": torch.ones(1), "w": torch.ones(2)}


def described(path: Path, values: Values = VALUES, **changes: object) -> Path:
    """A Fisher file with other entries in its description; None takes one out."""
    write_fisher(path, values, MADE)
    about = json.loads(read_metadata(path)["fisher"]) | changes
    text = json.dumps({k: v for k, v in about.items() if v is not None})
    path.write_bytes(safetensors.torch.save(values, {"fisher": text}))
    return path


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    values = fisher_of(dense(), images(2, 2, 2))
    for name in ("a", "b"):
        write_fisher(tmp_path / f"{name}.safetensors", values, MADE)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = load_fisher(tmp_path / "a.safetensors")
    assert found.made == MADE and list(found.values) == list(values)
    assert all(torch.equal(found.values[n], v) for n, v in values.items())
    every = torch.cat([v.flatten() for v in values.values()])
    assert found.mean == pytest.approx(float(every.double().mean()))
    for earlier in ({"format": 1, "sha256": None}, {"seal": "5a"}):
        assert load_fisher(described(tmp_path / "c.safetensors", **earlier)).made == MADE


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ({"w": torch.tensor([1.0, -1.0])}, {}, "w has values that are negative or not finite"),
        ({"w": torch.tensor([float("nan")])}, {}, "w has values that are negative or not finite"),
        ({"w": torch.tensor([float("inf")])}, {}, "w has values that are negative or not finite"),
        ({"w": torch.ones(2, dtype=torch.double)}, {}, "w is torch.float64"),
        (VALUES, {"format": 99}, "not a Fisher file of format 2"),
        (VALUES, {"parameters": ["v"]}, "not the parameters that its metadata lists"),
        (VALUES, {"sha256": "00"}, "corrupt: tensors"),
    ],
)
def test_what_no_fisher_information_has_is_refused(
    tmp_path: Path, values: Values, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_fisher(described(tmp_path / "f.safetensors", values, **changes))


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    with pytest.raises(InputError, match="no such file"):
        load_fisher(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_fisher(path)
    path.write_bytes(safetensors.torch.save(VALUES))
    with pytest.raises(InputError, match=r"not a Fisher file \(no 'fisher' in its metadata\)"):
        load_fisher(path)
    with pytest.raises(InputError, match=r"not a \.safetensors file"):
        load_fisher(tmp_path / "f.pth")

"""What scripts/layers.py says of a network, held against closed forms and the taps themselves."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import segmentation

from adapt.errors import InputError
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.layers import Layer, check, main_path, trace
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig
from adapt.settings.viz import LayersConfig
from viz.layers.cka import cells_of, cka, principal, similarities
from viz.layers.command import layers, listed, short, stride_of, table_of
from viz.layers.similarity import AFTER, INSIDE, INTO, kinds

SIZE = (32, 48)


def torchvision(name: str) -> Callable[[], nn.Module]:
    make = getattr(segmentation, name)
    return lambda: make(weights=None, weights_backbone=None, num_classes=5)


class Odd(nn.Module):
    """Everything that a tap cannot stand on, and what it can."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.shared = nn.ReLU()
        self.lost = nn.Conv2d(4, 4, 1)
        self.part = nn.Conv2d(4, 4, 1)
        self.tokens = nn.Flatten(2)
        self.pair = nn.LSTM(4, 4, batch_first=True)
        self.unused = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 5, 1)
        self.aliases = {"deep": "norm"}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.shared(self.stem(x))
        x = torch.relu_(self.lost(x)) + 1  # gone before another module runs
        y = self.part(x)
        y[:, :1].mul_(2)  # through a view
        z = self.tokens(self.shared(y))
        z, _ = self.pair(z.transpose(1, 2))
        y = self.norm(y + z.transpose(1, 2).reshape(y.shape))
        return {"out": self.head(y)}


NETS: dict[str, Callable[[], nn.Module]] = {
    "deeplab": lambda: DeepLabVGG16(5, width=1 / 32),
    "deeplab_bn": lambda: DeepLabVGG16(5, width=1 / 32, batch_norm=True),
    "lraspp": torchvision("lraspp_mobilenet_v3_large"),
    "fcn": torchvision("fcn_resnet50"),
    "odd": Odd,
}


@pytest.fixture(scope="module", params=list(NETS))
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Layer]]:
    torch.manual_seed(0)
    net = NETS[request.param]().eval()
    return net, trace(net, SIZE)


def image(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))


def named(found: list[Layer]) -> dict[str, Layer]:
    return {x.name: x for x in found}


# The numbers


def test_parameters_add_up(case: tuple[nn.Module, list[Layer]]) -> None:
    net, found = case
    total = sum(p.numel() for p in net.parameters())
    assert {x.name for x in found} == {name for name, _ in net.named_modules()}
    assert sum(x.parameters for x in found if x.leaf) == total
    last = named(found)[""]
    reached = sum(x.parameters for x in found if x.leaf and x.calls)
    assert (last.parameters, last.parameters_until) == (total, total)
    if type(net) is not Odd:
        assert reached == total


def test_multiply_accumulates_are_the_closed_form(case: tuple[nn.Module, list[Layer]]) -> None:
    """k_h k_w C_in / groups C_out H_out W_out of every convolution, and nothing else."""
    net, found = case
    modules, expected = dict(net.named_modules()), {}
    for layer in found:
        conv = modules[layer.name]
        if isinstance(conv, nn.Conv2d) and layer.calls:
            per_cell = math.prod(conv.kernel_size) * conv.in_channels // conv.groups
            expected[layer.name] = per_cell * math.prod(layer.shape)
            assert layer.macs == expected[layer.name], layer.name
    done = 0
    for layer in found:  # in the order of computing
        done += expected.get(layer.name, 0)
        inside = [macs for name, macs in expected.items() if name.startswith(f"{layer.name}.")]
        if type(net) is not Odd and layer.calls:
            assert layer.macs_until == done
            assert layer.leaf or not layer.name or layer.macs == sum(inside)
    last = named(found)[""]
    assert last.share == last.share_until == 1
    shares = [x.share_until for x in found if x.calls]
    assert shares == sorted(shares)
    assert sum(x.share for x in found if x.leaf) == pytest.approx(1)


def test_shapes_and_obstacles_are_those_of_the_taps(case: tuple[nn.Module, list[Layer]]) -> None:
    """`check` lets through just the layers whose map `forward` hands out unharmed."""
    net, found = case
    calls: dict[str, list[object]] = {name: [] for name, _ in net.named_modules() if name}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: calls[name].append(o.clone() if isinstance(o, Tensor) else o)
        )
        for name in calls
    ]
    with torch.no_grad():
        net(image())
        for handle in handles:
            handle.remove()
        for layer in [x for x in found if x.name][:: 3 if len(found) > 100 else 1]:
            seen = calls[layer.name]
            assert layer.calls == len(seen)
            alone, together = allowed(found, [layer.name]), allowed(found, [layer.name, LOGITS])
            one = len(seen) == 1 and isinstance(seen[0], Tensor) and seen[0].ndim == 4
            assert alone == one, layer.name
            if not one:
                continue
            assert torch.equal(forward(net, image(), [layer.name])[layer.name], seen[0])
            assert tuple(seen[0].shape) == layer.shape
            try:
                whole = forward(net, image(), [layer.name, LOGITS])[layer.name]
                unharmed = torch.equal(whole, seen[0])
            except InputError as error:
                assert "overwritten" in str(error)
                unharmed = False
            assert together == unharmed == (not layer.obstacle), layer.name


def allowed(found: list[Layer], taps: list[str]) -> bool:
    try:
        check(found, taps)
    except InputError:
        return False
    return True


def test_odd_network_is_described() -> None:
    found = trace(Odd(), SIZE)
    reasons = {name: layer.obstacle for name, layer in named(found).items()}
    assert reasons == {
        "stem": "", "shared": "called 2 times", "lost": "overwritten in (network)",
        "part": "overwritten in (network)", "tokens": "no map: 3 dimensions",
        "pair": "returns tuple", "norm": "", "head": "", "unused": "never called", "": "",
    }  # fmt: skip
    assert named(found)["stem"].stride == (2, 2) and named(found)["norm"].aliases == ("deep",)
    assert named(found)[""].shape == (1, 5, 16, 24)
    assert found[-1].name == "unused", "what never runs comes last"


def test_tracing_leaves_no_trace() -> None:
    net = DeepLabVGG16(5, width=1 / 32, batch_norm=True).train()
    net.conv1.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    trace(net, (16, 24))
    with pytest.raises(InputError, match="0x24"):
        trace(net, (0, 24))
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_size_that_does_not_fit_is_named() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 9), nn.Conv2d(4, 5, 1))
    with pytest.raises(InputError, match=r"image of 7x40 \(H x W\)"):
        trace(net, (7, 40))
    assert not net[0]._forward_hooks
    with pytest.raises(InputError, match="must be logits"):
        trace(nn.Sequential(nn.Flatten(2)), SIZE)


# The check


def test_check_gives_reasons_and_choices() -> None:
    found = trace(Odd(), SIZE)
    check(found, ["stem", "deep", "norm", LOGITS])
    with pytest.raises(InputError, match=r"objective: shared cannot be tapped \(called 2 times\)"):
        check(found, ["shared"], "objective")
    with pytest.raises(InputError, match=r"Did you mean 'norm'.*deep, stem, norm, head"):
        check(found, ["nrom"])
    with pytest.raises(InputError, match="never called"):
        check(found, ["unused"])
    check(found, ["stem", "part"])  # the deepest: the pass stops before it is overwritten
    with pytest.raises(InputError, match=r"part .*overwritten.*stem, norm, head"):
        check(found, ["part", "deep"])


# The table


def test_stride_is_known_in_spite_of_rounding() -> None:
    found = named(trace(DeepLabVGG16(5, width=1 / 32), (321, 33)))
    assert [stride_of(found[f"pool{i}"]) for i in range(1, 6)] == ["2", "4", "8", "8", "8"]
    assert stride_of(named(trace(Odd(), SIZE))["pair"]) == "-"
    flat = nn.Sequential(nn.Conv2d(3, 5, 1, stride=(2, 4)))
    assert stride_of(named(trace(flat, SIZE))["0"]) == "2x4"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1234, "1.23 k"), (12_345, "12.3 k"), (123_456, "123 k"),
     (9_999_999, "10.00 M"), (50_900_000_000, "50.9 G")],
)  # fmt: skip
def test_short_numbers(number: int, text: str) -> None:
    assert short(number) == text


def test_table_is_aligned_and_holds_what_was_asked() -> None:
    found = trace(NETS["fcn"](), SIZE)
    lines = table_of(listed(found, 2)).splitlines()
    names = [line.split()[0] for line in lines[1:]]
    assert "backbone.layer4" in names and "backbone.layer4.0" not in names
    assert lines[0].startswith("layer ") and len({line.index("  ") > 0 for line in lines}) == 1
    starts = {line.rindex(" % ") for line in lines[1:]}
    assert len(starts) == 1
    assert len(table_of(listed(found, 0)).splitlines()) == len(found) + 1


# The figure's numbers


def slow_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, equation 5, with kernel matrices."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m = k.copy(), m.copy()
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        ones = np.ones(n)
        both = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return np.trace(k @ m) + both - 2 / (n - 2) * (ones @ k @ m @ ones)

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("small", [0, 2048])
def test_cka_by_a_slow_loop(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without kept kernel matrices."""
    monkeypatch.setattr("viz.layers.cka.SMALL", small)
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, 7))
    y = x @ rng.normal(0, 1, (7, 11)) + rng.normal(-5, 1, (40, 11))
    found = cka(cells_of(torch.from_numpy(x)), cells_of(torch.from_numpy(y)))
    assert found == pytest.approx(slow_cka(x, y), rel=1e-9) and 0.3 < found < 1


def test_cka_knows_sameness_and_unrelatedness() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 500, generator=rng, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(500, 500, generator=rng, dtype=torch.float64))[0]
    assert cka(cells_of(x), cells_of(3 * x @ turn + 7)) == pytest.approx(1)
    other = torch.randn(200, 500, generator=rng, dtype=torch.float64)
    assert abs(cka(cells_of(x), cells_of(other))) < 0.02, "the biased estimate says 0.7"
    assert math.isnan(cka(cells_of(x), cells_of(torch.ones(200, 3))))


def test_maps_of_two_sizes_meet_on_the_coarser() -> None:
    rng = torch.Generator().manual_seed(0)
    fine = torch.randn(1, 4, 12, 16, generator=rng)
    coarse = nn.functional.avg_pool2d(fine, 2)
    found = similarities([fine, coarse, torch.randn(1, 4, 12, 16, generator=rng)])
    assert found[0, 1] == pytest.approx(1) and np.array_equal(found, found.T)
    assert abs(found[0, 2]) < 0.2


def test_principal_component_and_its_sign() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(60) / 7).reshape(6, 10)
    for channels in (5, 90):  # fewer and more than cells
        feature_map = np.multiply.outer(rng.normal(0, 1, channels), 4 * wave)
        feature_map += rng.normal(0, 0.01, feature_map.shape)
        for like in (wave, -wave):
            found = principal(torch.from_numpy(feature_map)[None], np.kron(like, np.ones((3, 3))))
            assert np.corrcoef(found.ravel(), like.ravel())[0, 1] > 0.99
            assert found.min() == 0 and found.max() == 1


def test_main_path_has_each_map_once() -> None:
    def path(name: str) -> tuple[list[str], list[str]]:
        net = NETS[name]()
        found = main_path(net, trace(net, SIZE))
        return [x.name for x in found], kinds(found)

    names, steps = path("deeplab_bn")
    assert names == [
        "conv1.2", "conv1.5", "pool1", "conv2.2", "conv2.5", "pool2", "conv3.2", "conv3.5",
        "conv3.8", "pool3", "conv4.2", "conv4.5", "conv4.8", "pool4", "conv5.2", "conv5.5",
        "conv5.8", "pool5", "fc6.2", "fc7.2", "classifier",
    ]  # fmt: skip
    assert steps[:4] == [INSIDE, INTO, AFTER, INSIDE] and steps.count(INTO) == 5
    names, steps = path("fcn")
    blocks = [
        f"backbone.layer{s}.{i}" for s, n in ((1, 3), (2, 4), (3, 6), (4, 3)) for i in range(n)
    ]
    assert names[:2] == ["backbone.relu", "backbone.maxpool"] and names[2:18] == blocks
    assert names[18:] == ["classifier.2", "classifier.4"]
    assert [names[i + 1] for i, kind in enumerate(steps) if kind == INTO] == [
        "backbone.maxpool", "backbone.layer2.0",
    ]  # fmt: skip
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 1))

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Inner()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    class Inner(Wrapped):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.net = inner

    net = Wrapped()
    assert [x.name for x in main_path(net, trace(net, SIZE))] == [
        "net.net.1", "net.net.2", "net.net.3",
    ]  # fmt: skip


# The command


def test_command_writes_table_and_figure(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    found = layers(LayersConfig(run=str(world / "teacher"), out=str(out), images=2, device="cpu"))
    printed = capsys.readouterr().out
    assert "pool5" in printed and "32x40 pixels" in printed and "into a pooling" in printed
    stored = json.loads((out / "layers.json").read_text())
    assert [x["name"] for x in stored] == [x.name for x in found]
    with (out / "layers.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(r["macs"]) for r in rows] == [x.macs for x in found]
    numbers = json.loads((out / "similarity.json").read_text())
    assert len(numbers["images"]) == 2 and len(numbers["steps"]) == len(numbers["layers"]) - 1
    inside = [s["mean"] for s in numbers["steps"] if s["kind"] == INSIDE]
    assert numbers["kinds"][INSIDE]["mean"] == pytest.approx(np.mean(inside))
    picture = np.array(Image.open(out / "similarity.png"))
    assert picture.shape[1] > 1000 and picture.std() > 20


def test_command_without_a_run_or_images(tmp_path: Path) -> None:
    small = NetworkConfig(width=1 / 32)
    out = tmp_path / "out"
    layers(LayersConfig(network=small, classes=3, size=[32, 40], out=str(out)))
    assert sorted(p.name for p in out.iterdir()) == ["layers.csv", "layers.json"]
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), np.uint8)).save(photo)
    layers(
        LayersConfig(
            network=small, size=[32, 40], out=str(out), image=str(photo), taps=["pool1", "conv2"],
            device="cpu",
        )
    )  # fmt: skip
    assert json.loads((out / "similarity.json").read_text())["layers"] == ["pool1", "conv2"]


def test_wrong_settings_write_nothing(world: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    small = {"network": NetworkConfig(width=1 / 32), "size": [32, 40], "out": out}
    (tmp_path / "empty").mkdir()
    wrong: list[tuple[dict, str]] = [
        ({"image": str(tmp_path / "no.png")}, r"no\.png"),
        ({"image": str(tmp_path / "empty")}, "no file that ends with"),
        ({"image": "x.png", "out": ""}, "needs out=DIR"),
        ({"taps": ["pool9"]}, "Did you mean 'pool5'"),
        ({"taps": ["conv1.0", "pool1"]}, "overwritten in conv1.1"),
        (
            {"run": str(world / "teacher"), "network": NetworkConfig(width=0.5)},
            "width: 0.03125 -> 0.5",
        ),
        ({"run": str(tmp_path)}, "not a run folder"),
    ]
    for changes, message in wrong:
        with pytest.raises(InputError, match=message):
            layers(LayersConfig(**small | changes))
    with pytest.raises(InputError, match="size"):
        LayersConfig(size=[32])
    assert not (tmp_path / "out").exists()


@pytest.mark.system
def test_script_lists_a_network_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, classes, 1))\n"
    )
    script = Path(__file__).resolve().parents[2] / "scripts" / "layers.py"
    settings = ("network.factory=mine:net", "+network.aliases={deep: '1'}", "classes=7")
    done = subprocess.run(
        [sys.executable, str(script), *settings, "size=[20,30]", "depth=1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [line[0] for line in lines] == ["layer", "0", "1", "2", "(network)"]
    assert lines[2][1:4] == ["deep", "ReLU", "4x18x28"] and lines[3][2] == "7x18x28"
    assert done.stderr == "" and list(tmp_path.glob("*.json")) == []

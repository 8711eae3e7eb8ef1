"""Evaluation protocols against slow loops and symmetries."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import adapting
from torch import Tensor, nn

from adapt.disk.files import read_json, write_json
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.protocol import places, predict, windowed
from adapt.evaluation.rows import collect, score_table
from adapt.machine.runtime import runtime
from adapt.networks.preprocessing import as_input
from adapt.networks.taps import upsample
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.settings.protocol import ProtocolConfig
from adapt.training.train import train
from viz.report.tables import entries_of, lines_of

MACHINE = runtime("cpu", "fp32")
NETWORK = NetworkConfig()


class Strided(nn.Module):
    """Logits at a quarter of the size that depend on more than a cell."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 5, 5, stride=4, padding=2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(x)}


def images(height: int, width: int) -> Tensor:
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, 256, (2, 3, height, width), dtype=np.uint8))


def run(protocol: ProtocolConfig, shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    return predict(MACHINE, Strided(), NETWORK, images(*shape), (50, 70), protocol)


@pytest.mark.parametrize(
    ("length", "window", "stride", "wanted"),
    [(10, 4, 3, [0, 3, 6]), (10, 4, 4, [0, 4, 6]), (4, 4, 2, [0]), (11, 4, 2, [0, 2, 4, 6, 7])],
)
def test_windows_cover_a_side(length: int, window: int, stride: int, wanted: list[int]) -> None:
    assert places(length, window, stride) == wanted


@pytest.mark.parametrize(("batch", "passes"), [(0, [2] * 9), (5, [4] * 4 + [2]), (99, [18])])
def test_overlapping_windows_are_averaged_pixel_by_pixel(batch: int, passes: list[int]) -> None:
    """However many of the two images' nine windows go through the network together."""
    net, sizes = Strided(), []
    x = as_input(images(30, 44), NETWORK)

    def logits(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return net(z)["out"]

    with torch.no_grad():
        found = windowed(logits, [16, 20], [12, 12], batch)(x)
        assert sizes == passes
        total = np.zeros((2, 5, 30, 44))
        times = np.zeros((30, 44))
        for top in (0, 12, 14):
            for left in (0, 12, 24):
                piece = net(x[:, :, top : top + 16, left : left + 20])["out"]
                full = upsample(piece, (16, 20)).double().numpy()
                total[:, :, top : top + 16, left : left + 20] += full
                times[top : top + 16, left : left + 20] += 1
    np.testing.assert_allclose(found.numpy(), total / times, rtol=0, atol=1e-5)


def test_scales_and_mirroring_average_probabilities() -> None:
    protocol = ProtocolConfig(scales=[0.5, 1.5], flip=True)
    net, x = Strided(), as_input(images(40, 56), NETWORK)
    total = torch.zeros(2, 5, 50, 70)
    with torch.no_grad():
        for size, smooth in (((20, 28), True), ((60, 84), False)):
            for turn in (lambda z: z, lambda z: z.flip(-1)):
                scaled = nn.functional.interpolate(x, size, mode="bilinear", antialias=smooth)
                logits = turn(net(turn(scaled))["out"])
                total += upsample(logits, (50, 70)).softmax(dim=1)
    found = run(protocol)
    best = total.topk(2, dim=1).values
    sure = (best[:, 0] - best[:, 1] > 1e-5).numpy()
    assert sure.mean() > 0.99
    assert np.array_equal(found[sure], total.argmax(dim=1).numpy()[sure])
    assert not np.array_equal(found, run(ProtocolConfig()))


def test_windows_and_scales_go_together() -> None:
    """A window that is larger than every scale of the image is the image."""
    protocol = ProtocolConfig(window=[24, 24], scales=[0.5, 1.0], flip=True)
    assert run(protocol).shape == (2, 50, 70)
    small = run(protocol, (16, 20))
    assert np.array_equal(small, run(ProtocolConfig(scales=[0.5, 1.0], flip=True), (16, 20)))


def test_a_diverged_network_is_not_scored() -> None:
    net = Strided()
    net.conv.weight.data.mul_(float("inf"))
    with pytest.raises(InputError, match="logits are not finite"):
        predict(MACHINE, net, NETWORK, images(40, 56), (50, 70))


class Halving(Strided):
    """As a U-Net without padding: sides that are no multiples of 8 fail at its skip connection."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if any(side % 8 for side in x.shape[-2:]):
            raise RuntimeError("The size of tensor a must match the size of tensor b")
        return super().forward(x)


def test_a_size_that_the_network_cannot_take_is_named() -> None:
    protocol = ProtocolConfig(scales=[1.0, 0.75])
    with pytest.raises(InputError, match=r"2 image\(s\) of 30x42 .*size of tensor a.*scales"):
        predict(MACHINE, Halving(), NETWORK, images(40, 56), (50, 70), protocol)
    protocol = ProtocolConfig(window=[16, 20])
    with pytest.raises(InputError, match=r"of 16x20 .*protocol\.window"):
        predict(MACHINE, Halving(), NETWORK, images(40, 56), (50, 70), protocol)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": [3]}, r"protocol\.window is \[3\]"),
        ({"stride": [3, 3]}, r"protocol\.stride is .*; it needs protocol\.window"),
        ({"window": [4, 4], "stride": [5, 4]}, "leave gaps"),
        ({"scales": []}, r"protocol\.scales is empty"),
        ({"scales": [0.0]}, r"protocol\.scales is 0\.0"),
        ({"scales": [0.75, 100.0]}, r"protocol\.scales is 100\.0; it must lie in \(0, 16\)"),
    ],
)
def test_wrong_protocols_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ProtocolConfig(**settings)


def test_protocols_have_files_and_rows_and_their_shares_never_mix(
    world: Path, tmp_path: Path
) -> None:
    """What mirroring alone gains is nothing that was recovered."""
    root = tmp_path / "runs"
    shutil.copytree(world / "teacher", root / "teacher", ignore=lambda d, n: {
        name for name in n if name.startswith("metrics_")
    })  # fmt: skip
    teacher, new = str(root / "teacher"), DataConfig(target=str(world / "d2"))
    student = train(adapting(world, root / "pool3", teacher=teacher, steps=2))
    scores = {
        ("teacher", False): 60.0, ("B0", False): 20.0, ("pool3", False): 40.0,
        ("teacher", True): 70.0, ("B0", True): 20.0, ("pool3", True): 60.0,
    }  # fmt: skip
    for (name, flip), miou in scores.items():
        protocol = ProtocolConfig(flip=flip)
        run = {"run": str(student)} if name == "pool3" else {"teacher": teacher}
        data, domain = (DataConfig(), "d1") if name == "teacher" else (new, "d2")
        path = evaluate(
            EvaluateConfig(**run, data=data, domain=domain, protocol=protocol, device="cpu")
        )
        found = read_json(path)
        write_json(path, found | {"truth": found["truth"] | {"miou": miou}})
    rows = collect(root)
    assert (student / "metrics_camvid_d2_d2_val_flip.json").is_file()
    shares = {e.row.method: e.recovered for e in entries_of(rows)}
    assert shares == {
        "teacher": None, "B0": None, "pool3": 50.0,
        "teacher (flip)": None, "B0 (flip)": None, "pool3 (flip)": 80.0,
    }  # fmt: skip
    wanted = ["B0", "B0 (flip)", "pool3", "pool3 (flip)"]
    assert [x.method for x in lines_of(entries_of(rows)) if x.shift] == wanted
    assert len({len(line) for line in score_table(rows).splitlines()}) == 1, "columns stand in line"

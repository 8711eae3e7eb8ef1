"""benchmarks/gpu.py: every part runs, a failure stays where it is, the arithmetic is right."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import nn

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS
from benchmarks import gpu
from benchmarks.on_gpu.flops import TAPS, adaptation, arithmetic, by_hand, counted, peak_of
from benchmarks.on_gpu.given import SMALL, Given, tried
from benchmarks.on_gpu.roofline import Costs, supervised_costs

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Parts set threads and cuDNN's search for their whole process."""
    threads, several = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(threads)
    cv2.setNumThreads(several)
    torch.backends.cudnn.benchmark = False


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", gpu.PARTS)
def test_a_part_runs_and_records_every_variant(
    name: str, tmp_path: Path, camvid_tree: Callable[..., Path]
) -> None:
    if name == "evaluation":
        pytest.importorskip("torchmetrics")
    out, images = tmp_path / "out.jsonl", camvid_tree() if name == "camvid" else ""
    seconds = 0.0  # the fewest rounds
    told: dict[str, Any] = {"device": DEVICE, "out": str(out), "camvid": str(images)}
    gpu.run(name, Given(part=name, search=gpu.PARTS[name].search, seconds=60, **told, **SMALL))
    for line in lines(out):
        assert line["part"] == name and line["headlines"] and line["small"]
        assert not line.get("failed")
        assert all(time > 0 for time in line["milliseconds"].values())
        seconds += sum(line["milliseconds"].values())
        assert all(torch.isfinite(torch.tensor(v)) for v in line.get("last_loss", {}).values())
        if "compiled" in name:
            assert " 0 graphs compiled" not in line["headlines"][-1]
    assert seconds > 0 or name in ("device", "profile", "camvid")


def test_a_variant_that_fails_is_named_and_the_others_are_measured() -> None:
    def broken() -> Callable[[], object]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\nand more")

    def breaking() -> Callable[[], object]:
        return lambda: torch.ones(2) @ torch.ones(3)

    makers = {"a": lambda: lambda: torch.ones(3), "broken": broken, "breaking": breaking}
    given = Given(device=DEVICE, **SMALL)
    found = tried(given, makers, [("a", "broken"), ("a", "a")])
    assert list(found.seconds) == ["a"] and len(found.rows) == 1
    assert found.more["failed"]["broken"].endswith("CUDA out of memory. Tried to allocate 9 GiB")
    assert "RuntimeError" in found.more["failed"]["breaking"]
    late = tried(Given(device=DEVICE, seconds=-1.0, **SMALL), makers, [])
    assert not late.seconds and late.more["failed"]["a"] == "no time was left to try it"


def test_a_mistake_in_the_benchmark_is_not_taken_for_a_variant_that_failed() -> None:
    def interrupted() -> Callable[[], object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(Given(device=DEVICE, **SMALL), {"a": interrupted}, [])


@pytest.mark.system
def test_a_part_that_fails_is_recorded_and_the_others_go_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, parts = tmp_path / "out.jsonl", ["camvid", "device"]
    told = Namespace(device="cpu", small=True, minutes=2, out=str(out), camvid=str(tmp_path))
    told.parts = parts
    assert gpu.run_all(told) == 1
    measured, *_, failed = lines(out)
    assert measured["part"] == "device" and measured["gpu"] is None and measured["small"]
    assert failed["part"] == "camvid" and "train.txt" in failed["error"]
    last = capfd.readouterr().out.rsplit("== all", 1)[1]
    assert measured["headlines"][0] in last and failed["error"] in last


def test_a_part_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    told = Namespace(device="cpu", out=str(tmp_path / "out"), camvid="", small=True)
    assert gpu.started("supervised", told, 60.0, 0.2) == "ended after 0 s: it said nothing"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ([], "no CUDA GPU is there"),
        (["--device", "cpu"], "goes with --small"),
        (["--device", "cpu", "--small", "--camvid", "/nowhere"], "no such folder: /nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    told: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *told])
    with pytest.raises(SystemExit) as stop:
        gpu.main()
    assert stop.value.code == 2 and why in capsys.readouterr().err


@pytest.mark.parametrize("size", [33, 64, 321])
def test_the_counter_agrees_with_the_formula(size: int) -> None:
    image = 2 * 27 * 64 * size**2  # the first layer has no gradient of its input
    for tap in (*TAPS, LOGITS):
        there, back = counted(tap, size)
        assert there == by_hand(tap, size)
        assert back == 2 * there - image
        if tap != LOGITS:
            assert adaptation(tap, size) == 4 * there - image


def test_the_papers_training_is_61_pflop() -> None:
    assert 20_000 * 10 * sum(counted()) == pytest.approx(61e15, rel=0.005)


def test_the_least_of_a_step_is_that_of_its_operations() -> None:
    """A convolution of 8x8 cells, its ReLU in place, and their sum, by hand."""
    with torch.device("meta"):
        layer = nn.Conv2d(3, 4, 3, padding=1, bias=False, dtype=torch.bfloat16)
        image = torch.empty(2, 3, 8, 8, dtype=torch.bfloat16)
    with torch.no_grad(), Costs() as costs:
        layer(image).relu_().view(-1).sum()
    flops, read, weights, made = 2 * 27 * 4 * 64 * 2, 2 * 2 * 3 * 64, 2 * 4 * 27, 2 * 2 * 4 * 64
    assert costs.costs == [
        ("convolution", flops, read + weights + made),
        ("relu_", 0, 2 * made),
        ("sum", 0, made + 2),
    ]
    assert costs.least(peak=1.0, bandwidth=1e12) == (flops, (3 * made + 2) / 1e12)
    assert costs.least(peak=1e12, bandwidth=1.0) == (0, read + weights + 4 * made + 2)
    assert costs.without(("relu_",)).least(1e12, 1.0) == (0, read + weights + 2 * made + 2)


def test_the_roofline_counts_the_same_arithmetic() -> None:
    costs = supervised_costs(33, 5, batch=2)
    assert sum(flops for _, flops, _ in costs.costs) == 2 * sum(counted(LOGITS, 33, 5))


def test_a_gpu_is_known_by_the_longest_of_its_names() -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA H200")
    assert [peak_of(name) for name in names] == [989, 756, 835, 989]
    assert peak_of("NVIDIA A100-SXM4-80GB") == 312 and peak_of("Some GPU") is None


def test_the_pages_tables_are_what_the_command_prints() -> None:
    assert arithmetic() in (ROOT / "docs" / "gpu.md").read_text()


def test_the_network_counted_is_the_one_that_runs() -> None:
    net, shapes = DeepLabVGG16(21), []
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, o: shapes.append((m, o.shape)))
    with torch.no_grad():
        net(torch.zeros(1, 3, 17, 17))
    done = sum(2 * m.weight.numel() * shape[-1] * shape[-2] for m, shape in shapes)
    assert done == by_hand(LOGITS, 17)

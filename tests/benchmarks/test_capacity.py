"""The arithmetic behind docs/scaling.md, and the page's tables."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.training.freezing import with_gradient
from adapt.training.setup import Tapped
from benchmarks.arithmetic import (
    CLASSES,
    TAPS,
    Machines,
    Pair,
    cost,
    count,
    limits,
    ring_seconds,
    sent,
)
from benchmarks.capacity import PAGE, filled
from benchmarks.page import lasting, shown, sized

WIDTH, SIDE = 1 / 32, 33


def test_operations_are_those_of_the_formula() -> None:
    """2 k^2 C_in C_out h w for a convolution, once more for its weights and for its input, which
    the first one has no use for; layers behind the tap are left out."""
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 5, 1),
            nn.Conv2d(5, 9, 3),
        )
    first, second = 2 * 9 * 3 * 8 * 10 * 7, 2 * 8 * 5 * 10 * 7
    found = count(net, ["2"], (20, 14))
    assert (found.forward, found.backward) == (first + second, first + 2 * second)
    assert found.parameters == 3 * 8 * 9 + 8 + 8 * 5 + 5
    assert found.maps == 5 * 10 * 7
    assert found.pair == 3 * first + 4 * second


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A gloo group of this process."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("tap", TAPS)
def test_gradients_handed_over_have_the_counted_bytes(tap: str, alone: None) -> None:
    net = DeepLabVGG16(CLASSES, WIDTH)
    within = with_gradient(net, TAPS[tap], (SIDE, SIDE))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name in within)
    several = DistributedDataParallel(Tapped(net, frozenset(TAPS[tap])))
    found = []

    def counted(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        found.append(bucket.buffer().nbytes)
        return allreduce_hook(None, bucket)

    several.register_comm_hook(None, counted)
    maps = several(torch.rand(2, 3, SIDE, SIDE))
    torch.stack([m.sum() for m in maps.values()]).sum().backward()
    assert sum(found) == cost(tap, SIDE, WIDTH).reduced


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_a_ring_sends_the_bytes_of_the_formula(processes: int) -> None:
    """Chunk by chunk around the ring, until everybody has the sums."""
    length = 6
    values = np.random.default_rng(0).integers(0, 100, (processes, processes, length))
    wanted, moved = values.sum(axis=0), np.zeros(processes)
    for turn in range(2 * (processes - 1)):
        adding, before = turn < processes - 1, values.copy()
        for one in range(processes):
            after = (one + 1) % processes
            chunk = (one - turn) % processes  # sums are complete after processes - 1 turns
            values[after, chunk] = before[one, chunk] + (values[after, chunk] if adding else 0)
            moved[one] += length
    assert (values == wanted).all()
    assert set(moved) == {sent(processes * length, processes)}


def test_the_scarcest_resource() -> None:
    """Two machines of four GPUs, by hand: 12 pairs a second of the file system for all of them."""
    machines = Machines(
        flops=100, cores=2, rate=3, bus=50, disk=20, shared=24, link=1e9, network=7, gpus=4
    )
    pair = Pair(flops=50, images=2, file_bytes=2, pixel_bytes=5, reduced=16, batch=3)
    assert ring_seconds(16, 8, 7) == 4  # 2 x 7/8 x 16 bytes
    assert limits(pair, machines, 8) == {
        "arithmetic": 16,
        "decoding": 24,
        "bus to the GPU": 80,
        "the machines' own disks": 20,
        "shared file system": 12,
        "all-reduce": 6,
    }
    assert limits(pair, machines, 1)["all-reduce"] == float("inf")


def test_numbers_have_their_units() -> None:
    assert [shown(v) for v in (0.0863, 9.994, 99.96, 1234, 999_500)] == [
        "0.0863", "9.99", "100", "1,230", "1,000,000",
    ]  # fmt: skip
    assert [sized(v) for v in (1500, 93_068, 9.31e12)] == ["1.5 kB", "93.1 kB", "9.31 TB"]
    assert [lasting(v) for v in (0.0271, 119, 121, 7200)] == ["27.1 ms", "119 s", "2.02 min", "2 h"]


def test_the_page_has_the_tables() -> None:
    """`python benchmarks/capacity.py --write` brings it up to date."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page)

"""The arithmetic of docs/scaling.md and of what GPUs are held against, and the page's tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from adapt.networks.deeplab_vgg16 import STAGES
from benchmarks import capacity
from benchmarks.arithmetic import CLASSES, TAPS, cost, count
from benchmarks.convolutions import flops, layers
from benchmarks.scaling import objective_of
from benchmarks.steps import network, prepared

WIDTH, SIDE = 1 / 32, 33


def by_hand(tap: str, side: int) -> int:
    """The forward pass of LargeFOV at width 1: 2 C_in C_out k^2 for each cell of a convolution."""
    channels, total = 3, 0
    for number, (out, depth) in enumerate(STAGES, 1):
        for _ in range(depth):
            total += 2 * 9 * channels * out * side**2
            channels = out
        side = -(-side // 2) if number < 4 else side
        if tap == f"pool{number}":
            return total
    return total + 2 * side**2 * (9 * channels * 1024 + 1024 * 1024 + 1024 * CLASSES)


@pytest.mark.parametrize("side", [33, 64, 321])
@pytest.mark.parametrize("tap", ["pool1", "pool3", "pool5", "whole"])
def test_the_network_has_the_operations_of_its_description(tap: str, side: int) -> None:
    found, image = cost(tap, side), 2 * 27 * 64 * side**2  # the image gets no gradient
    assert found.forward == by_hand(tap, side)
    assert found.backward == 2 * found.forward - image
    assert found.pair == found.supervised + found.forward


def test_the_papers_training_is_61_pflop() -> None:
    assert 20_000 * 10 * cost("whole", 321).supervised == pytest.approx(61e15, rel=0.005)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A gloo group of this process."""
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("tap", TAPS)
def test_gradients_handed_over_have_the_counted_bytes(tap: str, alone: None) -> None:
    setup = prepared(network(width=WIDTH), objective_of(tap), "fp32", "cpu")
    several = nn.parallel.DistributedDataParallel(setup.tapped)
    found = []

    def counted(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        found.append(bucket.buffer().nbytes)
        return allreduce_hook(None, bucket)

    several.register_comm_hook(None, counted)
    maps = several(torch.rand(2, 3, SIDE, SIDE))
    torch.stack([m.sum() for m in maps.values()]).sum().backward()
    assert sum(found) == cost(tap, SIDE, WIDTH).reduced


def test_the_page_has_the_tables() -> None:
    """`python benchmarks/capacity.py --write 1` brings it up to date."""
    page = capacity.PAGE.read_text(encoding="utf-8")
    assert page == capacity.filled(page)
    assert page.count("<!-- table: ") == len(capacity.tables())


def test_single_convolutions_do_the_work_of_a_supervised_step() -> None:
    net, size = network(width=0.125), (32, 48)
    found = layers(net, size, "pool5").values()
    work = [flops(*one, 1, first=number == 0) for number, one in enumerate(found)]
    assert sum(work) == count(net.to("meta"), ["pool5"], size).supervised

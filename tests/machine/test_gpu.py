"""What only a GPU shows; without one all of these are skipped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from several import torchrun
from tiny import adapting, curve, interrupted, teaching, weights

from adapt.disk import checkpoint
from adapt.disk.files import read_mapping
from adapt.errors import Stopped
from adapt.evaluation.evaluate import evaluate
from adapt.machine.runtime import STATUS, runtime
from adapt.networks import build_network
from adapt.penalties import Penalty
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import NetworkConfig, PenaltyConfig
from adapt.training.train import train
from viz.inversion.style import invert_image

GPU = "cuda"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
TOLERANCE = 2e-3
"""Relative, of a loss of a few steps: a GPU sums in an order of its own each time."""


def losses(run: Path) -> np.ndarray:
    return np.array([entry["loss"] for entry in curve(run)])


@needs_gpu
def test_a_gpu_too_small_is_said_with_the_step_and_the_samples(world: Path, tmp_path: Path) -> None:
    """256 MiB hold the network and its check on one image, not a batch of a GiB."""
    torch.cuda.empty_cache()
    share = 2**28 / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    told = teaching(world, run=str(tmp_path / "r"), device=GPU, batch=256)
    try:
        with pytest.raises(Stopped, match=r"step 1 .*samples .*out of memory") as stop:
            train(replace(told, data=replace(told.data, crop=[512, 640])))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert stop.value.status == STATUS


@needs_gpu
def test_a_resumed_run_follows_the_straight_one(world: Path, tmp_path: Path) -> None:
    changes = {"device": GPU, "steps": 6, "checkpoint_every": 2}
    straight = teaching(world, run=str(tmp_path / "a"), **changes)
    broken = replace(straight, run=str(tmp_path / "b"))
    train(straight)
    interrupted(broken, 3)
    found, _ = checkpoint.newest(tmp_path / "b" / "checkpoints")
    assert found is not None and [len(states) for states in found.state["rng"]] == [2]
    train(broken)
    assert np.allclose(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=TOLERANCE)


@needs_gpu
@pytest.mark.parametrize("where", ["off", "ram", "file"])
def test_an_adaptation_is_that_of_the_cpu(world: Path, tmp_path: Path, where: str) -> None:
    """No layer with dropout is reached, so both machines compute the same."""
    changes = {"steps": 6, "bn": "eval", "log_every": 1}
    on_cpu = adapting(world, tmp_path / "cpu", **changes)
    on_cpu = replace(on_cpu, data=replace(on_cpu.data, views=2))
    train(on_cpu)
    train(replace(on_cpu, run=str(tmp_path / GPU), device=GPU, cache_teacher=where))
    assert np.allclose(losses(tmp_path / "cpu"), losses(tmp_path / GPU), rtol=0.02)


@needs_gpu
def test_a_run_of_the_gpu_is_scored_alike_on_both(world: Path, tmp_path: Path) -> None:
    train(teaching(world, run=str(tmp_path / "r"), device=GPU, steps=6))
    found = []
    for device in (GPU, "cpu"):
        told = EvaluateConfig(run=str(tmp_path / "r"), device=device, precision="fp32")
        found.append(read_mapping(evaluate(told))["truth"]["miou"])
    assert found[0] == pytest.approx(found[1], abs=1.0)


@needs_gpu
def test_auto_is_the_gpu_in_what_it_computes_natively(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    native = torch.cuda.get_device_capability() >= (8, 0)
    machine = runtime("auto", "auto")
    assert machine.device.type == "cuda" and machine.bf16 == native
    train(teaching(world, run=str(tmp_path / "r"), device="auto", precision="auto"))
    assert f"cuda in {'bf16' if native else 'fp32'}" in capsys.readouterr().out
    assert all(w.dtype == torch.float32 for w in weights(tmp_path / "r").values() if w.ndim > 1)
    assert np.isfinite(losses(tmp_path / "r")).all()


@needs_gpu
@pytest.mark.parametrize("apply", ["gradient", "decoupled", "proximal"])
@pytest.mark.parametrize("name", ["l2", "l2_sp", "l1_sp", "gl_sp", "l2_sp_fisher", "gl_sp_fisher"])
def test_penalties_are_those_of_the_cpu(name: str, apply: str) -> None:
    """On a GPU the tensors of a kind are one fused operation, on a CPU each is cut in pieces."""
    moved = []
    for device in ("cpu", GPU):
        torch.manual_seed(0)
        net = build_network(NetworkConfig(width=1 / 32), 5)
        start = {k: v + 0.01 * torch.randn_like(v) for k, v in net.state_dict().items()}
        fisher = {k: torch.rand_like(p) for k, p in net.named_parameters()}
        gradients = [torch.randn_like(p) for p in net.parameters()]
        net = net.to(device).to(memory_format=torch.channels_last)
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            parameter.grad = gradient.to(parameter)
        config = PenaltyConfig(name, 0.1, 0.1, apply=apply)
        penalty = Penalty(net, start, config, fisher if "fisher" in name else None)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        penalty.before_step(optimizer)
        optimizer.step()
        penalty.after_step(optimizer)
        moved.append([p.detach().cpu() for p in net.parameters()] + [torch.tensor(penalty.value())])
    for on_cpu, there in zip(*moved, strict=True):
        assert torch.allclose(on_cpu, there, rtol=1e-4, atol=1e-6)


@needs_gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "lbfgs"])
def test_an_inversion_descends_as_on_the_cpu(optimizer: str) -> None:
    torch.manual_seed(0)
    network = NetworkConfig(width=1 / 16)
    net = build_network(network, 3)
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8)
    curves = []
    for device in ("cpu", GPU):
        machine = runtime(device, "fp32")
        told = {"optimizer": optimizer, "steps": 8, "machine": machine}
        found = invert_image(
            machine.place(net), network, image, {"pool1": 1.0, "pool3": 1.0}, **told
        )
        curves.append([entry["loss"] for entry in found.curve])
    assert curves[1][-1] < curves[1][0]
    assert curves[1][0] == pytest.approx(curves[0][0], rel=TOLERANCE)
    assert curves[1][-1] == pytest.approx(curves[0][-1], rel=0.1)


@needs_gpu
def test_nccl_on_one_device(tmp_path: Path) -> None:
    """The process group that several processes have, with one of them: sums and averaged gradients
    of a tensor on either device are those without it."""
    store = f"file://{tmp_path / 'store'}"
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=store, rank=0, world_size=1)
    try:
        for device in ("cpu", GPU):
            value = torch.arange(3.0, device=device)
            dist.all_reduce(value)
            assert value.tolist() == [0.0, 1.0, 2.0]
            net = torch.nn.Linear(3, 2).to(device)
            net(value).sum().backward()
            alone = net.weight.grad.clone()
            net.zero_grad()
            torch.nn.parallel.DistributedDataParallel(net)(value).sum().backward()
            assert torch.equal(net.weight.grad, alone)
    finally:
        dist.destroy_process_group()


@needs_two
@pytest.mark.system
def test_two_gpus_are_one_with_all_of_the_batch(
    tmp_path: Path, camvid_tree: Callable[..., Path], world: Path
) -> None:
    """Batch norm included: SyncBatchNorm sees what both processes see."""
    told = [
        f"teacher={world / 'teacher'}", f"data.target={world / 'd2'}", "objective=pool3",
        "penalty=l2_sp", "penalty.alpha=0.01", "bn=train", "precision=fp32", "device=cuda",
        "batch=4", "steps=4", "log_every=1",
    ]  # fmt: skip
    for count in (1, 2):
        run = f"run={tmp_path / str(count)}"
        torchrun("adapt.py", *told, run, cwd=tmp_path, count=count)
    one, two = (weights(tmp_path / str(count)) for count in (1, 2))
    assert one.keys() == two.keys() and any("running_mean" in key for key in one)
    for key, value in one.items():
        assert torch.allclose(value.float(), two[key].float(), rtol=1e-2, atol=1e-4), key

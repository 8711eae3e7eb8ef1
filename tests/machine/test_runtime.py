"""What a user is told of devices, processes and memory."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import adapting, teaching

from adapt.errors import InputError
from adapt.machine.processes import refuse_several
from adapt.machine.runtime import STATUS, explained, runtime
from adapt.training.setup import prepare, resolve
from adapt.training.train import train


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported at another call",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_a_full_gpu_is_said_however_its_libraries_say_it(said: str) -> None:
    stop = explained(RuntimeError(said), "step 3")
    assert stop is not None and stop.status == STATUS
    found = f"step 3: out of memory: {said.splitlines()[0]}. A smaller batch or crop needs less"
    assert str(stop).startswith(found) and "accumulates the gradients" in str(stop)


def test_several_processes_are_told_what_they_cannot(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="scan runs in one process; start it without torchrun"):
        refuse_several("scan")
    monkeypatch.setattr("adapt.machine.runtime.world", lambda: 2)
    with pytest.raises(InputError, match="device: 'cuda:0' is one GPU for 2 processes; give cuda"):
        runtime("cuda:0", "fp32")
    monkeypatch.undo()
    monkeypatch.setattr("adapt.training.setup.world", lambda: 2)
    with pytest.raises(InputError, match="batch is 3; 2 processes cannot share it equally"):
        prepare(*resolve(teaching(world, run=str(tmp_path / "r"), batch=3)))
    monkeypatch.undo()
    monkeypatch.setattr("adapt.training.resume.all_gather", lambda _: [0, 500])
    words = re.escape("(steps [0, 500]): it must lie on a file system that they share")
    with pytest.raises(InputError, match=words):
        train(teaching(world, run=str(tmp_path / "r")))


@pytest.mark.parametrize("device", ["gpu", "meta", "xla:0"])
def test_a_device_that_networks_do_not_run_on_is_refused(device: str) -> None:
    with pytest.raises(InputError, match=rf"device: '{device}' is not known. Choices: auto, cpu"):
        runtime(device, "fp32")


def test_maps_lie_as_the_memory_format_says_and_train_alike(world: Path, tmp_path: Path) -> None:
    """To pool5, before any dropout, which is drawn in the order of memory."""
    found = {}
    for layout, strides in (("channels_last", (192, 1, 24, 3)), ("contiguous", (192, 64, 8, 1))):
        machine = runtime("cpu", "fp32", layout)
        assert machine.images(torch.zeros(2, 3, 8, 8)).stride() == strides
        weight = machine.place(torch.nn.Conv2d(3, 4, 8)).weight
        assert weight.stride() == strides
        train(adapting(world, tmp_path / layout, memory_format=layout))
        found[layout] = load_file(tmp_path / layout / "model.safetensors")
    for name, weights in found["channels_last"].items():
        torch.testing.assert_close(found["contiguous"][name], weights, rtol=1e-3, atol=1e-4)

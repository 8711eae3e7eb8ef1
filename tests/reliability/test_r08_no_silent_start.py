"""R8: nothing starts from scratch, or from less than what was named, without a word."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import adapting, interrupted, teaching
from torch import Tensor
from warm import TRAINED, Warm

from adapt.disk.tensors import load_tensors, read_tensors
from adapt.errors import InputError
from adapt.networks.saved import load_complete
from adapt.settings.groups import DataConfig, NetworkConfig
from adapt.training.train import train

State = dict[str, Tensor]
SMALL = NetworkConfig(width=1 / 32, batch_norm=True)


def test_r08_a_missing_start_is_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    for start, words in (
        ("techer.pth", r"techer\.pth: no such file"),
        ("backbone:techer.safetensors", r"techer\.safetensors: no such file"),
        ("d1", r"start: d1 has no model\.json, model\.safetensors"),
    ):
        with pytest.raises(InputError, match=words):
            train(adapting(world, world / "r08", start=start))
    assert not (world / "r08").exists()


KEY = "conv1.0.weight"


UNFIT: dict[str, tuple[Callable[[State], object], str]] = {
    "misshaped": (
        lambda s: s.update({KEY: s[KEY][:, :2].contiguous()}),
        rf"of another shape: {KEY} \(2, 2, 3, 3\) instead of"),
    "integers": (lambda s: s.update({KEY: s[KEY].int()}), f"of another type: {KEY} int32 for flo"),
    "complex": (
        lambda s: s.update({KEY: s[KEY].to(torch.complex64)}),
        f"of another type: {KEY} complex64 for float32"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNFIT)
def test_r08_weights_that_do_not_fit_are_named(world: Path, tmp_path: Path, what: str) -> None:
    """As teacher and as start; of what is missing or too much the command below tells."""
    change, message = UNFIT[what]
    state = load_file(world / "teacher/model.safetensors")
    change(state)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    data = DataConfig(name="camvid", root=str(world / "d1"), target=str(world / "d2"))
    for given in ({"teacher": str(path)}, {"teacher": str(world / "teacher"), "start": str(path)}):
        with pytest.raises(InputError, match=rf"w\.pth .*{message}|w\.pth: {message}"):
            train(adapting(world, tmp_path / "run", data=data, network=SMALL, **given))
    assert not (tmp_path / "run").exists()


@pytest.mark.system
def test_r08_the_command_lists_the_keys(warm: Warm, world: Path) -> None:
    state = load_file(world / "teacher/model.safetensors")
    del state[KEY], state["classifier.bias"]
    state["fc9.weight"] = torch.ones(2)
    torch.save(state, world / "r08.pth")
    given = ("data.target=d2", "teacher=r08.pth", "objective=pool3", "run=r08", "steps=1")
    done = warm.run("adapt.py", *TRAINED, *given, status=2)
    for words in ("teacher: r08.pth", "missing: classifier.bias, conv1.0.weight", "fc9.weight"):
        assert words in done.stderr
    assert "Traceback" not in done.stderr and not (world / "r08").exists()


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_r08_floats_become_the_networks(world: Path, tmp_path: Path, kind: torch.dtype) -> None:
    state = load_file(world / "teacher/model.safetensors")
    given = {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(given, tmp_path / "w.pth")
    found = load_complete(str(tmp_path / "w.pth"), SMALL, ("c",) * 11, "teacher", (64, 64)).net
    for name, value in found.state_dict().items():
        assert value.dtype == state[name].dtype
        assert torch.equal(value, given[name].to(value.dtype))


def test_r08_a_networks_own_infinity_is_not_a_fault() -> None:
    """A mask of minus infinity, say; NaN in its place is."""
    net = torch.nn.Linear(2, 2)
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    state = {k: v.clone() for k, v in net.state_dict().items()}
    load_tensors(net, state, "w.pth")
    for broken in (torch.nan, torch.inf):
        with pytest.raises(InputError, match=r"w\.pth: NaN or infinite values in mask"):
            load_tensors(net, state | {"mask": torch.tensor([0.0, broken])}, "w.pth")


def looped(path: Path) -> None:
    path.symlink_to(path.with_name("other.pth"))
    path.with_name("other.pth").symlink_to(path)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("weights"), "refused: not a torch file"),
    "a folder": (lambda p: p.mkdir(), "a folder"),
    "a loop of links": (looped, "cannot be read"),
    "a pipe": (lambda p: os.mkfifo(p), "no regular file"),
}  # fmt: skip


@pytest.mark.parametrize("what", PLACES)
def test_r08_what_is_no_weights_file_is_said(tmp_path: Path, what: str) -> None:
    make, message = PLACES[what]
    path = tmp_path / "w.pth"
    make(path)
    with pytest.raises(InputError, match=rf"w\.pth: {message}"):
        read_tensors(path)


def test_r08_a_run_that_has_no_checkpoint_yet_says_that_it_begins_again(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = teaching(world, run=str(tmp_path / "run"))
    interrupted(config, 2)
    capsys.readouterr()
    train(config)
    assert f"warning: {config.run} has no checkpoint: it begins again at step 0" in (
        capsys.readouterr().out
    )

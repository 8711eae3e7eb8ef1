"""R22: a run's folder that comes from others does not make the tool write or delete elsewhere, nor
claim memory."""

import shutil
from pathlib import Path

import pytest
import torch
from campaigns.kills import files_result
from tiny import edit_record, interrupted, teaching

from adapt.disk.files import read_mapping, write_whole
from adapt.disk.runs import place_in
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.networks import build_network, saved
from adapt.networks.planned import planned
from adapt.networks.saved import load_complete, load_model
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train

LINKED = (
    "checkpoints", "checkpoints/step_00000002", "checkpoints/step_00000003.tmp-9", "tensorboard",
    "lock", "metrics.jsonl", "config.yaml", "env.json", "summary.json", "model.safetensors",
    "verdict", ".metrics.jsonl.tmp-1",
)  # fmt: skip


@pytest.fixture(scope="module")
def crashed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint of step 2."""
    run = tmp_path_factory.mktemp("r22") / "run"
    interrupted(teaching(world, run=str(run), checkpoint_every=2), 3)
    return run


@pytest.mark.parametrize("name", LINKED)
def test_r22_no_link_in_a_run_is_followed(
    world: Path, crashed: Path, tmp_path: Path, name: str
) -> None:
    """Each leads to the like in another run, or to nothing."""
    run, victim = tmp_path / "run", tmp_path / "victim"
    for copy in (run, victim):
        shutil.copytree(crashed, copy)
    path = run / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(victim / name)
    before = files_result(tmp_path)
    with pytest.raises(InputError, match=f"{path}: a link to {victim / name}, and links in"):
        train(teaching(world, run=str(run), checkpoint_every=2))
    with pytest.raises(InputError, match="a link to"):
        place_in(run, "", "analysis")
    assert files_result(tmp_path) == before


def test_r22_the_folder_itself_may_be_a_link(world: Path, crashed: Path, tmp_path: Path) -> None:
    shutil.copytree(crashed, tmp_path / "far")
    (tmp_path / "run").symlink_to(tmp_path / "far")
    train(teaching(world, run=str(tmp_path / "run"), checkpoint_every=2))
    assert (tmp_path / "far" / "summary.json").is_file()


def test_r22_a_temporary_name_that_is_a_link_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getpid", lambda: 7)
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".a.tmp-7").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "a").is_symlink() and (tmp_path / "a").read_text() == "new"


def test_r22_a_run_that_is_not_written_to_is_evaluated(world: Path, tmp_path: Path) -> None:
    run = shutil.copytree(world / "teacher", tmp_path / "run")
    (run / "checkpoints" / "link").symlink_to(tmp_path)
    before = files_result(run)
    with pytest.raises(InputError, match="a link to"):
        evaluate(EvaluateConfig(run=str(run), device="cpu"))
    path = evaluate(EvaluateConfig(run=str(run), out=str(tmp_path / "out"), device="cpu"))
    assert path.parent == tmp_path / "out" and len(list(path.parent.iterdir())) == 3
    assert read_mapping(path)["truth"] and files_result(run) == before


def test_r22_a_description_claims_no_memory(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be 240 GB."""
    run = shutil.copytree(world / "teacher", tmp_path / "run")
    network = read_mapping(run / "model.json")["network"] | {"width": 64.0}
    edit_record(run / "model.json", network=network)
    torch.save(load_model(world / "teacher").net.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(saved, "build_network", lambda *_: pytest.fail("it was made"))
    words = r"model\.json: network \(width=64.0, batch_norm=True\) has [\d,]{13,} numbers, "
    with pytest.raises(InputError, match=rf"{words}model\.safetensors has 2\d,\d\d\d$"):
        load_model(run)
    with pytest.raises(InputError, match=r"conv1\.0\.weight \(2, 3, 3, 3\) instead of \(4096, 3"):
        load_complete(
            str(tmp_path / "w.pth"), NetworkConfig(width=64.0, batch_norm=True), ("a",) * 11,
            "teacher", None,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["deeplab_vgg16", "fcn8s_vgg16", "sunet64", "fcn32s_alexnet"])
def test_r22_what_is_planned_is_what_is_made(name: str) -> None:
    """And nothing is drawn for it."""
    network, before = NetworkConfig(name=name, width=1 / 32), torch.get_rng_state()
    found = planned(network, 5).state_dict()
    assert torch.equal(torch.get_rng_state(), before) and all(t.is_meta for t in found.values())
    made = build_network(network, 5).state_dict()
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in made.items()}

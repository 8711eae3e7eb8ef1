"""R5: checkpoints, weights and records cannot execute code, nor bring their reader down."""

import ast
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import adapting, edit_record
from warm import TRAINED, Warm

from adapt.disk import checkpoint
from adapt.disk.files import read_json, read_yaml, sha256
from adapt.disk.runs import read_metrics
from adapt.disk.tensors import read_tensors
from adapt.errors import InputError
from adapt.export.files import modeling_text
from adapt.export.recipe import Recipe
from adapt.settings.groups import DataConfig, PenaltyConfig
from adapt.training.train import train

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [p for f in ("adapt", "viz", "transforms", "scripts") for p in (ROOT / f).rglob("*.py")]
BANNED = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.full_load",
    "yaml.unsafe_load", "yaml.load_all", "pickle.load", "pickle.loads", "instantiate",
    "hydra.utils.instantiate", "hydra.utils.call", "get_class", "get_method", "torch.jit.load",
    "torch.hub.load", "torch.package", "marshal.loads", "shelve.open", "runpy.run_path",
}  # fmt: skip
CODE = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
IMPORTERS = {
    "adapt/networks/factory.py",  # what a user named on this command line
    "adapt/networks/own_modules.py",  # its own three packages
    "adapt/export/recipe.py",  # the same again
    "adapt/export/isolated.py",  # modeling.py, which the export has just written
    "adapt/export/onnx_graph.py",  # are onnx and onnxruntime there?
    "adapt/cli/commands.py",  # its own table of commands
    "adapt/__init__.py",  # its own table of names
}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, dotted name and node of every call in the product."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node


def given(node: ast.Call, name: str) -> str | None:
    return next((ast.unparse(k.value) for k in node.keywords if k.arg == name), None)


def test_r05_nothing_evaluates_what_it_reads() -> None:
    every = list(calls())

    def given_but(name: str, allowed: str) -> list[str]:
        return [file for file, _, node in every if given(node, name) not in (None, allowed)]

    assert not [(file, name) for file, name, _ in every if name in BANNED]
    loads = [(file, node) for file, name, node in every if name == "torch.load"]
    assert [file for file, _ in loads] == ["adapt/disk/tensors.py"]
    assert given(loads[0][1], "weights_only") == "True"
    assert given_but("shell", "False") == given_but("allow_pickle", "False") == []
    assert {file for file, name, _ in every if name.endswith("import_module")} <= IMPORTERS
    parsers = [given(node, "Loader") for _, name, node in every if name == "yaml.parse"]
    assert set(parsers) <= {"yaml.SafeLoader"}


def test_r05_no_library_that_unpickles_is_imported() -> None:
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names]
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
                assert names == ["PickleError"] or not {m.split(".")[0] for m in modules} & CODE


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def armed(path: Path, trap: Path, old: bool = False) -> Path:
    """A state_dict that touches `trap` when it is unpickled, in today's format or the old one."""
    state = {"conv1.0.weight": torch.ones(1), "student": Payload(trap)}
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path


@pytest.mark.parametrize(
    ("setting", "old"), [("teacher", False), ("start", True), ("fisher", False)]
)
def test_r05_a_weights_file_runs_nothing(
    world: Path, tmp_path: Path, setting: str, old: bool
) -> None:
    """What the train and adapt commands call."""
    trap, file = tmp_path / "executed", str(armed(tmp_path / "x.pth", tmp_path / "executed", old))
    torch.load(file, weights_only=False)  # the payload is live
    trap.unlink()
    fisher = PenaltyConfig("l2_sp_fisher", 0.1, fisher=file)
    data = DataConfig(name="camvid", root=str(world / "d1"), target=str(world / "d2"))
    changes = {"penalty": fisher} if setting == "fisher" else {setting: file}
    with pytest.raises(InputError, match=r"x\.pth: refused: not a torch file with tensors only"):
        train(adapting(world, tmp_path / "run", data=data, **changes))
    assert not trap.exists() and not (tmp_path / "run").exists()


@pytest.mark.system
def test_r05_a_checkpoint_with_a_right_digest_runs_nothing(warm: Warm, world: Path) -> None:
    """Somebody else's run folder, its digests made to agree."""
    command = ("train.py", *TRAINED, "run=r05_mine", "checkpoint_every=1", "steps=4")
    warm.run(*command, fault="kill_at_step:3", status=-9)
    trap, run = world / "r05_resumed", world / "r05_mine"
    for folder in checkpoint.committed(run / "checkpoints"):
        armed(folder / "state.pt", trap)
        edit_record(folder / "meta.json", sha256=sha256(folder / "state.pt"))
    done = warm.run(*command, status=2)
    assert "state.pt: refused: not a torch file with tensors only" in done.stderr
    assert "Traceback" not in done.stderr and not trap.exists()


def test_r05_parts_that_torch_does_not_check_are_checked(tmp_path: Path) -> None:
    """A flipped bit of a weight, and a part that is marked as a folder, which torch skips."""
    path, weights = tmp_path / "w.pth", torch.arange(64.0)
    torch.save({"w": weights}, path)
    plain = path.read_bytes()
    bit, folder = bytearray(plain), bytearray(plain)
    bit[plain.find(weights.numpy().tobytes()) + 33] ^= 64
    folder[plain.rfind(b"PK\x01\x02", 0, plain.rfind(b"w/data/0")) + 38] |= 0x10
    path.write_bytes(bytes(bit))
    assert not torch.equal(torch.load(path, weights_only=True)["w"], weights)
    for content, words in (
        (bit, "corrupt: the checksum of w/data/0 does not"), (folder, "refused: .*odd parts: w/da")
    ):  # fmt: skip
        path.write_bytes(bytes(content))
        with pytest.raises(InputError, match=rf"w\.pth: {words}"):
            read_tensors(path)


def test_r05_weights_cannot_unfold_into_memory(tmp_path: Path) -> None:
    """By packing, or by a tensor that claims more than its file holds, or is of another kind."""
    plain, bomb = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"w": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for name in source.namelist():
            made.writestr(name, source.read(name))
    with pytest.raises(InputError, match="packed"):
        read_tensors(bomb)
    claims = torch.zeros(1).expand(1 << 20, 1 << 20)
    for odd in (claims, torch.ones(4, device="meta"), torch.ones(3, 3).to_sparse()):
        torch.save({"a": torch.ones(1), "odd.one": odd}, plain)
        with pytest.raises(InputError, match=r"plain\.pth: no plain tensors under odd\.one"):
            read_tensors(plain)


OVERLAPPING = (
    b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
)
HEADERS = {"endless": (2**63, b"{}"), "deep": (100_000, b"[" * 100_000),
           "overlapping": (len(OVERLAPPING), OVERLAPPING)}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_r05_safetensors_headers_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    path, (size, header) = tmp_path / "w.safetensors", HEADERS[name]
    path.write_bytes(struct.pack("<Q", size) + header + bytes(16))
    with pytest.raises(InputError, match=r"w\.safetensors: not a readable safetensors file"):
        read_tensors(path)


YAML = {
    "code": "!!python/object/apply:os.system ['touch executed']",
    "a reference": "&a [1, *a]",  # ten lines of these stand for ten thousand million entries
    "a date that is none": "2001-99-99",
    "endless digits": "9" * 5000,
    "depth": "[" * 1200 + "]" * 1200,
}


@pytest.mark.parametrize("name", YAML)
def test_r05_yaml_holds_plain_values_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: {YAML[name]}\n")
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_yaml(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff"], ids=["deep", "no text"])
def test_r05_json_cannot_bring_its_reader_down(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(content)
    with pytest.raises(InputError, match=r"meta\.json: "):
        read_json(tmp_path / "meta.json")
    (tmp_path / "metrics.jsonl").write_bytes(content + b'\n{"step": 1}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:1"):
        read_metrics(tmp_path)


def test_r05_an_export_does_not_run_what_a_run_calls_itself() -> None:
    """A recorded name once stood in the export's code, which the export runs to check it."""
    evil = '"""\nraise SystemExit("executed")\n"""'
    about = {
        "origin": {"run": evil},
        "classes": [evil],
        "output": {"taken": "", "one_logit": False},
    }
    text = modeling_text(about, Recipe("network", "Net", {"name": evil}, None, None, ()))
    assert ast.parse(text) and "executed" not in text


def test_r05_a_file_of_before_torch_1_6_is_read(tmp_path: Path) -> None:
    """Other foreign files that are let through: tests/training/test_starts.py."""
    state = {"w": torch.rand(3), "b.c": torch.arange(4)}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    found = read_tensors(tmp_path / "old.pth")
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in state)

"""R5: checkpoints, weights and records cannot execute code, nor bring their reader down."""

import ast
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import adapting, edit_record
from warm import Warm

from adapt.disk import checkpoint
from adapt.disk.files import read_json, read_yaml, sha256
from adapt.disk.runs import read_metrics
from adapt.disk.tensors import read_tensors
from adapt.errors import InputError
from adapt.export.files import load_text
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
CODE = {"joblib", "dill", "cloudpickle", "marshal", "shelve"}
IMPORTERS = {
    "adapt/networks/factory.py",  # what a user named on this command line
    "adapt/export/recipe.py",  # the same again
    "adapt/export/isolated.py",  # load.py, which the export has just written
    "adapt/export/onnx_graph.py",  # are onnx and onnxruntime there?
    "adapt/cli/commands.py",  # its own table of commands
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
    assert not [(file, name) for file, name, _ in every if name in BANNED]
    loads = [
        (file, given(node, "weights_only")) for file, name, node in every if name == "torch.load"
    ]
    assert loads == [("adapt/disk/tensors.py", "True")]
    assert not [file for file, _, node in every if given(node, "shell") not in (None, "False")]
    assert not [
        file for file, _, node in every if given(node, "allow_pickle") not in (None, "False")
    ]
    assert {file for file, name, _ in every if name.endswith("import_module")} <= IMPORTERS
    parsers = [given(node, "Loader") for _, name, node in every if name == "yaml.parse"]
    assert set(parsers) <= {"yaml.SafeLoader"}


def test_r05_no_library_that_unpickles_is_imported() -> None:
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & {*CODE, "pickle"}, path
            if isinstance(node, ast.ImportFrom):
                unpickles = node.module == "pickle" and node.names[0].name != "PickleError"
                assert node.module not in CODE and not unpickles, path


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
    command = ("train.py", "data=camvid", "data.root=d1", "data.crop=[32,40]", "batch=2",
               "network.width=0.03125", "run=r05_mine", "checkpoint_every=1", "steps=4",
               "device=cpu")  # fmt: skip
    warm.run(*command, fault="kill_at_step:3", status=-9)
    trap, run = world / "r05_resumed", world / "r05_mine"
    for folder in checkpoint.committed(run / "checkpoints"):
        armed(folder / "state.pt", trap)
        edit_record(folder / "meta.json", sha256=sha256(folder / "state.pt"))
    done = warm.run(*command, status=2)
    assert "state.pt: refused: not a torch file with tensors only" in done.stderr
    assert "Traceback" not in done.stderr and not trap.exists()


def test_r05_parts_that_torch_does_not_check_are_checked(tmp_path: Path) -> None:
    """A flipped bit of a weight loads silently in torch itself; a part that is marked as a folder
    is skipped, and the weights are what happened to lie in memory."""
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
    """By packing, or by a tensor that claims more than its file holds."""
    plain, bomb = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"w": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for name in source.namelist():
            made.writestr(name, source.read(name))
    with pytest.raises(InputError, match="packed"):
        read_tensors(bomb)
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20)}, plain)
    with pytest.raises(InputError, match=r"plain\.pth: no plain tensors under w"):
        read_tensors(plain)


def test_r05_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    for odd in (torch.ones(4, device="meta"), torch.ones(3, 3).to_sparse(), [1, 2], "text"):
        torch.save({"a": torch.ones(1), "odd.one": odd}, tmp_path / "w.pth")
        with pytest.raises(InputError, match=r"odd\.one"):
            read_tensors(tmp_path / "w.pth")


ENTRY = b'"%s":{"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]}'
HEADERS = {
    "endless": None, "nothing": b"", "deep": b"[" * 100_000,
    "overlapping": b"{%s,%s}" % (ENTRY % (b"a", 2, 0, 8), ENTRY % (b"b", 2, 4, 12)),
    "beyond the end": b"{%s}" % (ENTRY % (b"a", 8, 0, 32)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_r05_safetensors_headers_that_lie_are_refused(tmp_path: Path, name: str) -> None:
    path, header = tmp_path / "w.safetensors", HEADERS[name]
    size = 2**63 if header is None else len(header)
    path.write_bytes(struct.pack("<Q", size) + (header or b"{}") + bytes(16))
    with pytest.raises(InputError, match=r"w\.safetensors: not a readable safetensors file"):
        read_tensors(path)


YAML = {
    "code": "!!python/object/apply:os.system ['touch executed']",
    "a name": "!!python/name:os.system",
    "a reference": "&a [1, *a]",  # ten lines of these stand for ten thousand million entries
    "a date that is none": "2001-99-99",
    "endless digits": "9" * 5000,
    "depth": "[" * 1200 + "]" * 1200,
    "open brackets": "[" * 1200,
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


JSON = {"deep": "[" * 100_000, "no text": "\udcff", "nothing": ""}


@pytest.mark.parametrize("name", JSON)
def test_r05_json_cannot_bring_its_reader_down(tmp_path: Path, name: str) -> None:
    path = tmp_path / "meta.json"
    path.write_bytes(JSON[name].encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"meta\.json: "):
        read_json(path)
    (tmp_path / "metrics.jsonl").write_bytes(path.read_bytes() + b'\n{"step": 1}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:1"):
        read_metrics(tmp_path)


def test_r05_an_export_does_not_run_what_a_run_calls_itself() -> None:
    """A recorded name once stood in load.py, which the export runs to check it."""
    evil = '"""\nraise SystemExit("executed")\n"""'
    about = {
        "origin": {"run": evil}, "weights": {"sha256": "0"}, "classes": [evil],
        "input": {"mean": [0.0], "std": [1.0]}, "output": {"taken": ""},
    }  # fmt: skip
    text = load_text(about, Recipe("network", "Net", {"name": evil}, None, None, ()))
    tree = ast.parse(text)
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.Raise) and "executed" in ast.dump(n)]


def test_r05_a_foreign_file_of_weights_is_read_as_it_is(tmp_path: Path) -> None:
    """The tests above refuse; this is what they must let through."""
    state = {"w": torch.rand(3), "b.c": torch.arange(4)}
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "w.pth", "old.pth"):
        found = read_tensors(tmp_path / name)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[k], v) for k, v in state.items())

"""export: what it writes loads elsewhere and computes what the run does, or nothing is written."""

import json
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from tiny import adapting, edit_record, flip, teaching

from adapt import export as exporting
from adapt.disk.files import sha256, write_json
from adapt.errors import InputError, Stopped
from adapt.evaluation.evaluate import evaluate
from adapt.export import export, refuse
from adapt.export.parity import TOLERANCE, Case, check, compare, noise
from adapt.export.recipe import path_to, recipe_of, signature_of
from adapt.networks import NETWORKS, build_network
from adapt.networks.factory import permit
from adapt.networks.saved import load_model
from adapt.networks.taps import logits_of, own_logits
from adapt.settings.commands import EvaluateConfig, ExportConfig
from adapt.settings.groups import DataConfig, NetworkConfig, TrustConfig
from adapt.training.train import train
from adapt.training.verdict import AFTER, BEFORE, GAIN, VERDICT, WORTH, Verdict

ROOT = Path(__file__).resolve().parents[2]
VGG = {"width": 1 / 32, "batch_norm": True}


@pytest.fixture(scope="module")
def student(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With batch norm, trained in bf16, its weights averaged over the steps; and a verdict."""
    run = tmp_path_factory.mktemp("runs") / "student"
    train(adapting(world, run, precision="bf16", ema=0.5))
    intervals = {BEFORE: [25.04, 27.0], AFTER: [50.0, 53.0], GAIN: [23.96, 27.0]}
    write_json(run / VERDICT, asdict(Verdict(12, 26.2, 51.9, 11, 1, WORTH, intervals=intervals)))
    return run


@pytest.fixture(scope="module")
def exported(student: Path) -> Path:
    """The folder that is written from elsewhere. (By the command: test_own_network.py.)"""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(student.parent)
        export(ExportConfig("student", out="deep/export"))
    assert [p.name for p in (student.parent / "deep").iterdir()] == ["export"]
    return student.parent / "deep" / "export"


def about(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def photo(world: Path) -> Path:
    return sorted((world / "d2" / "val").iterdir())[0]


def logits_by_hand(run: Path, images: np.ndarray) -> torch.Tensor:
    """Of uint8 (B, H, W, 3), by the network as the project loads it."""
    model = load_model(run)
    network = model.network
    seen = np.float32(images[..., :: -1 if network.order == "bgr" else 1]) * (network.range / 255)
    scaled = (seen - np.float32(network.mean)) / np.float32(network.std)
    with torch.no_grad():
        return logits_of(model.net.eval()(torch.from_numpy(scaled.transpose(0, 3, 1, 2))))


def expected(run: Path, image: Path, seen: tuple[int, int] | None = None) -> np.ndarray:
    """Classes (H, W) of an image, which is shrunk to `seen` (H, W) first where that is given."""
    pixels = np.array(Image.open(image).convert("RGB"))
    size = pixels.shape[:2]
    if seen:
        pixels = cv2.resize(pixels, seen[::-1], interpolation=cv2.INTER_AREA)
    logits = logits_by_hand(run, pixels[None])
    return torch.nn.functional.interpolate(logits, size, mode="bilinear")[0].argmax(0).numpy()


def follow_readme(export: Path, image: Path, place: Path, code: str = "") -> list[np.ndarray]:
    """What the README's code gives for an image, in a process that has only a copy of the folder
    (and the `code` that runs first)."""
    folder = shutil.copytree(export, place / "elsewhere")
    shutil.copy(image, folder / "photo.png")
    blocks = re.findall(r"```python\n(.*?)```", (export / "README.md").read_text(), re.DOTALL)
    code += "\nimport sys; sys.modules['adapt'] = None; sys.path.insert(0, '.')\n"
    for number, block in enumerate(blocks):
        code += block.replace("classes.png", f"classes{number}.png")
    command = [sys.executable, "-I", "-B", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [np.array(Image.open(path)) for path in sorted(folder.glob("classes*.png"))]


@pytest.mark.system
def test_the_code_in_its_readme_runs_where_this_project_is_not(
    world: Path, student: Path, exported: Path, tmp_path: Path
) -> None:
    found = follow_readme(exported, photo(world), tmp_path)
    assert len(found) == 2
    for classes in found:
        assert np.array_equal(classes, expected(student, photo(world)))


def modeling_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An export's modeling.py, imported anew as part of a package."""
    monkeypatch.syspath_prepend(folder.parents[1])
    name = f"{folder.parent.name}.{folder.name}.modeling"
    monkeypatch.delitem(sys.modules, name, raising=False)
    return import_module(name)


@pytest.mark.parametrize("hub", [True, False], ids=["with the hub", "without"])
def test_its_class_opens_the_folder(
    hub: bool, student: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hub:
        pytest.importorskip("huggingface_hub")
    else:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    kind = modeling_of(exported, monkeypatch).Segmenter
    net = kind.from_pretrained(exported)
    assert not net.training and type(net.net).__module__ == "deep.export.network"
    images = np.random.default_rng(1).integers(0, 256, (2, 40, 56, 3), np.uint8)
    own = logits_by_hand(student, images)
    for seen in (images, images.astype(np.uint16) * 257):
        logits = net(torch.from_numpy(seen).movedim(-1, 1)).detach().numpy()
        np.testing.assert_allclose(logits, own.numpy(), atol=1e-5 * own.abs().max().item())
    with pytest.raises(ValueError, match=r"float32 \(1, 3, 8, 8\); give uint8 or uint16 \(B, 3"):
        net(torch.zeros(1, 3, 8, 8))
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    flip(damaged / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        kind.from_pretrained(damaged)
    edit_record(damaged / "config.json", weights=None)
    save_file({"classifier.weight": torch.zeros(1)}, damaged / "model.safetensors")
    with pytest.raises(RuntimeError, match="Missing key"):
        kind.from_pretrained(damaged)


def test_no_file_names_a_folder_of_this_machine(world: Path, exported: Path) -> None:
    for path in exported.iterdir():
        for place in (ROOT, world, exported.parent):
            assert path.is_dir() or str(place).encode() not in path.read_bytes(), path.name


def test_its_model_card(exported: Path) -> None:
    _, front, card = (exported / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "unknown",
        "library_name": "pytorch",
        "pipeline_tag": "image-segmentation",
        "tags": ["domain-adaptation", "semantic-segmentation", "pytorch_model_hub_mixin"],
    }
    for said in (
        "**Licence: unknown.**",
        "held-out pairs: 26.2 before, 51.9 after",
        "better on 11 (92 %), worse on 1 (8 %): worth using.",
        "| before | 26.2 | 25.0 to 27.0 |\n| after | 51.9 | 50.0 to 53.0 |",
        "| gain | | +24.0 to +27.0 |",
        "| teacher | `teacher`, SHA-256 `",
    ):
        assert said in card


@pytest.mark.parametrize("shape", [(1, 3, 33, 47), (2, 3, 100, 9)])
def test_onnx_is_right_at_any_size_and_batch(
    student: Path, exported: Path, shape: tuple[int, ...]
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "model.onnx"))
    images = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    logits, classes = session.run(["logits", "classes"], {"image": images})
    own = logits_by_hand(student, images.transpose(0, 2, 3, 1))
    full = torch.nn.functional.interpolate(own, shape[2:], mode="bilinear")
    assert logits.shape[2:] == (-(-shape[2] // 8), -(-shape[3] // 8))
    np.testing.assert_allclose(logits, own.numpy(), atol=1e-5 * own.abs().max().item())
    assert classes.dtype == np.uint8 and (classes == full.argmax(1).numpy()).mean() > 0.999


def test_the_files_say_how_to_feed_it_and_where_it_comes_from(
    world: Path, student: Path, exported: Path
) -> None:
    import onnx

    found = about(exported)
    assert found["files"]["model.safetensors"] == sha256(student / "model.safetensors")
    assert {k: sha256(exported / k) for k in found["files"]} == found["files"]
    assert found["architecture"]["arguments"] == {"num_classes": 11, "pool5a": False} | VGG
    assert found["taps"]["regressed"] == {"pool3": 1.0} and found["output"]["stride"] == 8
    origin = found["origin"]
    assert (origin["run"], origin["teacher"]) == ("student", "teacher")
    assert origin["teacher_sha256"] == sha256(world / "teacher" / "model.safetensors")
    assert (origin["settings"]["steps"], origin["settings"]["precision"]) == (4, "bf16")
    model = onnx.load(exported / "model.onnx")
    noted = {p.key: p.value for p in model.metadata_props}
    assert noted["weights_sha256"] == found["weights"]["sha256"]
    for kept in ("input", "output", "classes", "architecture", "origin"):
        assert json.loads(noted[kept]) == found[kept]
    assert found["input"]["mean"] == [0.485, 0.456, 0.406] and model.opset_import[0].version == 18
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, "height", "width"]


def test_parity_counts_what_evaluate_counts(student: Path, exported: Path) -> None:
    found = json.loads((exported / "parity.json").read_text())
    scores = evaluate(EvaluateConfig(device="cpu", run=str(student), precision="fp32"))
    truth = json.loads(scores.read_text())["truth"]
    assert len(found["images"]["names"]) == 3 and found["images"]["labelled"]
    for kind in ("safetensors", "onnx"):
        assert found["formats"][kind]["miou"] == pytest.approx(truth["miou"], abs=1e-3)
        assert found["formats"][kind]["max_logit_difference"] <= found["formats"][kind]["tolerance"]


def test_damaged_weights_and_other_weights_are_no_parity(
    student: Path, exported: Path, tmp_path: Path
) -> None:
    import onnx

    folder, model = shutil.copytree(exported, tmp_path / "changed"), load_model(student)
    given = (model.net, model.network, noise([(40, 40)] * 2, 3, np.dtype(np.uint8)))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Stopped, match=r"safetensors: .*damaged") as stopped:
        check(folder, ["safetensors"], *given)
    assert stopped.value.status == 1
    graph = onnx.load(folder / "model.onnx")
    kernel = next(t for t in graph.graph.initializer if t.name.endswith("classifier.weight"))
    values = onnx.numpy_helper.to_array(kernel) * 1.01
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    onnx.save(graph, folder / "model.onnx")
    found = check(folder, ["onnx"], *given)["onnx"]
    assert not found["passed"] and found["max_logit_difference"] > found["tolerance"]


def test_broken_parity_leaves_nothing(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """modeling.py with another normalisation, as a mistake in its template would make it."""
    right = exporting.modeling_text
    monkeypatch.setattr(
        exporting, "modeling_text", lambda *given: right(*given).replace("uint8: 255", "uint8: 254")
    )
    with pytest.raises(Stopped, match="parity is broken: safetensors") as stopped:
        export(ExportConfig(str(student), out=str(tmp_path / "e"), formats=["safetensors"]))
    assert stopped.value.status == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shift", "classes", "passes"),
    [
        (0.0, [0, 1, 0], True),
        (TOLERANCE * 15, [0, 1, 0], True),
        (-TOLERANCE * 15, [0, 1, 1], True),
        (TOLERANCE * 17, [0, 1, 0], False),
        (0.0, [1, 1, 0], False),
        (float("nan"), [0, 1, 0], False),
    ],
)
def test_comparison_at_its_edges(shift: float, classes: list[int], passes: bool) -> None:
    """Two classes at three pixels, logits from -8 to 8; the last pixel is nearly a tie."""
    own = torch.tensor([[[[8.0, -8.0, 1e-4]], [[0.0, 0.0, 0.0]]]])
    logits = own + torch.tensor([0.0, 0.0, shift]) * torch.tensor([[[1.0]], [[0.0]]])
    case = Case("x", np.zeros((1, 3, 1, 3), np.uint8), (1, 3), np.array([[0, 0, 255]]))
    found = compare([case], [own], [(logits, torch.tensor([[classes]], dtype=torch.uint8))])
    assert found["passed"] is passes
    if classes == [0, 1, 1]:
        assert found["equal_argmax"] == pytest.approx(200 / 3) and found["wrong_pixels"] == 0
        assert found["miou"] == pytest.approx(25.0) and found["miou_difference"] == 0
        assert found["max_logit_difference"] == pytest.approx(TOLERANCE * 15, rel=1e-2)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_is_made_again_by_its_recipe(name: str, tmp_path: Path) -> None:
    """The call that modeling.py makes gives the same tensors; its file imports nothing of ours."""
    config = NetworkConfig(name=name, **(VGG if "vgg" in name else {}))
    with torch.device("meta"):
        net = build_network(config, 7)
        recipe = recipe_of(config, net, 7)
        if recipe.source:
            spec = spec_from_file_location(f"copy_of_{name}", shutil.copy(recipe.source, tmp_path))
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            assert "\nfrom adapt" not in recipe.source.read_text()
        else:
            module = import_module(recipe.module)
        again = getattr(module, recipe.name)(**recipe.arguments)
    assert "torch" in recipe.requires
    shapes = {k: v.shape for k, v in net.state_dict().items()}
    assert {k: v.shape for k, v in again.state_dict().items()} == shapes


OWN = '''
from types import SimpleNamespace
from typing import Any
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

class Net(nn.Module):
    """Multiples of 4 only, with a pyramid of pooled maps, returning an object. A module and a
    tensor have two names, weights are made of others, a layer is compiled, another has a hook, and
    the input is written into."""
    def __init__(self, n_classes, width):
        super().__init__()
        conv = weight_norm(nn.Conv2d(3, width, 3, padding=1))
        self.stem = nn.Sequential(conv, nn.BatchNorm2d(width))
        self.encoder = self.stem
        self.pyramid = nn.AdaptiveAvgPool2d((2, 3))
        up = nn.ConvTranspose2d(width, width, 4, stride=4)
        self.up = torch.compile(parametrizations.spectral_norm(up), backend="eager")
        self.head = parametrizations.weight_norm(nn.Conv2d(3 * width, n_classes, 1))
        self.aux = nn.Conv2d(width, n_classes, 1)
        self.aux.bias = self.head.bias
        self.head.register_forward_hook(lambda module, inputs, output: output * 2)

    def forward(self, x):
        x = self.encoder(x.mul_(0.5))
        pooled = nn.functional.interpolate(self.pyramid(x), x.shape[-2:], mode="bilinear")
        deep = self.up(nn.functional.max_pool2d(x, 4))
        return SimpleNamespace(logits=[self.head(torch.cat([x, pooled, deep], 1)), self.aux(x)])

make = Net
'''


@pytest.mark.system
def test_a_network_of_ones_own_on_unlabelled_images(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "pyramid_net.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "code")
    factory = "pyramid_net:make"
    permit(factory)
    seen = {"order": "bgr", "range": 255, "mean": [100.0, 120.0, 140.0], "std": [60.0, 50.0, 40.0]}
    network = NetworkConfig(factory=factory, arguments={"width": 6}, **seen)
    run = train(teaching(world, run=str(tmp_path / "run"), network=network, steps=2))
    pairs = DataConfig(name="pairs", root=str(world / "d2" / "val"), resize=[32, 48])
    config = ExportConfig(
        run=str(run),
        network=TrustConfig(factory),
        out=str(tmp_path / "e"),
        data=pairs,
        split="all",
        images=2,
        license="cc-by-4.0",
    )
    folder = export(config)
    found = about(folder)
    assert found["architecture"]["import"] == factory
    assert found["architecture"]["arguments"] == {"width": 6, "n_classes": 11}
    assert found["output"]["taken"] == ".logits[0]"
    assert found["input"]["normalisation"].startswith("to BGR, (value - mean) / std")
    assert found["input"]["multiple_of"] == 4 and found["output"]["stride"] == 1
    assert "multiples of 4" in (folder / "README.md").read_text()
    assert not (folder / "network.py").exists()
    card = (folder / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "`from pyramid_net import make` must work" in card
    modeling = modeling_of(folder, monkeypatch)
    if hasattr(modeling.Segmenter, "save_pretrained"):  # with huggingface_hub
        net = modeling.Segmenter.from_pretrained(folder)
        net.save_pretrained(tmp_path / "again")
        again = modeling.Segmenter.from_pretrained(tmp_path / "again")
        assert all(map(torch.equal, net.state_dict().values(), again.state_dict().values()))
    parity = json.loads((folder / "parity.json").read_text())
    assert len(parity["images"]["names"]) == 2 and not parity["images"]["labelled"]
    assert parity["noise"] == ["noise 1x3x100x108", "noise 3x3x60x52"]
    for found in parity["formats"].values():
        assert found["passed"] and found["miou"] is None and found["agreement_miou"] > 99.9
    code = f"import sys; sys.path.append({str(tmp_path / 'code')!r})"
    for classes in follow_readme(folder, photo(world), tmp_path, code):
        assert (classes == expected(run, photo(world), (32, 48))).mean() > 0.999
    uneven = replace(config, out=str(tmp_path / "f"), data=replace(pairs, resize=[42, 57]))
    with pytest.raises(InputError, match=r"42x57.* multiples of 4: give data.resize=\[40, 56\]"):
        export(uneven)


class OneSize(torch.nn.Module):
    """Fixed positions, as a vision transformer has them, on a grid of patches of 7."""

    def __init__(self) -> None:
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(1, 3, 16, 24))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = torch.nn.functional.avg_pool2d(x, 7)
        return {"out": torch.nn.functional.interpolate(patches, scale_factor=2) + self.place}


def test_signature_of_a_network_of_one_size() -> None:
    assert signature_of(OneSize(), (56, 84)) == ("['out']", 3.5, None, False)
    with pytest.raises(InputError, match="cannot take an image of 40x40"):
        signature_of(OneSize(), (40, 40))
    with pytest.raises(InputError, match="it must be logits"):
        signature_of(torch.nn.Flatten(), (32, 48))


Found = namedtuple("Found", "aux, logits")


@pytest.mark.parametrize(
    "output",
    [
        (X := torch.zeros(1, 2, 3, 4)),
        [X, X + 1],
        {"aux": X + 1, "out": (X, X + 1)},
        {"it's": X},
        Found(X + 1, [X]),
        SimpleNamespace(logits=X),
    ],
)
def test_the_text_that_takes_the_logits_from_an_output(output: object) -> None:
    assert eval(f"output{path_to(X, output)}") is X is own_logits(output)
    assert path_to(X + 1, output) is None


def test_onnx_of_one_size_and_16_bits(student: Path, tmp_path: Path) -> None:
    import onnxruntime

    (tmp_path / "images").mkdir()
    for name in "ab":
        image = np.random.default_rng(ord(name)).integers(0, 4096, (40, 56, 3), np.uint16)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
    config = ExportConfig(
        str(student),
        out=str(tmp_path / "e"),
        formats=["onnx"],
        size=[40, 56],
        data=DataConfig("pairs", str(tmp_path / "images"), range=[0, 4095]),
        domain="d1",
        split="all",
    )
    folder = export(config)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    given, logits = session.get_inputs()[0], session.get_outputs()[0]
    assert given.shape == ["batch", 3, 40, 56] and given.type == "tensor(uint16)"
    assert logits.shape == ["batch", 11, 5, 7]
    assert not (folder / "modeling.py").exists()
    card = (folder / "README.md").read_text()
    assert "PyTorch" not in card and "`image`, 40 high and 56 wide" in card
    assert "uint16 0..65535, (batch, 3, height, width), 0..65535 being the values 0 to 4095" in card
    with pytest.raises(InputError, match=r"give data.resize=\[64, 64\] too"):
        export(replace(config, size=[64, 64]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"run": "nowhere"}, "no such run folder: nowhere"),
        ({"out": ""}, "out=DIR"),
        ({"formats": ["onnxx"]}, "Did you mean 'onnx'"),
        ({"formats": []}, "formats is empty"),
        ({"license": "My own"}, "license is 'My own'; give one of the Hub's names, such as mit"),
        ({"formats": ["safetensors"], "size": [8, 8]}, "formats has no onnx"),
        ({"split": "tset"}, "tset.txt: no such list"),
    ],
)
def test_wrong_settings_are_named_and_write_nothing(
    student: Path, tmp_path: Path, settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        export(ExportConfig(**{"run": str(student), "out": str(tmp_path / "e")} | settings))
    assert not list(tmp_path.iterdir())


def test_missing_onnx_is_named(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs onnxscript: pip install '.\[onnx\]'"):
        export(ExportConfig(str(student), out=str(tmp_path / "e")))


def test_which_folders_are_replaced(student: Path, exported: Path, tmp_path: Path) -> None:
    digest, both = about(exported)["weights"]["sha256"], ["safetensors", "onnx"]
    folder = shutil.copytree(exported, tmp_path / "e")
    (folder / "__pycache__").mkdir()
    refuse(folder, "student", "trained again", both)
    refuse(folder, "moved", digest, both)
    refuse(tmp_path / "new" / "e", "student", digest, both)
    with pytest.raises(InputError, match="is the export of student"):
        refuse(folder, "b", "c", both)
    with pytest.raises(InputError, match=r"has onnx as well.*formats=\[safetensors,onnx\]"):
        refuse(folder, "student", digest, ["safetensors"])
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes.txt too"):
        refuse(folder, "student", digest, both)
    with pytest.raises(InputError, match="exists and is no export"):
        refuse(student, "student", digest, both)
    with pytest.raises(InputError, match=r"notes.txt is a file"):
        refuse(folder / "notes.txt" / "e", "student", digest, both)

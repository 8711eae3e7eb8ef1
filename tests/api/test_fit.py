"""adapt.fit: the adapt command's numbers, from objects; what it leaves loads again."""

import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import commands
import foreign
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny import Interrupted, crash_at, curve, same, weights
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import adapt
from adapt.data.objects import array_of, contents
from adapt.disk.runs import other_config, read_config, read_summary
from adapt.networks import factory as factories
from adapt.networks.saved import load_model

NET = """
from collections import OrderedDict
import torch
from torch import nn

def small():
    torch.manual_seed(3)
    stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    body = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(OrderedDict(stem=stem, body=body, head=nn.Conv2d(8, 5, 1)))
"""
TAPS = {"stem": 0.25, "body": 0.75}
CPU = {"precision": "fp32", "log_every": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """smallnet.py with its weights, and OLD and NEW with thirty scenes."""
    place = tmp_path_factory.mktemp("home")
    (place / "smallnet.py").write_text(NET)
    torch.save(made().state_dict(), place / "small.pth")
    rng = np.random.default_rng(0)
    for number in range(30):
        image = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        for folder, pixels in (("OLD", image), ("NEW", 255 - image // 2)):
            (place / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(place / folder / f"{number:02d}.png")
    return place


def made() -> nn.Module:
    scope: dict[str, Any] = {}
    exec(NET, scope)
    return scope["small"]()


def arrays(home: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pairs as a map-style data set."""
    return [
        tuple(np.array(Image.open(home / folder / f"{n:02d}.png")) for folder in ("OLD", "NEW"))
        for n in range(30)
    ]  # type: ignore[misc]


def fitted(pairs: Any, **more: Any) -> adapt.Result:
    given = {"taps": TAPS, "steps": 6, "batch": 4, "lr": 0.02, "device": "cpu", "settings": CPU}
    return adapt.fit(made(), pairs, **given | more)


@pytest.fixture(scope="module")
def student(home: Path) -> adapt.Result:
    return fitted(arrays(home), run=home / "runs/objects")


@pytest.mark.system
def test_objects_and_folders_give_the_commands_numbers_bit_for_bit(
    home: Path, student: adapt.Result
) -> None:
    commands.run(
        "adapt.py", "network.factory=smallnet:small", "teacher=small.pth", "data=pairs",
        "data.root=OLD", "data.target=NEW", "taps={stem: 0.25, body: 0.75}", "steps=6", "batch=4",
        "schedule.lr=0.02", "device=cpu", "precision=fp32", "log_every=1", "run=runs/command",
        cwd=home,
    )  # fmt: skip
    folders = fitted((home / "OLD", home / "NEW"), run=home / "runs/folders")
    for found in (student, folders):
        assert same(found.run, home / "runs/command")
        assert curve(found.run) == curve(home / "runs/command")
    assert student.verdict and folders.verdict and len(student.history) == 6
    assert replace(student.verdict, pictures=folders.verdict.pictures) == folders.verdict
    assert student.report(home / "report.html").read_text().count("agreement") > 1
    before, after = (net.state_dict()["stem.0.weight"] for net in (made(), student.student))
    assert not torch.equal(before, after)


def test_a_run_goes_on_where_it_stopped_and_loads_again(home: Path, student: adapt.Result) -> None:
    run = home / "runs/stopped"
    steps = {**CPU, "checkpoint_every": 2}
    with pytest.raises(Interrupted):
        fitted(arrays(home), run=run, on_step=crash_at(4), settings=steps)
    with pytest.raises(adapt.InputError, match="its inputs changed: pairs: "):
        fitted([(new, old) for old, new in arrays(home)], run=run, settings=steps)
    again = fitted(arrays(home), run=run, settings=steps)
    assert same(run, student.run) and again.verdict == student.verdict
    loaded = adapt.load(run, made())
    state = loaded.student.state_dict()
    assert all(torch.equal(state[k], v) for k, v in weights(run).items())
    assert (loaded.verdict, loaded.history) == (again.verdict, again.history)
    other = made()
    nn.init.zeros_(other.head.weight)
    with pytest.raises(adapt.InputError, match="started from another teacher"):
        adapt.fit(other, arrays(home), run=run)


def test_without_a_folder_the_result_is_kept_until_it_is_saved(home: Path, tmp_path: Path) -> None:
    seen = {"order": "bgr", "range": 255, "mean": [120.0] * 3, "std": [60.0] * 3}
    found = fitted(arrays(home)[:20], held_out=arrays(home)[20:], steps=2, **seen)
    assert found.verdict and found.verdict.pairs == 10
    assert seen.items() <= read_config(found.run)["network"].items()
    saved = found.save(tmp_path / "saved")
    assert same(saved, found.run) and adapt.load(saved, made).verdict == found.verdict
    assert not other_config(saved)
    assert adapt.load(saved, made).save() == saved
    for place, words in ((saved, "exists already"), (None, "no folder of its own")):
        with pytest.raises(adapt.InputError, match=words):
            found.save(place)


@pytest.mark.parametrize("network", [made().half().requires_grad_(False), partial(made)])
def test_a_network_is_copied_to_train_and_then_forgotten(
    home: Path, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two objects of one class have one name, so a run is given its own again."""
    monkeypatch.chdir(tmp_path)
    how = {"taps": TAPS, "steps": 1, "batch": 4, "device": "cpu", "settings": CPU}
    found = adapt.fit(network, arrays(home), run="run", **how)
    start = made().float().state_dict()["stem.0.weight"]
    weight = found.student.get_parameter("stem.0.weight")
    assert weight.dtype == torch.float32 and 0 < (weight - start).abs().max() < 0.1
    with pytest.raises(adapt.InputError, match=r"was the object \w+ in Python: .*network="):
        adapt.load("run")
    before, after = read_config(Path("run")), read_config(found.save("copy"))
    moved = {"run": "copy", "teacher": "copy/teacher.safetensors"}
    assert after == before | moved | {"start": moved["teacher"]}


def test_a_factory_of_the_command_line_stands_for_an_object(
    home: Path, student: adapt.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr(factories, "_permitted", {"smallnet:small"})
    found = load_model(student.run)
    assert found.network.factory == found.network.name == "smallnet:small"
    assert torch.equal(found.net.stem[0].weight, student.student.stem[0].weight)


def test_a_run_that_is_refused_leaves_nothing(home: Path, tmp_path: Path) -> None:
    for settings, words in (
        ({"data.crpo": [2, 3]}, "data.crpo"),
        ({"steps.b": 1}, "steps is 6, which has no b"),
        ({"run": "x"}, "an argument of fit itself"),
    ):
        with pytest.raises(adapt.InputError, match=words):
            fitted(arrays(home), run=tmp_path / "run", settings=settings)
    (x1, x2), *others = arrays(home)
    with pytest.raises(adapt.InputError, match="sizes"):  # known when the pairs are read
        fitted([(x1, x2[1:]), *others], run=tmp_path / "run")
    (tmp_path / "notes").touch()
    with pytest.raises(adapt.InputError, match="is not a run folder"):
        fitted(arrays(home), run=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_items_that_are_drawn_at_random_have_no_digest(home: Path) -> None:
    class Noisy(list[Any]):
        def __getitem__(self, place: Any) -> Any:
            old, new = super().__getitem__(place)
            return np.random.default_rng().permuted(old), new

    pairs = arrays(home)
    assert contents(pairs) == contents([*pairs]) != contents(pairs[::-1])
    assert contents(Noisy(pairs)) == ""


def thin() -> nn.Module:
    """`made` with half the channels, hence of the same class."""
    torch.manual_seed(5)
    stem, body, head = (nn.Conv2d(*c, 3, padding=1) for c in ((3, 3), (3, 4), (4, 5)))
    body.stride = (2, 2)
    return nn.Sequential(OrderedDict(stem=stem, body=body, head=head))


def test_a_student_of_its_own_starts_from_its_weights(home: Path) -> None:
    """It is kept beside the teacher, and the run goes on and loads again."""
    run, student = home / "runs/thin", thin()
    with torch.no_grad():
        student.head.bias += 1
    how = {"run": run, "student": student, "lr": 1e-3, "settings": {**CPU, "checkpoint_every": 2}}
    with pytest.raises(Interrupted):
        fitted(arrays(home), on_step=crash_at(3), **how)
    found = fitted(arrays(home), **how)
    start = load_file(run / "student.safetensors")
    assert all(torch.equal(v, start[k]) for k, v in student.state_dict().items())
    state = found.student.state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in start.items()}
    assert not torch.equal(state["stem.weight"], start["stem.weight"])
    assert found.verdict and found.verdict.start == "start"
    assert adapt.load(run, thin).verdict == found.verdict
    with pytest.raises(adapt.InputError, match="started from another student"):
        fitted(arrays(home), **how | {"student": thin()})


def test_a_mobilenet_learns_from_a_segformer(home: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    found = adapt.fit(
        foreign.segformer(5), arrays(home), student=small, steps=6, batch=4, lr=1e-3, device="cpu",
        settings=CPU | {"data.resize": [32, 32], "objective.regression.distance": "cosine",
                        "schedule.optimizer": "adamw"},
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "decode_head.activation: classifier.cbr" in said and "projectors of the student" in said
    losses = [line["loss"] for line in found.history]
    assert len(losses) == 6 and sum(losses[3:]) < sum(losses[:3])
    assert found.verdict and found.verdict.start == "start" and found.verdict.pairs == 3


def test_a_loader_keeps_its_own_order_and_its_images(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Floating point images go to the network as they are; valid takes its part."""
    pairs = [
        (*(torch.from_numpy(a).permute(2, 0, 1) / 255 for a in pair), torch.ones(24, 32))
        for pair in arrays(home)[:8]
    ]
    seen: list[Any] = []
    net = made()
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    loader = DataLoader(pairs, batch_size=4)  # type: ignore[arg-type]
    found = adapt.fit(
        net, loader, taps=TAPS, steps=3, device="cpu", settings=CPU, held_out=pairs[:2]
    )
    batches = [x for x in seen if x.shape[0] == 4][:6]  # then AdaBN's
    wanted = [torch.stack([p[k] for p in pairs[i : i + 4]]) for i in (0, 4, 0) for k in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(batches, wanted, strict=True))
    assert found.history[-1]["step"] == 3 and found.verdict
    alone = adapt.fit(made(), loader, taps=TAPS, steps=1, device="cpu", settings=CPU)
    assert alone.verdict is None and "held_out= gives some" in capsys.readouterr().out


def test_a_loaders_run_goes_on_with_the_batches_that_were_to_come(home: Path) -> None:
    """Also where it shuffles and the network has dropout, which draw from one generator."""
    items = [tuple(torch.from_numpy(a).permute(2, 0, 1) for a in pair) for pair in arrays(home)[:8]]
    steps = {**CPU, "checkpoint_every": 2}

    def run(folder: str, **how: Any) -> Path:
        net = made()
        net.stem.append(nn.Dropout(0.3))
        pairs = DataLoader(items, batch_size=2, shuffle=True)  # type: ignore[arg-type]
        where = home / "runs" / folder
        return adapt.fit(
            net, pairs, taps=TAPS, steps=7, device="cpu", settings=steps, run=where, **how
        ).run

    straight = run("straight")
    with pytest.raises(Interrupted):
        run("loader", on_step=crash_at(6))
    torch.rand(3)
    assert same(run("loader"), straight)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.crop", [8, 8]),
        ("data.jitter_x2", 0.3),
        ("data.views", 2),
        ("cache_teacher", "ram"),
        ("data.bands", [3, 2, 1]),
        ("data.share", 0.5),
    ],
)
def test_a_loader_leaves_no_setting_of_single_images_unheard(
    home: Path, name: str, value: Any
) -> None:
    loader = DataLoader(arrays(home)[:4], batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(adapt.InputError, match=rf"{name}=.* is for single images"):
        adapt.fit(made(), loader, taps=TAPS, device="cpu", settings={**CPU, name: value})


def test_scores_while_training_need_pairs_that_are_held_out(home: Path) -> None:
    loader = DataLoader(arrays(home)[:4], batch_size=2)  # type: ignore[arg-type]
    settings = {**CPU, "eval_every": 1}
    with pytest.raises(adapt.InputError, match=r"nothing of 'val' to score; .* held_out="):
        adapt.fit(made(), loader, taps=TAPS, steps=1, device="cpu", settings=settings)


@pytest.mark.parametrize("setting", ["data.labels", "data.target", "data.shards", "data.sbd"])
def test_files_beside_objects_are_refused(home: Path, setting: str) -> None:
    with pytest.raises(adapt.InputError, match=setting):
        fitted(arrays(home), settings={**CPU, setting: str(home / "OLD")})


def test_a_share_of_objects_is_that_of_files(home: Path) -> None:
    """Of 27 training pairs 14; the held-out ones are not cut."""
    share = {**CPU, "data.share": 0.5}
    found = fitted(arrays(home), steps=1, settings=share)
    files = fitted((home / "OLD", home / "NEW"), steps=1, settings=share)
    wanted = read_summary(files.run)["samples"]
    assert wanted == read_summary(found.run)["samples"] == 14
    assert found.verdict and files.verdict and found.verdict.pairs == files.verdict.pairs == 3


def test_a_group_given_as_a_mapping_keeps_what_it_does_not_name(home: Path) -> None:
    given = {**CPU, "schedule": {"optimizer": "adamw"}}
    found = fitted(arrays(home), steps=1, lr=1e-4, settings=given)
    assert found.history[0]["lr"] == 1e-4 and given["schedule"] == {"optimizer": "adamw"}
    assert read_config(found.run)["schedule"]["optimizer"] == "adamw"


def test_valid_is_where_a_channel_is_above_0_as_in_files() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (24, 32), dtype=np.uint8)
    seen = Image.fromarray(np.dstack([0 * mask, mask, 0 * mask, 255 + 0 * mask]))
    same_everywhere = (
        mask, mask > 0, mask[..., None], mask[None], torch.from_numpy(mask)[None], seen,
        seen.convert("RGB"), Image.fromarray(255 * mask).convert("P"),
    )  # fmt: skip
    for one in same_everywhere:
        np.testing.assert_array_equal(array_of(one, "valid", "0"), mask)
    with pytest.raises(adapt.InputError, match=r"pairs\[0\]: valid is uint8 \(1, 24, 32, 1\)"):
        array_of(mask[None, ..., None], "valid", "0")


@pytest.mark.parametrize("channels", [1, 4])
def test_images_have_as_many_channels_as_the_network_sees(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 24, 32, channels), dtype=np.uint8)
    pairs = [(image, 255 - image // 2) for image in images]
    tensors = [tuple(torch.from_numpy(x).permute(2, 0, 1) for x in pair) for pair in pairs]
    teacher = made()
    teacher.stem[0] = nn.Conv2d(channels, 6, 3, padding=1)
    seen = {"mean": [0.5] * channels, "std": [0.25] * channels}
    given = {"taps": TAPS, "steps": 2, "batch": 4, "device": "cpu"}
    found, again = (adapt.fit(teacher, x, **given, **seen, settings=CPU) for x in (pairs, tensors))
    assert same(found.run, again.run) and found.verdict == again.verdict
    truth = [np.random.default_rng(1).integers(0, 5, (24, 32)).astype(np.uint8)] * 30
    labelled = list(zip((x2 for _, x2 in pairs), truth, strict=True))
    normalised = [((x2 / 255 - 0.5) / 0.25, y) for (_, x2), y in zip(tensors, truth, strict=True)]
    scores = [adapt.evaluate(found.student, x, **seen).iou for x in (labelled, normalised)]
    assert np.allclose(*scores, atol=0.1) and np.isfinite(scores).all()
    with pytest.raises(adapt.InputError, match=r"network.mean and network.std have a number for"):
        adapt.fit(teacher, pairs, **given)
    with pytest.raises(adapt.InputError, match=rf"images have {channels} channel\(s\), but"):
        adapt.fit(made(), pairs, **given)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (iter([]), "pairs is a list_iterator; give two folders"),
        ([], "pairs: there are none"),
        ([(1, 2, 3, 4)] * 3, r"not a pair \(x1, x2\)"),
        ([(np.zeros((4, 4), np.uint8),) * 2] * 30, r"x1 is uint8 \(4, 4\); it must be a tensor"),
        ([(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))] * 30, "sizes .* differ"),
    ],
)
def test_wrong_pairs_are_named(pairs: Any, words: str) -> None:
    with pytest.raises(adapt.InputError, match=words):
        fitted(pairs)


def test_of_few_pairs_none_are_held_out(home: Path, tmp_path: Path) -> None:
    """A tenth of three is none: the training is kept, and there is no verdict."""
    assert fitted(arrays(home)[:3], steps=1).verdict is None
    for folder in ("OLD", "NEW"):
        (tmp_path / folder).mkdir()
        for name in ("00.png", "01.png", "02.png"):
            (tmp_path / folder / name).write_bytes((home / folder / name).read_bytes())
    assert fitted((tmp_path / "OLD", tmp_path / "NEW"), steps=1).verdict is None


def test_names_of_another_number_of_outputs_are_refused(home: Path) -> None:
    with pytest.raises(
        adapt.InputError, match=r"has 5 outputs; the data has 2 classes: a, b; give"
    ):
        fitted(arrays(home), classes=["a", "b"])


@pytest.mark.parametrize(
    ("penalty", "wanted"),
    [
        ({"name": "l2_sp", "apply": "proximal"}, {"alpha": 0.001, "beta": 0.001}),
        ({"name": "l2_sp", "alpha": 0.5}, {"alpha": 0.5, "beta": 0.001}),
        ({"alpha": 0.5}, {"name": "l2_sp", "alpha": 0.5, "beta": 0.001}),
    ],
)
def test_what_a_penalty_leaves_out_is_as_in_its_choice(
    home: Path, penalty: dict[str, Any], wanted: dict[str, Any]
) -> None:
    """Not 0, which would be no pull under the penalty's name."""
    result = fitted(arrays(home), steps=0, penalty=penalty)
    assert (penalty | wanted).items() <= read_config(result.run)["penalty"].items()


def test_an_objective_that_is_named_is_trained_as_it_is(home: Path) -> None:
    """Without taps of their own, kd has no regression and pool3 no other layer."""
    kd = fitted(arrays(home), steps=0, taps="", objective="kd")
    terms = read_config(kd.run)["objective"]
    assert (terms["name"], terms["regression"]["weight"], terms["kd"]["weight"]) == ("kd", 0, 1)
    with pytest.raises(adapt.InputError, match="'pool3' is not known"):
        fitted(arrays(home), taps="", objective="pool3")
    both = fitted(arrays(home), steps=0, taps="auto", objective="kd")
    assert read_config(both.run)["objective"]["name"] == "auto_kd"
    alone = fitted(arrays(home), steps=0, taps="")
    assert read_config(alone.run)["objective"]["name"] == "auto"


def test_it_runs_in_another_thread_than_the_main_one(home: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(fitted, arrays(home), steps=1).result(timeout=300)
    assert found.history[-1]["step"] == 1

"""The report of runs that nobody has labels for: verdicts, pictures, and what is broken."""

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run as command
from tiny import adapting, edit_record

from adapt.evaluation.evaluate import evaluate
from adapt.settings.commands import EvaluateConfig
from adapt.settings.viz import ReportConfig
from adapt.training.adapt import adapt
from adapt.training.verdict import VERDICT, read_verdict
from viz.report.layer_section import spread
from viz.report.page import report
from viz.report.verdict_section import pictures


@pytest.fixture(scope="module")
def judged(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of networks of different factories, neither of which can be imported, and without
    weights; one was evaluated too. A third run whose verdict is broken."""
    root = tmp_path_factory.mktemp("judged") / "runs"
    config = adapting(world, root / "one", steps=3, eval_every=1, drift_every=1)
    adapt(config)
    adapt(replace(config, run=str(root / "two"), steps=2, eval_every=0))
    evaluate(EvaluateConfig(device="cpu", run=str(root / "one")))
    shutil.copytree(root / "two", root / "broken")
    (root / "broken" / VERDICT).write_text("{")
    for name in ("one", "two"):
        path = root / name / "config.yaml"
        path.write_text(path.read_text().replace("factory: ''", f"factory: gone_{name}:net"))
        assert "gone" in path.read_text()
        (root / name / "model.safetensors").unlink()
    return root


def page_of(runs: Path, out: Path) -> str:
    """The report's text without its pictures' bytes."""
    page = report(ReportConfig(runs=str(runs), out=str(out))).read_text()
    return html.unescape(re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "PNG", page))


def test_verdicts_of_several_factories_need_no_network(judged: Path, tmp_path: Path) -> None:
    page = page_of(judged, tmp_path / "report.html")
    assert "2 runs" in page and f"Left out: {judged / 'broken' / VERDICT}: broken JSON" in page
    for name in ("one", "two"):
        found = read_verdict(judged / name)
        assert found and found.facts[1:] in page and f"{found.after:.1f}</td>" in page
    assert page.count(">after: student on the new image<") == 2 * 3, "pairs that are kept"
    assert "no pictures" not in page and "not measured" in page
    assert page.index(">unclear<") < page.index("old image") < page.index("<table>")
    links, ids = (re.findall(p, page) for p in (r'href="#([\w-]+)"', r'<section[^>]*id="([\w-]+)"'))
    assert links == ids and {"agreement", "classes", "training", "layer-by-layer"} <= set(ids)
    assert not {"inversions", "features", "fine-tuning", "penalties"} & set(ids), "empty"
    assert "nan" not in re.sub("finance|<style>.*</style>", "", page, flags=re.S)


def test_where_the_student_differs_is_counted_on_valid_pixels() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    truth = np.array([[0, 1], [255, 1]], np.uint8)
    before, after = np.array([[1, 0], [0, 0]], np.uint8), np.array([[0, 0], [1, 1]], np.uint8)
    captions = list(pictures([image, image], [truth, before, after], 2))
    assert captions[-1] == "where the student differs from it: 33 % (before 100 %)"


def test_kept_pictures_that_are_gone_are_said(judged: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(judged, tmp_path / "runs"))
    for path in (runs / "two" / "held_out").glob("*/after.png"):
        path.unlink()
    edit_record(runs / "one" / VERDICT, adabn=None, no_adabn="the network has no batch norm")
    page = page_of(runs, tmp_path / "report.html")
    assert page.count("no pictures: ") == 3 and page.count(">after: student on the new image<") == 3
    assert "<td>the network has no batch norm</td>" in page


def test_names_at_lines_never_overlap_and_keep_their_order() -> None:
    for heights in ([0.5] * 11, [0.0, 0.01, 0.99, 1.0], [0.2, 0.9], []):
        placed = spread(heights, 0.06)
        assert [h for _, h in sorted(zip(heights, placed, strict=True))] == sorted(placed)
        assert (np.diff(sorted(placed)) >= 0.06 - 1e-9).all()
        assert all(h <= 1 + 1e-9 for h in placed)


@pytest.mark.system
def test_the_command_writes_the_report_of_its_run_itself(world: Path, tmp_path: Path) -> None:
    """A network of the user's own, from the command to the page; it says where it lies."""
    (tmp_path / "own.py").write_text(
        "from adapt.networks.deeplab_vgg16 import DeepLabVGG16\n"
        "def net(classes):\n    return DeepLabVGG16(classes, width=1 / 32)\n"
    )
    own = ("network.factory=own:net", "batch=2", "device=cpu", "precision=fp32")
    data = ("data=camvid", f"data.root={world / 'd1'}", "data.crop=[32,40]")
    command("train.py", *own, *data, "steps=1", "run=teacher", cwd=tmp_path)
    done = command(
        "adapt.py", *own, "teacher=teacher", f"data.target={world / 'd2'}", "objective=pool3",
        "steps=1", "run=mine", cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'mine/report.html'}"
    page = (tmp_path / "mine/report.html").read_text()
    assert "the network has no batch norm" in page and "teacher=teacher" in page

"""The report: complete, offline, escaped, and never ahead of its numbers."""

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import adapting, teaching

from adapt.data.sampling import Decoder
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.rows import collect, rows_of_teachers, score_table
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.viz import InvertConfig, ReportConfig
from adapt.training.train import train
from viz.inversion.command import invert
from viz.report.charts import single_layer
from viz.report.layer_section import in_parts
from viz.report.page import class_tables, report
from viz.report.tables import class_table, entries_of, lines_of, recovered


@pytest.fixture(scope="module")
def runs(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher, B0, AdaBN, B1, B2 and two objectives, evaluated, with an inversion."""
    root = tmp_path_factory.mktemp("report") / "runs"
    shutil.copytree(world / "teacher", root / "teacher")
    for path in (root / "teacher").glob("metrics_*"):
        path.unlink()
    teacher, paired = str(root / "teacher"), DataConfig(target=str(world / "d2"))
    evaluate(EvaluateConfig(device="cpu", teacher=teacher))
    for adabn in (False, True):
        evaluate(
            EvaluateConfig(device="cpu", teacher=teacher, data=paired, domain="d2", adabn=adabn)
        )
    b1 = teaching(world, run=str(root / "b1"), domain="d2", steps=2)
    b1 = replace(b1, data=replace(b1.data, target=str(world / "d2")))
    pool3 = adapting(world, root / "pool3", teacher=teacher, steps=2)
    made = [
        b1,
        replace(b1, run=str(root / "b2"), start=teacher),
        pool3,
        replace(pool3, run=str(root / "pool3_seed1"), seed=1),
        replace(pool3, run=str(root / "pool5"), objective=replace(pool3.objective, name="pool5")),
    ]
    for config in made:
        train(config)
        evaluate(EvaluateConfig(device="cpu", run=config.run, teacher=teacher))
    image = sorted((world / "d1" / "val").iterdir())[0]
    invert(InvertConfig(device="cpu", run=str(root / "pool3"), image=str(image), steps=2))
    return root


@pytest.fixture
def copied(runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def written(runs: Path, tmp_path: Path) -> str:
    config = ReportConfig(runs=str(runs), out=str(tmp_path / "r.html"), examples=1)
    return report(config).read_text()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures without content, for tests that read the text."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **settings: None)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    parse, form = (yaml.safe_load, yaml.safe_dump) if path.suffix == ".yaml" else (
        json.loads, json.dumps)  # fmt: skip
    content = parse(path.read_text())
    change(content)
    path.write_text(form(content))


def of_classes(count: int) -> Callable[[dict[str, Any]], None]:
    """Change of an evaluation's record: the scores of another number of classes."""

    def change(metrics: dict[str, Any]) -> None:
        metrics["classes"] = [f"class {i}" for i in range(count)]
        for scores in filter(None, (metrics["truth"], metrics["agreement"])):
            scores["iou"] = scores["accuracy"] = [float(i * 7 % count) for i in range(count)]

    return change


@pytest.mark.usefixtures("undrawn")
def test_of_many_classes_the_best_and_the_worst_stand_before_the_rest(
    copied: Path, tmp_path: Path
) -> None:
    for path in copied.glob("*/metrics_*.json"):
        edit(path, of_classes(300))
    page = written(copied, tmp_path)
    assert "280 more are left out." in page and "All 300 classes</summary>" in page
    shown = page[page.index('id="classes"') : page.index("All 300 classes")]
    last = [float(row.rpartition("<td>")[2]) for row in re.findall(r"<tr>.*?(?=</td></tr>)", shown)]
    assert last == [*range(299, 289, -1), *range(9, -1, -1)]
    (table,) = class_tables(lines_of(entries_of(collect(copied))))
    assert len(table["all"]) == 300
    many = [("class", [float(i)]) for i in range(1001)]
    assert class_table("", ["x"], many, "per_class.csv")["all"] == []


@pytest.mark.parametrize("count", [30, 60, 61, 300])
def test_boxes_of_many_layers_are_in_several_figures(count: int) -> None:
    boxes = {run: [{"label": str(i)} for i in range(count)] for run in "ab"}
    parts = in_parts(boxes)
    assert len(parts) == -(-count // 60) and all(part.keys() == {"a", "b"} for part in parts)
    assert [box for part in parts for box in part["b"]] == boxes["b"]


def test_report_has_every_part_needs_no_network_and_its_numbers_lie_in_the_json(
    runs: Path, tmp_path: Path
) -> None:
    page = written(runs, tmp_path)
    for word in ("B0", "AdaBN", "B1", "B2", "pool3", "pool5", "student(x2)", "Loss curves", "sky"):
        assert word in page
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert "http" not in text and "<script" not in text and "url(" not in text
    assert all(src.startswith("data:image/png") for src in re.findall(r'src="([^"]{20})', page))
    assert len(re.findall("<img ", page)) == len(re.findall(r'<img [^>]*alt="[^"]+"', page))
    printed = {float(n) for n in re.findall(r"<td>(-?\d+\.\d)(?: ±[^<]*)?</td>", page)}
    stored = json.loads((runs / "report.json").read_text())
    means = {round(s["mean"], 1) for x in stored for s in x["scores"].values() if s}
    classes = re.findall(r"\d+\.\d+", (runs / "per_class.csv").read_text())
    assert printed and printed <= means | {round(float(n), 1) for n in classes}


@pytest.mark.usefixtures("undrawn")
def test_a_teacher_that_lies_elsewhere_has_its_scores(
    copied: Path, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the images that its students were scored on; B2's is the network that it started from."""
    assert not rows_of_teachers(collect(copied)), "its copy is there"
    shutil.rmtree(copied / "teacher")
    rows = collect(copied)
    assert "B0" not in {row.method for row in rows}
    for student in ("pool3", "b2"):
        found = rows_of_teachers([row for row in rows if row.run == str(copied / student)])
        assert {(Path(row.run), row.method) for row in found} == {
            (runs / "teacher", name) for name in ("teacher", "B0", "AdaBN")
        }
    assert not rows_of_teachers([row for row in rows if row.run == str(copied / "b1")])
    page = written(copied, tmp_path)
    assert "AdaBN" in page and "B0" in {r["method"] for r in stored_rows(copied)}
    for path in copied.glob("*/metrics_*d2*.json"):
        edit(path, lambda metrics: metrics.update(target="another/d2"))
    assert {row.method for row in rows_of_teachers(collect(copied))} == {"teacher"}
    shutil.copytree(runs / "teacher", tmp_path / "broken")
    (tmp_path / "broken" / "metrics_camvid_d1_val.json").write_text("{")
    for path in copied.glob("*/config.yaml"):
        edit(path, lambda config: config.update(
            teacher=config["teacher"] and str(tmp_path / "broken")))  # fmt: skip
    capfd.readouterr()
    assert not rows_of_teachers(collect(copied / "pool3"))
    assert "left out, a teacher: " in capfd.readouterr().out


def stored_rows(runs: Path) -> list[dict[str, Any]]:
    return json.loads((runs / "results.json").read_text())


def test_seeds_are_joined_and_rows_are_right(runs: Path) -> None:
    rows = collect(runs)
    lines = {(x.shift, x.method): x for x in lines_of(entries_of(rows))}
    joined = lines["d2", "pool3"].scores["miou"]
    values = [r.miou for r in rows if r.method == "pool3"]
    assert joined and joined.n == 2
    assert joined.mean == pytest.approx(sum(values) / 2)
    assert joined.std == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    methods = {"B0", "AdaBN", "B1", "B2", "pool3", "pool5"}
    assert set(lines) == {("", "teacher")} | {("d2", m) for m in methods}
    assert [line.split()[1] for line in score_table(rows).splitlines()[1:]] == [
        "teacher", "B0", "AdaBN", "B1", "B2", "pool3", "pool3", "pool5",
    ]  # fmt: skip
    line = lines["d2", "pool3"]
    assert single_layer(line)
    line.entries[0].config["objective"]["kd"]["weight"] = 1.0
    assert not single_layer(line), "the regression of one layer and something else"


def test_recovered_share_by_hand() -> None:
    assert recovered(40.0, 20.0, 60.0) == 50
    assert recovered(10.0, 20.0, 60.0) == -25
    assert recovered(40.0, 59.5, 60.0) is None and recovered(None, 1.0, 60.0) is None


def test_recovered_is_of_images_that_were_read_alike(copied: Path) -> None:
    """A teacher's scores at another size are no reference, whichever file comes first."""
    scores = {"metrics_camvid_d1_val": 60.0, "metrics_camvid_d2_d2_val": 20.0}
    for name, miou in scores.items():
        own = copied / f"teacher/{name}.json"
        edit(own, lambda metrics, miou=miou: metrics["truth"].update(miou=miou))
        shutil.copy(own, other := copied / f"teacher/{name}_2.json")
        edit(
            other, lambda m, miou=miou: m["truth"].update(miou=miou + 10) or m.update(resize=[9, 9])
        )
    edit(
        copied / "pool3/config.yaml", lambda config: config.update(teacher=str(copied / "teacher"))
    )
    record = copied / "pool3/metrics_camvid_d2_d2_val.json"
    edit(record, lambda metrics: metrics["truth"].update(miou=40.0))

    def found() -> float | None:
        entries = entries_of(collect(copied))
        return next(e.recovered for e in entries if e.row.run == str(copied / "pool3"))

    assert found() == 50
    edit(record, lambda metrics: metrics.update(resize=[9, 9]))
    assert found() == 25


def test_hostile_names_are_escaped_and_drawn_as_they_are(copied: Path, tmp_path: Path) -> None:
    """matplotlib takes what stands between dollar signs for a formula, and stops at a wrong one."""
    evil = [f"<script>alert({i})</script>$\\no{i}${{$" for i in range(3)]
    evil += [f"<script>alert({i})" for i in (3, 4)]

    def renamed(metrics: dict[str, Any]) -> None:
        metrics["classes"][0], metrics["split"] = evil[1], evil[3]
        if metrics["domain"] == "d2":
            metrics["target"] = "$\\frac$"

    for run in ("pool3", "pool5"):
        edit(copied / run / "config.yaml", lambda c: c["objective"].update(name=evil[0]))
    for path in copied.rglob("metrics_*.json"):
        edit(path, renamed)
    edit(copied / "teacher" / "env.json", lambda about: about.update(platform=evil[2]))
    (copied / "pool3_seed1").rename(copied / evil[4])
    page = written(copied, tmp_path)
    assert "<script" not in page and "$\\frac$" in page
    for text in evil:
        assert html.escape(text) in page


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("metrics_*d2*", {"classes": 3}, "classes is 3; it must be of type list"),
        ("metrics_*d2*", {"truth": {"miou": "x"}}, "truth: it has no accuracy, class_accuracy"),
        ("metrics_*d2*", {"protocol": {"x": 1}}, "protocol.x"),
        ("metrics_*d2*", {"split": "../../x"}, "split is '../../x', which no file is named by"),
        ("summary", {"seconds": []}, "seconds is \\[\\]; it must be of type float"),
        ("env", {"packages": None}, "packages is None"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_record_that_is_none_is_named_and_costs_its_run_only(
    copied: Path, tmp_path: Path, name: str, change: dict, message: str
) -> None:
    for path in (copied / "pool3").glob(f"{name}.json"):
        edit(path, lambda content: content.update(change))
    page = html.unescape(written(copied, tmp_path))
    assert re.search(rf"Left out: .*pool3/.*\.json: {message}", page)
    assert "pool5" in page and "pool3_seed1" in page and "configuration of pool3<" not in page


def test_what_cannot_be_drawn_is_named_and_does_not_stop_the_report(
    copied: Path, tmp_path: Path
) -> None:
    """Images that are gone, an inversion that was cut short, one whose names lead elsewhere."""
    for path in copied.glob("pool*/config.yaml"):
        edit(path, lambda config: config["data"].update(root="/gone"))
    (curves,) = copied.rglob("inversion/*/curves.json")
    shutil.copytree(curves.parent, curves.parent.with_name("short"))
    short = curves.parent.with_name("short") / "curves.json"
    short.unlink()
    edit(curves, lambda found: found["networks"].update({"../../../secret": {}}))
    page = written(copied, tmp_path)
    assert "no pictures: " in page and "/gone" in page and "Scores" in page
    assert "cannot name a picture beside it" in page
    assert f"Not shown: {curves.parents[2].name}: short" in page and str(short) in page


def test_nothing_to_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        report(ReportConfig(runs=str(tmp_path / "gone")))
    with pytest.raises(InputError, match="no finished run"):
        report(ReportConfig(runs=str(tmp_path)))


@pytest.mark.usefixtures("undrawn")
def test_splits_are_never_compared_with_each_other(copied: Path, tmp_path: Path) -> None:
    """A teacher scored on another split as well must not lend its score to the summary."""
    path = next((copied / "teacher").glob("metrics_*_d1_val.json"))
    metrics = json.loads(path.read_text())
    clean = metrics["truth"]["miou"]
    metrics["split"], metrics["truth"]["miou"] = "a_test", 12.3456
    path.with_name("metrics_camvid_d1_a_test.json").write_text(json.dumps(metrics))
    page = written(copied, tmp_path)
    assert f"goes from {clean:.1f} to" in page and "goes from 12.3" not in page
    assert "are of the split val" in page and "<td>12.3</td>" in page


def test_parts_of_the_data_are_not_joined_as_seeds(copied: Path) -> None:
    for run, part in (("pool3", ""), ("pool3_seed1", "half")):
        change = {"part": part, "parts": {"half": 0.5}}
        edit(copied / run / "config.yaml", lambda c, new=change: c["data"].update(new))
    lines = [x for x in lines_of(entries_of(collect(copied))) if x.method == "pool3"]
    assert [x.label for x in lines] == ["pool3 (data.part=)", "pool3 (data.part=half)"]
    assert all(len(x.entries) == 1 for x in lines)


@pytest.mark.usefixtures("undrawn")
def test_runs_of_two_data_sets_are_told_apart(copied: Path, tmp_path: Path) -> None:
    """Another data set, size and network in one folder: named by run, a class table for each."""
    other = Path(shutil.copytree(copied / "teacher", copied / "teacher2"))

    change = {"name": "scenes", "crop": [16, 16], "flip": False}
    edit(
        other / "config.yaml", lambda c: (c["data"].update(change), c["network"].update(width=0.5))
    )
    for path in other.glob("metrics_*.json"):
        edit(path, of_classes(4))
    lines = lines_of(entries_of(collect(copied)))
    assert {x.label for x in lines if x.method == "B0"} == {"B0 (teacher)", "B0 (teacher2)"}
    assert sorted(len(table["lines"]) for table in class_tables(lines)) == [4, 11]
    assert "B0 (teacher2)" in written(copied, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_pictures_are_of_the_images_that_were_scored(
    world: Path, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of those that the student was trained for."""
    night = tmp_path / "night"
    shutil.copytree(world / "d2", night)
    config = EvaluateConfig(device="cpu", run=str(copied / "pool3"), domain="d2")
    evaluate(replace(config, data=DataConfig(target=str(night))))
    seen: list[str] = []
    read = Decoder.native
    monkeypatch.setattr(
        Decoder, "native", lambda self, sample: seen.append(str(sample.x2)) or read(self, sample)
    )
    written(copied, tmp_path)
    folders = {Path(path).parent.parent.name for path in seen}
    assert folders == {"d2", "night"}

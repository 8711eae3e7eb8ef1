"""experiment=paper_voc from end to end, on a small tree with the layouts of VOC 2012 and SBD."""

from collections.abc import Callable
from pathlib import Path

import pytest
from archives import make_archives
from commands import settings_of

from adapt.cli.study import study
from adapt.disk.files import read_json, read_yaml
from adapt.disk.runs import read_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_the_papers_study_runs_from_its_data_to_the_report_with_the_papers_settings(
    voc_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_archives(tmp_path, voc_tree)
    monkeypatch.chdir(tmp_path)
    study(settings_of(
        "study", "experiment=paper_voc", "data.root=VOCdevkit/VOC2012", "runs=runs", "device=cpu",
        "data.sbd=benchmark_RELEASE/dataset", "supervised.start=none", "supervised.steps=2",
        "adaptation.steps=2", "inversion.steps=2", "inversion.size=[32,32]", "batch=2",
        "network.width=0.03125", "data.crop=[33,33]", "~objectives.pool1", "~objectives.pool2",
        "~objectives.pool4", "~objectives.w_dec",
    ))  # fmt: skip
    assert "AdaBN left out: deeplabv2_vgg16 has no batch norm" in capsys.readouterr().out
    shifts, methods = ("photocopy", "ripple", "cubism"), ("B0", "B1", "B2", "pool5", "pool3")
    rows = {(r["shift"], r["method"]) for r in read_json(Path("runs/results.json"))}
    wanted = {(s, m) for s in shifts for m in (*methods, "w_inc")}
    assert rows == {("", "teacher"), *wanted}
    samples = {read_json(p)["samples"] for p in Path().glob("runs/seed0/**/summary.json")}
    assert samples == {6}, "trainaug: VOC's four and SBD's two, without the val image"
    for shift, percent in zip(shifts, (32.5, 62.6, 94.0), strict=True):
        found = read_json(Path(f"runs/shifts/{shift}.json"))
        assert found["wanted"] == percent and len(found["trials"]) >= 9
        made = read_json(Path(f"runs/shifts/{shift}/shift.json"))
        assert made["parameters"] == found["parameters"]
    assert Path("runs/report.html").stat().st_size > 50_000
    for run, penalty in (("teacher", "l2"), ("cubism/pool5", "l2_sp")):
        config = read_config(Path("runs/seed0") / run)
        schedule = config["schedule"]
        assert (schedule["name"], schedule["power"], schedule["lr"]) == ("poly", 0.9, 2.5e-4)
        assert (schedule["optimizer"], schedule["momentum"]) == ("sgd", 0.9)
        weights = (penalty, 5e-4, 5e-4)
        assert tuple(config["penalty"][k] for k in ("name", "alpha", "beta")) == weights
    written = read_yaml(CONFIGS / "experiment/paper_voc.yaml")
    for name in ("pool5", "w_inc"):
        regression = read_config(Path("runs/seed0/ripple") / name)["objective"]["regression"]
        assert regression["distance"] == "norm"
    assert (written["data"]["crop"], written["batch"]) == ([321, 321], 10)
    assert [written[k]["steps"] for k in ("supervised", "adaptation")] == [20000, 20000]

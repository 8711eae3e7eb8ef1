"""Penalties and frozen layers side by side: what is chosen, what is averaged, what is drawn."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapt.analysis.analyse import analyse
from adapt.cli.study import study
from adapt.evaluation.rows import Row
from adapt.settings.commands import AnalyseConfig
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ShiftConfig
from adapt.settings.objective import ObjectiveConfig, RegressionConfig
from adapt.settings.study import Stage, StudyConfig
from adapt.settings.viz import ReportConfig
from viz.report.layer_section import analyses_section
from viz.report.page import report
from viz.report.penalties import AGREEMENT, DROP, NEW, OLD, Trial, choose, is_grid, panels_of
from viz.report.penalty_section import penalties_section, rejected
from viz.report.rates import chosen_rates
from viz.report.tables import Entry, lines_of

SEEDS = (0, 1, 2)


def entry(
    score: float | None,
    penalty: str = "l2_sp",
    alpha: float = 0.1,
    seed: int = 0,
    split: str = "val",
    domain: str = "d2",
    shift: str = "fog",
    agreement: float | None = None,
    teacher: bool = False,
    **settings: Any,
) -> Entry:
    """An evaluation as reports read it, of a student or of its teacher."""
    beta, freeze = settings.pop("beta", 0.0), settings.pop("freeze", "")
    run = f"runs/seed{seed}/{shift}/{penalty}_{alpha}_{beta}_{freeze}_{settings}"
    origin = f"runs/seed{seed}/teacher"
    pull = {"name": penalty, "alpha": alpha, "beta": beta, "apply": "gradient", "fisher": ""}
    pull |= {"fisher": f"runs/seed{seed}/fisher.safetensors"} if "fisher" in penalty else {}
    target = "" if teacher else f"shifts/{shift}"
    config = {
        "teacher": "" if teacher else origin,
        "start": "none" if teacher else origin,
        "domain": "d1" if teacher else "d2",
        "seed": seed,
        "freeze": freeze,
        "penalty": pull | settings.pop("pull", {}),
        "objective": {"name": "pool5"},
        "data": {"name": "camvid", "target": target, "part": "fit",
                 "parts": {"fit": 0.8, "tune": 0.2}},
        "schedule": {"lr": settings.pop("lr", 0.05)},
    }  # fmt: skip
    method = "pool5" if not teacher else "teacher" if domain == "d1" else "B0"
    name = shift if domain == "d2" else ""
    row = Row(name, method, penalty, seed, split, score, None, None, None, agreement, None, 1, 1.0,
              origin if teacher else run, "")  # fmt: skip
    metrics = {"adabn": False, "restyle": "", "domain": domain, "protocol": {}, "data": "camvid",
               "target": name}  # fmt: skip
    return Entry(row, config, metrics)


def trial(alpha: float, **scores: dict[int, float]) -> Trial:
    made = Trial("l2_sp", alpha, 0.0, "", {}, "L2-SP")
    made.scores = {
        (NEW, split): {(seed, "t"): v for seed, v in by_seed.items()}
        for split, by_seed in scores.items()
    }
    return made


def test_the_best_on_the_selection_split_is_chosen_on_the_seeds_that_all_have() -> None:
    """Whatever val says; seed 1 is easy: who alone has it would win by it."""
    weak = trial(0.01, tune={0: 50.0, 1: 40.0}, val={0: 90.0, 1: 90.0})
    strong = trial(0.1, tune={0: 44.0, 1: 48.0}, val={0: 10.0, 1: 10.0})
    chosen = choose([weak, strong], "tune")
    assert chosen and chosen.trial is strong and chosen.seeds == (0, 1) and chosen.among == 2
    assert (other := choose([weak, strong], "val")) and other.trial is weak
    lucky, better = trial(0.01, tune={0: 40.0, 1: 90.0}), trial(0.1, tune={0: 41.0})
    absent = trial(1.0, val={0: 99.0})
    chosen = choose([lucky, better, absent], "tune")
    assert chosen and chosen.trial is better and chosen.seeds == (0,)
    assert chosen.without == (absent.label,) and chosen.among == 2
    assert choose([lucky, trial(0.1, tune={2: 41.0})], "tune") is None
    assert choose([absent], "tune") is None
    alike = [trial(a, tune={0: 1.0}) for a in (0.1, 1.0)]
    assert (first := choose(alike, "tune")) and first.trial is alike[0]


def scored() -> tuple[list[Entry], dict[tuple[Any, ...], list[float]]]:
    """Two shifts, six settings, three seeds, three evaluations each; and the scores by hand."""
    rng = np.random.default_rng(0)
    settings = [("none", 0.0, ""), ("none", 0.0, "2"), ("l2_sp", 0.1, ""), ("l2_sp", 1.0, ""),
                ("l2_sp_fisher", 0.1, ""), ("l1_sp", 0.1, "")]  # fmt: skip
    entries, known = [], {}
    for shift in ("fog", "night"):
        for penalty, alpha, freeze in settings:
            for what, domain, split in (
                (NEW, "d2", "val"),
                (OLD, "d1", "val"),
                (NEW, "d2", "tune"),
            ):
                values = [round(float(v), 3) for v in rng.uniform(10, 90, len(SEEDS))]
                known[shift, penalty, alpha, freeze, what, split] = values
                entries += [
                    entry(v, penalty, alpha, seed, split, domain, shift, v / 2, freeze=freeze)
                    for seed, v in zip(SEEDS, values, strict=True)
                ]
    for seed in SEEDS:
        entries.append(entry(80.0 + seed, domain="d1", seed=seed, teacher=True))
        entries += [entry(20.0, seed=seed, shift=s, teacher=True) for s in ("fog", "night")]
    return entries, known


def test_scores_are_those_by_hand() -> None:
    entries, known = scored()
    panels = panels_of(entries)
    assert [p.title for p in panels] == ["fog", "night"]
    for panel in panels:
        assert (panel.split, panel.selection, panel.metric) == ("val", "tune", "mIoU")
        assert panel.before[NEW] and panel.before[NEW].mean == 20.0
        assert panel.before[OLD] and panel.before[OLD].mean == 81.0
        for t in panel.trials:
            key = (panel.title, t.penalty, t.alpha, t.freeze)
            for what, split in ((NEW, "val"), (OLD, "val"), (NEW, "tune")):
                values, found = known[*key, what, split], t.stat(what, split)
                assert found and found.n == 3
                assert found.mean == pytest.approx(np.mean(values))
                assert found.std == pytest.approx(np.std(values, ddof=1))
            dropped = [80.0 + s - v for s, v in zip(SEEDS, known[*key, OLD, "val"], strict=True)]
            assert (drop := t.stat(DROP, "val")) and drop.mean == pytest.approx(np.mean(dropped))
            control = known[panel.title, "none", 0.0, "", NEW, "val"]
            gains = np.subtract(known[*key, NEW, "val"], control)
            if t is panel.control:
                assert panel.over_control(t) is None
            else:
                assert (gain := panel.over_control(t)) and gain.mean == pytest.approx(gains.mean())
                assert gain.std == pytest.approx(gains.std(ddof=1))
            assert (agreed := t.stat(AGREEMENT, "tune"))
            assert agreed.mean == pytest.approx(np.mean(known[*key, NEW, "tune"]) / 2)
        means = {a: np.mean(known[panel.title, "l2_sp", a, "", NEW, "tune"]) for a in (0.1, 1.0)}
        assert panel.choices()["L2-SP"].trial.alpha == max(means, key=lambda a: means[a])
        assert panel.control and panel.control.freeze == ""
        assert [t.freeze for t in panel.frozen["no penalty"]] == ["", "2"]


def test_forms_grids_and_other_settings_are_told_apart() -> None:
    grid = [entry(50, alpha=a, beta=b) for a in (0.1, 1.0) for b in (0.2, 2.0)]
    coupled = [entry(50, "l2", alpha=a, beta=a) for a in (0.1, 1.0)]
    layer, channel = ({"groups": g} for g in ("layer", "channel"))
    grouped = [entry(50, "gl_sp", pull=p) for p in (layer, channel)]
    (panel,) = panels_of([*grid, *coupled, *grouped])
    assert list(panel.forms) == ["L2", "L2-SP", "GL-SP (groups channel)", "GL-SP (groups layer)"]
    assert [*panel.lines][:3] == ["L2", "L2-SP, beta 0.2", "L2-SP, beta 2"]
    assert [form for form, trials in panel.forms.items() if is_grid(trials)] == ["L2-SP"]
    rates = [entry(50, alpha=a, lr=lr) for a in (0.1, 1.0) for lr in (0.5, 0.05)]
    apart = panels_of(rates)
    assert len(apart) == 2 and len({p.title for p in apart}) == 2
    assert all(len(p.trials) == 2 for p in apart)


def test_of_several_rates_the_selection_split_chooses_by_what_a_user_has() -> None:
    """Students by agreement, in the mean over shifts, B2 by mIoU; val has no say."""

    def at(lr: float, shift: str, agreement: float, miou: float, method: str) -> list[Entry]:
        made = []
        for split, sign in (("tune", 1), ("val", -1)):
            one = entry(miou * sign, shift=shift, split=split, agreement=agreement * sign, lr=lr)
            one.row = replace(one.row, method=method, run=f"{one.row.run} {method}")
            made.append(one)
        return made

    entries = [
        e for method in ("pool5", "B2")
        for lr, shift, agreement, miou in (
            (0.1, "fog", 50, 30), (0.1, "rain", 60, 30),
            (0.02, "fog", 52, 20), (0.02, "rain", 40, 20),
        )
        for e in at(lr, shift, agreement, miou, method)
    ]  # fmt: skip
    for e in entries:
        if e.method == "B2":
            e.row = replace(e.row, agreement=-e.row.agreement)
    dropped, words = chosen_rates(entries, "tune")
    kept = {(e.method, e.row.shift, e.config["schedule"]["lr"]) for e in entries
            if e.row.run not in dropped}  # fmt: skip
    assert kept == {(m, s, 0.1) for m in ("pool5", "B2") for s in ("fog", "rain")}
    assert {words[e.row.run] for e in entries if e.row.run in words and e.method == "pool5"} == {
        "schedule.lr=0.1; chosen by agreement on tune"
    }
    assert "chosen by mIoU on tune" in next(words[e.row.run] for e in entries if e.method == "B2")
    assert chosen_rates(entries, "") == (set(), {})
    only = [e for e in entries if e.config["schedule"]["lr"] == 0.1]
    assert chosen_rates(only, "tune") == (set(), {})


def test_each_penalty_has_a_rate_of_its_own() -> None:
    """Also where the penalties' strengths are equal, so that nothing but the name differs."""
    scores = {("l2_sp", 0.01): 50, ("l2_sp", 0.1): 40, ("l1_sp", 0.01): 45, ("l1_sp", 0.1): 60}
    entries = [
        entry(v, name, split=split, agreement=v, lr=lr)
        for (name, lr), v in scores.items()
        for split in ("tune", "val")
    ]
    for e in entries:
        e.row = replace(e.row, run=f"{e.row.run} {e.config['schedule']['lr']}")
    dropped, _ = chosen_rates(entries, "tune")
    kept = {(e.row.penalty, e.config["schedule"]["lr"]) for e in entries
            if e.row.run not in dropped}  # fmt: skip
    assert kept == {("l2_sp", 0.01), ("l1_sp", 0.1)}


def test_nothing_is_chosen_on_what_runs_were_trained_on_or_by_guess() -> None:
    val = [entry(50 + a, alpha=a) for a in (0.1, 1.0)]
    (panel,) = panels_of(val)
    assert panel.selection == "" and not panel.choices() and not rejected([panel])
    fitted = [entry(50 + a, alpha=a, split="fit") for a in (0.1, 1.0)]
    (panel,) = panels_of([*val, *fitted])
    assert panel.selection == ""
    (panel,) = panels_of([*val, *fitted], "fit")
    assert panel.choices()["L2-SP"].trial.alpha == 1.0 and panel.split == "val"
    assert panels_of([entry(50)]) == []
    unlabelled = [entry(None, alpha=a, split=s, agreement=60 + 10 * a * (1 if s == "val" else -1))
                  for a in (0.1, 1.0) for s in ("val", "tune")]  # fmt: skip
    (panel,) = panels_of(unlabelled)
    assert panel.metric == AGREEMENT and panel.choices()["L2-SP"].trial.alpha == 0.1


def test_students_of_two_shifts_are_not_joined_on_the_old_domain() -> None:
    entries, _ = scored()
    lines = [x for x in lines_of(entries) if x.method == "pool5"]
    assert all(len(x.entries) == len(SEEDS) for x in lines)
    old = [x.label for x in lines if not x.shift and x.penalty == "l2_sp_fisher"]
    assert old == ["pool5 (adapted to=fog)", "pool5 (adapted to=night)"]


def test_every_figure_is_drawn_also_of_what_is_incomplete() -> None:
    entries, _ = scored()
    grid = [entry(40 + a + b, "l2", a, beta=b, split=s) for a in (1.0, 2.0) for b in (3.0, 4.0)
            for s in ("val", "tune") if (a, b, s) != (1.0, 4.0, "val")]  # fmt: skip
    named = [entry(41, "none", 0.0, freeze=name) for name in ("conv3", "pool4")]
    new_only = [entry(40, "none", 0.0, shift="rain"), entry(41, alpha=0.5, shift="rain")]
    section = penalties_section(panels_of([*entries, *grid, *named, *new_only]))
    assert len(section["side_by_side"]) == len(section["forgetting"]) == 1
    drawn = {p.title: (bool(alphas), bool(grids)) for p, alphas, grids in section["strengths"]}
    assert drawn == {"fog": (True, True), "night": (True, False), "rain": (False, False)}
    assert [panel.title for panel, _ in section["frozen"]] == ["fog", "night"]
    text = " ".join(section["sentences"])
    assert "seeds that all alphas have: L2 on 0." in text
    assert "by mIoU on tune, scores are of val" in text and "at an end of the alphas" in text
    cells = [cell for *_, lines in section["tables"] for line in lines for cell in line]
    assert "–" in cells and len(section["tables"]) == 3  # noqa: RUF001
    assert penalties_section([]) == {}


@pytest.fixture(scope="module")
def compared(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study of penalties and frozen layers, with analyses of a run, and distances."""
    root = tmp_path_factory.mktemp("compared")
    data = DataConfig(name="camvid", root=str(world / "d1"), parts={"fit": 0.7, "tune": 0.3})
    grid = {f"{a}": PenaltyConfig("l2_sp", a, 0.1) for a in (0.1, 1.0)}
    run_config = StudyConfig(
        runs=str(root),
        data=replace(data, part="fit"),
        network=NetworkConfig(width=1 / 32, batch_norm=True),
        shifts={"p": ShiftConfig("photocopy")},
        objectives={"pool3": ObjectiveConfig("pool3", RegressionConfig(1.0, {"pool3": 1.0}))},
        penalties={"none": PenaltyConfig(), "f": PenaltyConfig("l2_sp_fisher", 0.1), **grid},
        freezes=["3"],
        selection="tune",
        baselines=["b0"],
        inversions=0,
        supervised=Stage(steps=2),
        adaptation=Stage(steps=2),
        batch=2,
        device="cpu",
    )
    study(run_config)
    chosen = root / "seed0" / "p" / "pool3_none"
    fisher = str(root / "seed0" / "fisher.safetensors")
    analyse(AnalyseConfig(run=str(chosen), fisher=fisher, device="cpu"))
    records = [json.loads(line) for line in (chosen / "metrics.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(r | {"distances": {"conv1.0": 0.01}}) + "\n" for r in records)
    (chosen / "metrics.jsonl").write_text(text)
    report(ReportConfig(runs=str(root), out=str(root / "report.html"), examples=1))
    return root


def test_report_of_a_study_of_penalties_and_what_it_chose(compared: Path) -> None:
    """Every figure; and the best row of the tuning part, with the scores of its row on val."""
    page = (compared / "report.html").read_text()
    alts = re.findall(r'alt="([^"]*)"', page)
    for start in ("Score of every penalty", "Score kept on D1", "Score against alpha, p",
                  "Score against the number of frozen layers, p", "Box-plots of R2",
                  "Box-plots of log Fisher", "Distance of each layer from its start",
                  "Distance of each layer from its start over time"):  # fmt: skip
        assert any(alt.startswith(start) for alt in alts), start
    assert len(re.findall("<img ", page)) == len([a for a in alts if a])
    assert "Old domain before and after the training" in page
    assert "penalties.json, penalties.csv" in page
    assert page.index(">p, val<") < page.index(">p, tune<")  # the figures' split comes first
    (panel,) = json.loads((compared / "penalties.json").read_text())
    rows = json.loads((compared / "results.json").read_text())
    assert (panel["selection"], panel["shown"]) == ("tune", "val")
    at, tuned = panel["chosen"]["L2-SP"], {}
    for t in panel["trials"]:
        (run,) = t["runs"]
        found = {(r["split"], bool(r["shift"])): r["miou"] for r in rows if r["run"] == run}
        assert t["scores"]["val"]["new"]["mean"] == found["val", True]
        assert t["scores"]["val"]["old"]["mean"] == found["val", False]
        assert t["scores"]["tune"]["new"]["mean"] == found["tune", True]
        if t["penalty"] == "l2_sp":
            tuned[t["alpha"]] = found["tune", True]
    assert at["among"] == len(tuned) == 2 and tuned[at["alpha"]] == max(tuned.values())


def test_broken_analyses_are_said_and_foreign_files_passed_over(
    compared: Path, tmp_path: Path
) -> None:
    path = compared / "seed0" / "p" / "pool3_f" / "analysis"
    path.mkdir()
    (path / "source.json").write_text("{")
    (path / "weights.json").write_text("[1, 2]")
    (sentence,) = analyses_section(compared, {})["sentences"]
    assert sentence.startswith(f"Not shown: {path / 'source.json'}: broken JSON")
    assert analyses_section(tmp_path, {}) == {}

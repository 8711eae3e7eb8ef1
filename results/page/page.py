"""The page of results: run folders -> records, and all records -> the page with its figures."""

from collections.abc import Sequence
from pathlib import Path

from adapt.disk.files import read_json, write_json, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import say
from results.page import decay, drawings, front, gap, longer, missing, rates, tables, words, worth
from results.page.claims import CLAIMS
from results.page.records import (
    DISJOINT,
    GRID,
    MOVED,
    SHARED,
    SHIFTS,
    VAL,
    Evidence,
    load,
    relative,
    table,
)
from results.page.records_of_runs import TEACHER, record
from results.page.repeats import DRAWS, PRECISION, repeated
from results.page.style import style_record
from results.page.style_claim import in_style
from results.page.verdicts import Verdict

STYLE = "style.json"


def results(
    runs: Sequence[Path] = (),
    judge: Path | None = None,
    records: Path = Path("results/evidence"),
    out: Path = Path("docs/results.md"),
    pictures: Path = Path("docs/pictures"),
    readme: Path | None = None,
) -> None:
    """Record, then write the page.

    Args:
        runs: folders of studies that are recorded first.
        judge: a run, such as another seed's teacher, whose network measures the style of the first
            study's inversions.
        records: folder of the committed records.
        out: the page.
        pictures: folder of the figures; their names begin with `results_`.
        readme: what lies between its marks (results/page/front.py) is replaced by the one table and
            picture that stand at its front.

    Raises:
        InputError: a folder without finished runs, or no records at all.
    """
    for study in runs:
        for path in record(study, records):
            say(f"{path}: recorded")
    if judge:
        if not runs:
            raise InputError("--judge needs --runs DIR: the study whose inversions it measures")
        write_json(records / STYLE, style_record(runs[0], judge))
    found = load(records)
    page = Page(found, records, out, pictures)
    write_whole(out, page.text().encode())
    if readme:
        front.write(readme, found, page.worths, pictures, out)
    say(f"{out}: {len(found.records)} records, {len(found.scores)} evaluations")


class Page:
    """The text in sections; figures are written as they are named."""

    def __init__(self, found: Evidence, records: Path, out: Path, pictures: Path) -> None:
        """`records`: the folder of what was measured besides."""
        self.found, self.out, self.pictures = found, out, pictures
        self.style = read_json(records / STYLE) if (records / STYLE).is_file() else []
        self.trials = gap.trials(records)
        self.worths = worth.of_methods(found)

    def text(self) -> str:
        sections = [
            words.TITLE,
            self.header(),
            self.verdicts(),
            self.protocol(SHARED, "Pairs shared with the teacher, as in the paper"),
            self.protocol(DISJOINT, "Pairs that the teacher has not seen"),
            self.worth(),
            section("Closing the gap to B2", gap.section(self.found, self.trials), words.GAP),
            section("What each shift is and costs", tables.shifts(self.found), words.SHIFTS),
            section("Other strengths", tables.strengths(self.found), words.STRENGTHS),
            section("Learning rates", rates.rates(self.found), words.RATES),
            section("More steps", longer.longer(self.found), words.LONGER),
            section("What bfloat16 costs", repeated(self.found, PRECISION), words.PRECISION),
            section("Other draws", repeated(self.found, DRAWS), words.DRAWS),
            section("L2-SP over alpha", tables.sweep(self.found), words.SWEEP),
            section("Maps before and after", tables.features(self.found), words.FEATURES),
            self.agreement(),
            self.decay(),
            self.by_class(),
            self.missing(),
        ]
        return "\n\n".join(part for part in sections if part) + "\n"

    def picture(self, name: str, content: bytes | None, told: str) -> str:
        """The figure's file and the Markdown that shows it; `` where there is none."""
        path = self.pictures / f"results_{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
            return ""
        write_whole(path, content)
        return f"![{told}]({relative(path, self.out.parent)})"

    def header(self) -> str:
        """Hardware, date, versions, seeds, duration."""
        every = [run for record in self.found.records for run in record["runs"].values()]
        runs = [run for place, run in enumerate(every) if run not in every[:place]]
        machines = [made for record in self.found.records for made in record["machines"]]
        days = sorted({run["finished"] for run in runs})
        named = sorted(
            {f"{m['cpu']}, {m['threads']} thread(s), {m['precision']}" for m in machines}
        )
        named += sorted({gpu for m in machines for gpu in m["gpus"]})
        versions = sorted(
            {f"Python {m['python']}, torch {m['packages']['torch']}" for m in machines}
        )
        seeds = sorted({record["seed"] for record in self.found.records})
        hours = sum(run["seconds"] for run in runs) / 3600
        period = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
        return (
            f"*{period}; {'; '.join(named)}, beside other work; {'; '.join(versions)}; seeds "
            f"{', '.join(map(str, seeds))}; {len(runs)} trainings, {hours:.1f} hours of training "
            f"by one thread. {self.budgets()} {words.SETTING.format(val=self.images())}*"
        )

    def budgets(self) -> str:
        """How many images and steps each protocol has."""
        told = []
        for protocol, study in GRID.items():
            runs = [r for record in self.found.of(study) for r in record["runs"].items()]
            teachers = [run for name, run in runs if name == TEACHER]
            students = [run for name, run in runs if name != TEACHER and run["share"] == 1]
            if teachers and students:
                one, other = teachers[0], min(students, key=lambda run: run["steps"])
                told.append(
                    f"{protocol.capitalize()} pairs: the teacher has {one['samples']} images and "
                    f"{one['steps']:,} steps of {one['batch']}, students and B2 {other['samples']} "
                    f"pairs and {other['steps']:,} steps."
                )
        return " ".join(told)

    def images(self) -> int:
        """Of the split that figures are of."""
        return max((s.numbers["images"] for s in self.found.scores if s.split == VAL), default=0)

    def verdicts(self) -> str:
        made: list[Verdict] = [claim(self.found) for claim in CLAIMS]
        made.append(in_style(self.style))
        made.sort(key=lambda verdict: verdict.letter)
        rows = []
        for verdict in made:
            word = f"**{verdict.verdict}**"
            if verdict.seeds == 1 and verdict.letter not in "fgi":
                word += " (one seed)"
            if verdict.missing and verdict.seeds:
                word += f"; {verdict.missing} of {len(verdict.parts)} comparisons not run"
            rows.append([verdict.letter, verdict.claim, word, verdict.numbers])
        heads = ("", "claim", "verdict", "numbers: mIoU, differences within a seed")
        notes = [f"- ({v.letter}) {note}" for v in made for note in v.notes]
        return "\n\n".join([
            "## The paper's claims",
            table(heads, rows),
            words.JUDGED,
            "\n".join(notes),
        ])  # fmt: skip

    def protocol(self, protocol: str, title: str) -> str:
        """The grid of one protocol, with labels as given and moved."""
        if not tables.grid(self.found, protocol, "miou"):
            return f"## {title}\n\n{words.EMPTY}"
        parts = [f"## {title}"]
        if protocol == DISJOINT:
            parts.append(words.DISJOINT)
        for key, heading in (
            ("miou", "mIoU"),
            ("class_accuracy", "Mean class accuracy"),
            ("agreement", "Label-free agreement with the teacher on x1"),
        ):
            parts += [f"**{heading}**", tables.grid(self.found, protocol, key)]
            if key == "miou" and (moved := tables.grid(self.found, protocol, key, MOVED)):
                parts += [words.MOVED, moved]
        chart = drawings.bars(self.found, protocol)
        parts.append(self.picture(f"bars_{protocol}", chart, f"Figure 3, {protocol} pairs"))
        if protocol == SHARED:
            chart = drawings.layers(self.found)
            parts.append(self.picture("layers", chart, "Figure 4: score by regressed layer"))
            chart = drawings.curves(self.found)
            parts.append(self.picture("curves", chart, "mIoU on val against steps"))
        return "\n\n".join(part for part in parts if part)

    def worth(self) -> str:
        title = "## What pairs are worth"
        if not self.worths:
            return f"{title}\n\nB2 on shares of the labels: not run yet."
        sentences = "\n".join(f"- {one.sentence()}" for one in self.worths)
        chart = drawings.labels_chart(self.worths)
        return "\n\n".join(
            [title, words.WORTH, sentences, self.picture("labels", chart, "B2 over its labels")]
        )

    def agreement(self) -> str:
        chart = self.picture("agreement", drawings.scatter(self.found), "mIoU against agreement")
        return f"## Agreement as a judge without labels\n\n{chart}" if chart else ""

    def decay(self) -> str:
        shown = self.picture("decay", decay.figure(self.found), "Figure 6.1 of that thesis")
        content = "\n\n".join(filter(None, [decay.tables(self.found), shown]))
        return section("Pre-training and weight decay", content, words.DECAY)

    def by_class(self) -> str:
        parts = [
            f"**{shift}**\n\n{made}"
            for shift in SHIFTS
            if (made := tables.classes(self.found, SHARED, shift))
        ]
        return "\n\n".join(["## Class by class", *parts]) if parts else ""

    def missing(self) -> str:
        lines = [f"- {line}" for line in missing.missing(self.found)]
        title = "## Not run yet"
        return "\n".join([title, "", *lines]) if lines else f"{title}\n\nNothing."


def section(title: str, content: str, note: str = "") -> str:
    return "\n\n".join(filter(None, [f"## {title}", note, content or words.EMPTY]))

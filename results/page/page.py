"""The page of results: run folders -> records, and all records -> the page with its figures."""

from collections.abc import Sequence
from pathlib import Path

from adapt.disk.files import read_json, write_json, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import say
from results.page import drawings, front, tables, variations, words
from results.page.claims import CLAIMS
from results.page.records import (
    DISJOINT,
    GRID,
    MOVED,
    SHARED,
    SHIFTS,
    VAL,
    Evidence,
    days,
    load,
    relative,
    table,
)
from results.page.records_of_runs import TEACHER, record
from results.page.style import in_style, style_record

STYLE = "style.json"


def results(
    runs: Sequence[Path] = (),
    judge: Path | None = None,
    records: Path = Path("results/evidence"),
    out: Path = Path("docs/results.md"),
    pictures: Path = Path("docs/pictures"),
    readme: Path | None = None,
) -> None:
    """Record what __main__.py describes, then write the page.

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
    write_whole(out, page.text())
    if readme:
        front.write(readme, found, page.worths, pictures, out)
    say(f"{out}: {len(found.records)} records, {len(found.scores)} evaluations")


class Page:
    """The text in sections; figures are written as they are named."""

    def __init__(self, found: Evidence, records: Path, out: Path, pictures: Path) -> None:
        """`records`: the folder of what was measured besides."""
        self.found, self.out, self.pictures = found, out, pictures
        self.style = read_json(records / STYLE) if (records / STYLE).is_file() else []
        self.changes = variations.changes(records)
        self.worths = variations.worths(found)
        self.machines = [made for record in found.records for made in record["machines"]]
        self.gpus = sorted({gpu for made in self.machines for gpu in made["gpus"]})

    def text(self) -> str:
        found = self.found
        repeated = [variations.repeated(found, x) for x in (variations.PRECISION, variations.DRAWS)]
        made = [
            words.TITLE,
            self.header(),
            self.claims(),
            self.protocol(SHARED, "Pairs shared with the teacher, as in the paper"),
            self.protocol(DISJOINT, "Pairs that the teacher has not seen"),
            self.worth(),
            section("Closing the gap to B2", variations.tried(found, self.changes), words.GAP),
            section("What each shift is and costs", tables.shifts(found), words.SHIFTS),
            section("Other strengths", tables.strengths(found), words.STRENGTHS),
            section("Learning rates", variations.rates(found), words.RATES),
            section("More steps", variations.longer(found), words.LONGER),
            section("What bfloat16 costs", repeated[0], words.PRECISION),
            section("Other draws", repeated[1], words.DRAWS),
            section("Pairs that do not lie on each other", tables.misaligned(found), words.OFF),
            section("L2-SP over alpha", tables.sweep(found), words.SWEEP),
            section("Maps before and after", tables.features(found), words.FEATURES),
            self.agreement(),
            self.decay(),
            self.by_class(),
            self.to_come(),
        ]
        return "\n\n".join(part for part in made if part) + "\n"

    def picture(self, name: str, content: bytes | None, alt: str) -> str:
        """The figure's file and the Markdown that shows it; `` where there is none."""
        path = self.pictures / f"results_{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
            return ""
        write_whole(path, content)
        return f"![{alt}]({relative(path, self.out.parent)})"

    def header(self) -> str:
        """Hardware, date, versions, seeds, duration, budgets."""
        every = [run for record in self.found.records for run in record["runs"].values()]
        runs = [run for place, run in enumerate(every) if run not in every[:place]]
        texts = (
            {f"{m['cpu']}, {m['threads']} thread(s), {m['precision']}" for m in self.machines},
            {f"Python {m['python']}, torch {m['packages']['torch']}" for m in self.machines},
            {f"commit {m['commit'][:7]}" for m in self.machines if m.get("commit")},
        )
        hardware, versions, commits = map(sorted, texts)
        seeds = sorted({record["seed"] for record in self.found.records})
        hours = sum(run["seconds"] for run in runs) / 3600
        images = [s.numbers["images"] for s in self.found.scores if s.split == VAL]
        return (
            f"*{days(runs)}; {'; '.join(hardware + self.gpus)}, beside other work; "
            f"{'; '.join(versions + commits)}; seeds {', '.join(map(str, seeds))}; {len(runs)} "
            f"trainings, {hours:.1f} hours of training by one thread. {self.budgets()} "
            f"{words.SETTING.format(val=max(images, default=0))}*"
        )

    def budgets(self) -> str:
        """How many images and steps each protocol has."""
        texts = []
        for protocol, study in GRID.items():
            runs = [r for record in self.found.of(study) for r in record["runs"].items()]
            teachers = [run for name, run in runs if name == TEACHER]
            students = [run for name, run in runs if name != TEACHER and run["share"] == 1]
            if teachers and students:
                one, other = teachers[0], min(students, key=lambda run: run["steps"])
                texts.append(
                    f"{protocol.capitalize()} pairs: the teacher has {one['samples']} images and "
                    f"{one['steps']:,} steps of {one['batch']}, students and B2 {other['samples']} "
                    f"pairs and {other['steps']:,} steps."
                )
        return " ".join(texts)

    def claims(self) -> str:
        made = [*(judge(self.found) for judge in CLAIMS), in_style(self.style)]
        made.sort(key=lambda claim: claim.letter)
        rows = []
        for claim in made:
            verdict = f"**{claim.verdict}**"
            if claim.seeds == 1 and claim.letter not in "fgi":
                verdict += " (one seed)"
            if claim.missing and claim.seeds:
                verdict += f"; {claim.missing} of {len(claim.comparisons)} comparisons not run"
            rows.append([claim.letter, claim.text, verdict, claim.numbers])
        heads = ("", "claim", "verdict", "numbers: mIoU, differences within a seed")
        notes = "\n".join(f"- ({claim.letter}) {note}" for claim in made for note in claim.notes)
        return "\n\n".join(["## The paper's claims", table(heads, rows), words.JUDGED, notes])

    def protocol(self, protocol: str, title: str) -> str:
        """The grid of one protocol, with labels as given and moved."""
        parts = [words.DISJOINT] if protocol == DISJOINT else []
        for key, heading in (
            ("miou", "mIoU"),
            ("class_accuracy", "Mean class accuracy"),
            ("agreement", "Label-free agreement with the teacher on x1"),
        ):
            if not (grid := tables.grid(self.found, protocol, key)):
                return section(title, "")
            parts += [f"**{heading}**", grid]
            if key == "miou" and (moved := tables.grid(self.found, protocol, key, MOVED)):
                parts += [words.MOVED, moved]
        chart = drawings.bars(self.found, protocol)
        parts.append(self.picture(f"bars_{protocol}", chart, f"Figure 3, {protocol} pairs"))
        if protocol == SHARED:
            chart = drawings.layers(self.found)
            parts.append(self.picture("layers", chart, "Figure 4: score by regressed layer"))
            chart = drawings.curves(self.found)
            parts.append(self.picture("curves", chart, "mIoU on val against steps"))
        return section(title, "\n\n".join(filter(None, parts)))

    def worth(self) -> str:
        title = "What pairs are worth"
        if not self.worths:
            return section(title, "B2 on shares of the labels: not run yet.")
        sentences = "\n".join(f"- {one.sentence()}" for one in self.worths)
        chart = self.picture("labels", drawings.labels_chart(self.worths), "B2 over its labels")
        return section(title, f"{sentences}\n\n{chart}", words.WORTH)

    def agreement(self) -> str:
        chart = self.picture("agreement", drawings.scatter(self.found), "mIoU against agreement")
        return section("Agreement as a judge without labels", chart) if chart else ""

    def decay(self) -> str:
        chart = self.picture("decay", drawings.decay(self.found), "Figure 6.1 of that thesis")
        content = "\n\n".join(filter(None, [tables.decays(self.found), chart]))
        return section("Pre-training and weight decay", content, words.DECAY)

    def to_come(self) -> str:
        there = {(record["study"], record["seed"]) for record in self.found.records}
        rows = [row for study, seed, *row in words.NOT_RUN if (study, seed) not in there]
        heads = ("what", "command", "core-hours, estimated", "why not")
        return section("Not run yet", table(heads, rows)) if rows else ""

    def by_class(self) -> str:
        made = {shift: tables.classes(self.found, SHARED, shift) for shift in SHIFTS}
        parts = [f"**{shift}**\n\n{text}" for shift, text in made.items() if text]
        return section("Class by class", "\n\n".join(parts)) if parts else ""


def section(title: str, content: str, note: str = "") -> str:
    return "\n\n".join(filter(None, [f"## {title}", note, content or words.EMPTY]))

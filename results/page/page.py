"""Run folders -> records, and all records -> the pages of results with their figures."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from adapt.disk.files import read_json, write_json, write_whole
from adapt.errors import InputError
from adapt.machine.runtime import say
from results.page import drawings, fine_tuning, front, gaps, tables, tasks, tried, variations, words
from results.page.claims import CLAIMS, SWEPT
from results.page.comparisons import MISSING, Claim
from results.page.records import (
    DISJOINT,
    GRID,
    MOVED,
    SEEDS,
    SHARED,
    SHIFTS,
    VAL,
    Evidence,
    days,
    differences,
    load,
    relative,
    table,
)
from results.page.records_of_runs import TEACHER, record
from results.page.style import in_style, style_record, ways

WIDE = "camvid_full_width"
FULL_WIDTH = {
    WIDE: GRID[SHARED], f"{WIDE}_long": variations.LONG, f"{WIDE}_penalties": SWEPT,
}  # fmt: skip
"""Study at full width -> the one of width 1/4 that has its cells."""
COMPARED = ("B0", "AdaBN", "pool5", "w_inc_kd", variations.TUNED)
"""What the tables of the first page have."""
TEST = "test"
"""The split that lies elsewhere, where a study was scored on it too."""


def results(
    runs: Sequence[Path] = (),
    judge: Path | None = None,
    records: Path = Path("results/evidence"),
    out: Path = Path("docs/results.md"),
    pictures: Path = Path("docs/pictures"),
    readme: Path | None = None,
) -> None:
    """Record what __main__.py describes, then write the pages: `out`, and those that it names in a
    folder of its name.

    Raises:
        InputError: a folder without finished runs, or no records at all.
    """
    for study in runs:
        for path in record(study, records):
            say(f"{path}: recorded")
    if judge:
        if not runs:
            raise InputError("--judge needs --runs DIR: the study whose inversions it measures")
        write_json(records / style_name(runs[0].name), style_record(runs[0], judge))
    found = load(records)
    pages = Pages(found, records, out, pictures)
    write_whole(out, pages.front() + "\n")
    for name in PAGES:
        write_whole(pages.folder / f"{name}.md", pages.text(name) + "\n")
    if readme:
        front.write(readme, found, pages.worths, pictures, out)
    say(f"{out}: {len(found.records)} records, {len(found.scores)} evaluations")


class Pages:
    """Their text; figures are written as they are named."""

    def __init__(self, found: Evidence, records: Path, out: Path, pictures: Path) -> None:
        """`records`: the folder of what was measured besides; what is no study's lies above it."""
        self.found, self.out, self.pictures = found, out, pictures
        self.folder, self.records = out.with_suffix(""), records
        self.style, self.wide_style = (
            read_json(path) if (path := records / style_name(study)).is_file() else []
            for study in (GRID[SHARED], WIDE)
        )
        self.folds, self.thermal = self.beside("cwfid_folds.json"), self.beside("roadscene.json")
        self.worths = variations.worths(found)
        self.claims = claims_of(found, self.style)
        images = [s.numbers["images"] for s in found.scores if s.split == VAL]
        self.val = max(images, default=0)
        every = [run for record in found.records for run in record["runs"].values()]
        self.runs = [run for place, run in enumerate(every) if run not in every[:place]]

    def beside(self, name: str) -> Any:
        """A record that is no study's; empty = not there."""
        path = self.records.parent / name
        return read_json(path) if path.is_file() else {}

    def front(self) -> str:
        """The answers, and where the rest stands."""
        rows = [
            [f"[{claim.letter}]({self.link('claims')}#claim-{claim.letter})", claim.text,
             claim.judgement, claim.number]
            for claim in self.claims
        ]  # fmt: skip
        questions = [[q, f"[{title}]({self.link(n)})"] for n, (q, title, _) in words.PAGES.items()]
        contest, name = words.CONTEST
        made = [
            words.FRONT,
            self.answer(),
            words.DONE.format(val=self.val, seeds=len(SEEDS)),
            section("How good is it?", self.standing(), words.GAP),
            section("The paper's claims", table(("", "claim", "verdict", "the number"), rows),
                    self.disagreement()),
            words.CLAIMS,
            section("How far can it be trusted?", words.TRUST.format(val=self.val) + self.spread()),
            section("More, by question", table(("question", "page"), [
                *questions, [contest, f"[{name}](contest.md)"]])),
            f"*{days(self.runs)}; {len(self.runs)} trainings, {self.hours():.1f} hours of training "
            f"by one thread; [machines and commits]({self.link('trust')}#machines).*",
        ]  # fmt: skip
        return joined(made)

    def text(self, name: str) -> str:
        _, title, opening = words.PAGES[name]
        opening = opening.format(budget=self.budget(GRID.get(name, "")))
        return joined([f"# {title}", opening.rstrip(), *PAGES[name](self)])

    def link(self, name: str) -> str:
        return relative(self.folder / f"{name}.md", self.out.parent)

    def picture(self, name: str, content: bytes | None, alt: str) -> str:
        """The figure's file and the Markdown that shows it; `` where there is none."""
        path = self.pictures / f"results_{name}.png"
        if content is None:
            path.unlink(missing_ok=True)
            return ""
        write_whole(path, content)
        return f"![{alt}]({relative(path, self.folder)})"

    # ---- parts of the first page

    def answer(self) -> str:
        """How much of the gap a user's case closes without labels, and with them; `` before the
        records have it."""
        study, texts = GRID[DISJOINT], {}
        for name, run in variations.at_best(self.found, ("w_inc_kd", "B2")).items():
            shares = [gaps.shares(self.found, study, run, shift) for shift in SHIFTS]
            texts[name] = " / ".join(map(gaps.whole, shares)) if all(shares) else ""
        return (
            words.ANSWER.format(shifts=" / ".join(SHIFTS), **texts) if all(texts.values()) else ""
        )

    def standing(self) -> str:
        parts = []
        for protocol, study in GRID.items():
            made = gaps.standing(self.found, study, COMPARED, GRID[SHARED])
            title = words.PAGES[protocol][1]
            title = f"**[{title}]({self.link(protocol)}).** {self.budget(study)}"
            parts += [title.rstrip(), made] if made else []
        return "\n\n".join(parts)

    def disagreement(self) -> str:
        """Which verdicts are others at full width; `` where none is, or nothing was run."""
        others = {claim.letter: claim.verdict for claim in self.at_full_width()}
        letters = [c.letter for c in self.claims
                   if others.get(c.letter, MISSING) not in (MISSING, c.verdict)]  # fmt: skip
        text = words.DISAGREE.format(letters=", ".join(letters), page=self.link("networks"))
        return text if letters else ""

    def at_full_width(self) -> list[Claim]:
        return claims_of(self.found.renamed(FULL_WIDTH), self.wide_style)

    def spread(self) -> str:
        """How far cells of the demo lie apart on two processors (results/processors.json)."""
        machines = [one["miou"] for one in self.beside("processors.json")]
        apart = [abs(gap) for gap in differences(*machines).values()] if machines else []
        return words.PROCESSORS.format(most=max(apart), mean=fmean(apart)) if apart else ""

    def hours(self) -> float:
        return sum(run["seconds"] for run in self.runs) / 3600

    # ---- parts of the others

    def budget(self, study: str) -> str:
        """How many images and steps everything has."""
        runs = [r for record in self.found.of(study) for r in record["runs"].items()]
        teachers = [run for name, run in runs if name == TEACHER]
        students = [run for name, run in runs if name != TEACHER and run["share"] == 1]
        if not (teachers and students):
            return ""
        one, other = teachers[0], min(students, key=lambda run: run["steps"])
        return (
            f"The teacher has {one['samples']} images and {one['steps']:,} steps of "
            f"{one['batch']}, students and B2 {other['samples']} pairs and {other['steps']:,} "
            "steps."
        )

    def grids(self, protocol: str) -> Iterable[str]:
        """All scores of one protocol, with labels as given and moved."""
        yield self.chart(protocol)
        for key, heading in (
            ("miou", "mIoU"),
            ("class_accuracy", "Mean class accuracy"),
            ("agreement", "Label-free agreement with the teacher on x1"),
        ):
            grid = tables.grid(self.found, protocol, key)
            moved = tables.grid(self.found, protocol, key, MOVED) if key == "miou" else ""
            yield section(heading, joined([grid, words.MOVED, moved]) if moved else grid)

    def chart(self, protocol: str) -> str:
        chart = drawings.bars(self.found, protocol)
        return self.picture(f"bars_{protocol}", chart, f"Figure 3, {protocol} pairs")

    def shared(self) -> Iterable[str]:
        yield from self.grids(SHARED)
        chart = self.picture("curves", drawings.curves(self.found), "mIoU on val against steps")
        yield section("mIoU over the steps", chart)
        made = {shift: tables.classes(self.found, SHARED, shift) for shift in SHIFTS}
        parts = [f"**{shift}**\n\n{text}" for shift, text in made.items() if text]
        yield section("Class by class", "\n\n".join(parts))

    def all_claims(self) -> Iterable[str]:
        """A section for each claim, and the figure of the last one."""
        for claim in self.claims:
            notes = "\n".join(f"- {note}" for note in claim.notes)
            text = f"{claim.text}: {claim.judgement}. {claim.numbers}".rstrip(". ") + "."
            yield section(f"Claim {claim.letter}", notes or text, text if notes else "")
        yield self.picture("agreement", drawings.scatter(self.found), "mIoU against agreement")

    def networks(self) -> Iterable[str]:
        for study, (title, about) in words.NETWORKS.items():
            made = {split: gaps.standing(self.found, study, split=split) for split in (VAL, TEST)}
            texts = [f"**On {split}**\n\n{text}" for split, text in made.items() if text]
            yield section(title, joined(texts) if made[TEST] else made[VAL], about)
            if study in FULL_WIDTH:
                yield self.full_width()

    def full_width(self) -> str:
        """The claims at both widths, and Figures 3 and 4 and the maps at full width."""
        found, before = self.found.renamed(FULL_WIDTH), {c.letter: c for c in self.claims}
        rows = [
            [c.letter, c.text, before[c.letter].judgement, c.judgement, c.number]
            for c in self.at_full_width()
            if c.verdict != MISSING
        ]
        bars, layers = drawings.bars(found, SHARED), drawings.layers(found)
        return joined([
            table(("", "claim", "width 1/4", "full width", "the number"), rows),
            self.picture("bars_full_width", bars, "Figure 3 at full width"),
            self.picture("layers_full_width", layers, "Figure 4 at full width"),
            tables.features(found), tables.sweep(found), ways(self.wide_style),
        ])  # fmt: skip

    def sensors(self) -> Iterable[str]:
        about, found = (self.folds.get(key, {}) for key in ("about", "folds"))
        grid = joined([tables.folds(found), f"*{about}*"]) if found else ""
        yield section("Red to near infrared: CWFID", grid, words.FOLDS)
        grid = tables.nights(self.thermal) if self.thermal else ""
        yield section("Visible to thermal: RoadScene", grid, words.ROADSCENE)

    def worth(self) -> str:
        sentences = "\n".join(f"- {one.sentence()}" for one in self.worths)
        chart = self.picture("labels", drawings.labels_chart(self.worths), "B2 over its labels")
        return section("What pairs are worth", joined([sentences, chart]), words.WORTH)

    def decay(self) -> str:
        parts = []
        for name, (network, starts) in zip(words.DECAYED, tables.DECAYED.items(), strict=True):
            if grid := tables.decays(self.found, starts):
                chart = self.picture(name, drawings.decay(self.found, starts),
                                     "Figure 6.1 of that thesis")  # fmt: skip
                curves = self.picture(f"{name}_curves", tasks.curves(self.found, starts),
                                      "Figures 6.2 and 6.3 of that thesis")  # fmt: skip
                parts.append(joined([f"**{network}**", grid, chart, curves]))
        return section("Pre-training and weight decay", joined(parts), words.DECAY)

    def tasks(self) -> Iterable[str]:
        yield section("Each task alone and together", tasks.together(self.found), words.TASKS)
        yield section("The conclusions of the thesis",
                      tasks.conclusions(self.found, tables.DECAYED), words.CONCLUSIONS)  # fmt: skip

    def fine_tuning(self) -> Iterable[str]:
        made = {
            "shares": lambda found: joined(
                [fine_tuning.shares(found), fine_tuning.standing(found)]),
            "classes": fine_tuning.classes,
            "imagenet": lambda found: fine_tuning.penalties(found, fine_tuning.PENALTIES),
            "wide": fine_tuning.wide, "starts": fine_tuning.starts,
            "transfer": lambda found: fine_tuning.penalties(found, fine_tuning.TRANSFER),
            "layers": fine_tuning.layers, "freezing": fine_tuning.freezing,
            "strengths": fine_tuning.strengths,
            "chosen": lambda found: joined(
                f"**{study}**\n\n{text}"
                for study in (fine_tuning.IMAGENET, fine_tuning.WIDE, fine_tuning.TRANSFER)
                if (text := fine_tuning.chosen(found, study))),
        }  # fmt: skip
        for name, (title, about) in words.FINE_TUNING.items():
            if content := made[name](self.found):
                yield section(title, content, about)

    def chain(self) -> Iterable[str]:
        grid = tables.chain(self.beside("camvid_chain.json"))
        return [grid, words.CHAIN] if grid else [words.EMPTY]

    def trust(self) -> Iterable[str]:
        found = self.found
        yield section("Learning rates", variations.rates(found), words.RATES)
        precision, draws = (variations.repeated(found, x)
                            for x in (variations.PRECISION, variations.DRAWS))  # fmt: skip
        yield section("What bfloat16 costs", precision, words.PRECISION)
        yield section("Other draws", draws, words.DRAWS)
        yield section("Machines", self.machines(), words.MADE.format(val=self.val))

    def machines(self) -> str:
        """Hardware, date, versions, seeds, duration."""
        every = [made for record in self.found.records for made in record["machines"]]
        texts = (
            {f"{m['cpu']}, {m['threads']} thread(s), {m['precision']}" for m in every},
            {gpu for made in every for gpu in made["gpus"]},
            {f"Python {m['python']}, torch {m['packages']['torch']}" for m in every},
            {f"commit {m['commit'][:7]}" for m in every if m.get("commit")},
        )
        seeds = sorted({record["seed"] for record in self.found.records})
        return (
            f"*{days(self.runs)}; {'; '.join(text for found in texts for text in sorted(found))}; "
            f"beside other work; seeds {', '.join(map(str, seeds))}; {len(self.runs)} trainings, "
            f"{self.hours():.1f} hours of training by one thread.*"
        )

    def layers(self) -> Iterable[str]:
        chart = self.picture("layers", drawings.layers(self.found), "Score by regressed layer")
        yield section("Which layers are regressed", chart, "mIoU and mean class accuracy by "
                      "regressed layer, Figure 4 of the paper; shared pairs.")  # fmt: skip
        yield section("Maps before and after", tables.features(self.found), words.FEATURES)

    def tried(self) -> Iterable[str]:
        made = tried.changes(self.records)
        yield section("What lost", tried.failed(self.found, made))
        grid = tried.tried(self.found, made)
        yield section("Closing the gap to B2", joined([grid, tried.described(made)]), words.TRIED)

    def to_come(self) -> str:
        there = {(record["study"], record["seed"]) for record in self.found.records}
        there |= {("cwfid_folds", 0)} if self.folds else set()
        there |= {("roadscene", 0)} if self.thermal else set()
        rows = [row for study, seed, *row in words.NOT_RUN if (study, seed) not in there]
        heads = ("what", "command", "core-hours, estimated", "why not")
        return table(heads, rows) or "Nothing that was planned."


PAGES: dict[str, Callable[[Pages], Iterable[str]]] = {
    "disjoint": lambda pages: pages.grids(DISJOINT),
    "shared": Pages.shared,
    "claims": Pages.all_claims,
    "networks": Pages.networks,
    "sensors": Pages.sensors,
    "layers": Pages.layers,
    "inversions": lambda pages: [
        section("Whose maps are met", ways(pages.style), words.WAYS),
        section("Pictures", words.INVERTED),
    ],
    "penalties": lambda pages: [
        section("L2-SP over alpha", tables.sweep(pages.found), words.SWEEP)
    ],
    "labels": lambda pages: [pages.worth(), pages.decay()],
    "tasks": Pages.tasks,
    "fine_tuning": Pages.fine_tuning,
    "misaligned": lambda pages: [tables.misaligned(pages.found) or words.EMPTY],
    "chain": Pages.chain,
    "shifts": lambda pages: [
        section("What each shift is and costs", tables.shifts(pages.found), words.SHIFTS),
        section("Other strengths", tables.strengths(pages.found), words.STRENGTHS),
    ],
    "trust": Pages.trust,
    "tried": Pages.tried,
    "not_run": lambda pages: [pages.to_come()],
}
"""File -> what stands on it below its first paragraph, in the order of words.PAGES."""


def style_name(study: str) -> str:
    """The file of what a study's inversions were measured by."""
    return "style.json" if study == GRID[SHARED] else f"style_{study}.json"


def claims_of(found: Evidence, style: list[dict[str, Any]]) -> list[Claim]:
    made = [*(judge(found) for judge in CLAIMS), in_style(style)]
    return sorted(made, key=lambda claim: claim.letter)


def joined(parts: Iterable[str]) -> str:
    """Paragraphs without those that are empty."""
    return "\n\n".join(filter(None, parts))


def section(title: str, content: str, note: str = "") -> str:
    return joined([f"## {title}", note, content or words.EMPTY])

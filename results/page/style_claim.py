"""003's claim about style (section 4.3, Figure 6), judged by what results/page/style.py tells."""

from statistics import fmean
from typing import Any

from adapt.settings.viz import OWN, TEACHER
from results.page.records import SHIFTS
from results.page.verdicts import Part, Verdict

MEASURES = {"gram": "Gram matrices", "colour": "colours"}
DOMAINS = {"student": "D2", "teacher": "D1"}
"""Whose style each network's inversion is claimed to have."""
NEW, EVERY = "new", "teacher_w_dec"
"""Further ways, by their folders: inversion_new/IMAGE/SHIFT.png is what scripts/invert.py makes of
the shifted image; inversion_teacher_w_dec is a study's with inversions_of=w_dec."""
WHOSE = {
    OWN: "their own maps of the D1 image",
    TEACHER: "the teacher's maps of the D1 image, whose pool5 they were taught to give to D2's",
    EVERY: "the same by students that were taught every layer (W_dec)",
    NEW: "their own maps of the D2 image (does the measure see a style?)",
}
Style = list[dict[str, Any]]


def in_style(every: Style) -> Verdict:
    """The unit is an inverted image: its inversion is nearer the claimed domain's picture of the
    same scene than the other domain's."""
    parts, counts = [], []
    style = meeting(every, OWN)
    for measure, word in MEASURES.items():
        for network, domain in DOMAINS.items():
            nearer = [pull(x, measure) for x in style if x["network"] == network]
            right = [towards > 0 if domain == "D2" else towards < 0 for towards in nearer]
            if right:
                counts.append(f"{word}: the {network}'s nearer {domain} in {share(right)}")
        for shift in SHIFTS:
            for network in DOMAINS:
                parts.append(
                    Part(f"{shift} {measure} {network}", claimed(style, shift, measure, network))
                )
    notes = [*content(style), *moved(style), *reason(every)]
    claim = "The adapted student's inversion has D1's content and D2's style, the teacher's D1's"
    return Verdict("f", claim, parts, notes, "; ".join(counts))


def meeting(style: Style, maps: str) -> Style:
    """The inversions that meet a network's own maps, or the teacher's; earlier records have the
    first only."""
    return [entry for entry in style if entry.get("maps", OWN) == maps]


def reason(every: Style) -> list[str]:
    """Why the claim fails: what an inversion is drawn to is settled by whose maps it meets. Of the
    images and shifts that were inverted in all ways."""
    ways = {
        maps: {(x["image"], x["shift"]): x for x in found if x["network"] == "student"}
        for maps in WHOSE
        if (found := meeting(every, maps))
    }
    shared = set.intersection(*(set(made) for made in ways.values())) if ways else set()
    if len(ways) < 2 or not shared:
        return []
    told = []
    for maps, made in ways.items():
        counts = []
        for measure, word in MEASURES.items():
            pulls = [pull(made[place], measure) for place in sorted(shared)]
            mean = f"{fmean(pulls):+.{2 if measure == 'gram' else 0}f}".replace("-", "\u2212")
            counts.append(f"{word} nearer D2 in {share([p > 0 for p in pulls])} (by {mean})")
        told.append(f"{WHOSE[maps]}: {', '.join(counts)}")
    return [
        "Reason tested: with its own maps as the target, as in the paper, the D1 image itself is "
        "what every network's inversion is drawn to, with no loss left; so whose maps are met was "
        f"changed, and nothing else. Students' inversions that meet {'; '.join(told)}."
    ]


def pull(entry: dict[str, Any], measure: str) -> float:
    """How much nearer D2 than D1 an inversion is; below 0 = nearer D1."""
    return float(entry[f"{measure}_d1"] - entry[f"{measure}_d2"])


def claimed(style: Style, shift: str, measure: str, network: str) -> dict[int, float]:
    """Number of the image -> how much nearer the claimed domain."""
    sign = 1 if DOMAINS[network] == "D2" else -1
    chosen = [x for x in style if (x["shift"], x["network"]) == (shift, network)]
    return {i: sign * pull(x, measure) for i, x in enumerate(chosen)}


def content(style: Style) -> list[str]:
    own = [x["content_own"] < x["content_others"] for x in style if x["network"] == "student"]
    if not own:
        return []
    return [
        f"Content: {share(own)} of the students' inversions are nearer the image that they were "
        "made from than the other images are, in the judge's pool5."
    ]


def moved(style: Style) -> list[str]:
    """A weaker form: the student's inversion has at least moved from the teacher's towards D2."""
    by_place = {(x["image"], x["shift"], x["network"]): x for x in style}
    told = []
    for measure, word in MEASURES.items():
        for shift in SHIFTS:
            further = [
                pull(x, measure) > pull(by_place[image, where, "teacher"], measure)
                for (image, where, network), x in by_place.items()
                if where == shift and network == "student"
            ]
            if further:
                told.append(f"{word}, {shift} {share(further)}")
    if not told:
        return []
    return [f"Nearer D2, relative to D1, than the teacher's inversion is: {'; '.join(told)}."]


def share(right: list[bool]) -> str:
    return f"{sum(right)} of {len(right)}"

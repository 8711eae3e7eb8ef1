"""The paper's claims (003, sections 4.3 and 5), each judged by a function of the records."""

from collections.abc import Callable, Iterable
from typing import Any

from results.page import longer
from results.page.ranking import ranked
from results.page.rates import at_best, rejected
from results.page.records import (
    GIVEN,
    GRID,
    MOVED,
    SHARED,
    SHIFTS,
    Evidence,
    differences,
    mean,
    shown,
)
from results.page.verdicts import GAIN, REACH, Part, Verdict
from results.page.words import plain_label

METHOD = "pool5"
SEVERAL = ("w_inc", "w_dec")
TRAINED = "w_inc_kd"
"""Has the classifier trained as well."""
CONTROL = "w_dec"
"""Regresses every layer, the low ones most."""
LOW = ("pool1", "pool2", "pool3")
SHORT = "camvid_evidence_short"
"""Has B1 with as many steps as B2."""
ALPHAS = {"1em4": 1e-4, "1em3": 1e-3, "1em2": 1e-2, "1em1": 1e-1}
SWEEPS = {
    "batch norm free": ("camvid_penalties", "photocopy"),
    "batch norm frozen": ("camvid_evidence_bn_eval", "photocopy_gegl"),
}
"""What a sweep over alpha is called -> its study and shift."""


def against(
    found: Evidence, study: str, a: str, b: str, shifts: Iterable[str] = SHIFTS, **how: Any
) -> list[Part]:
    """a - b in mIoU on each shift."""
    made = []
    for shift in shifts:
        gaps = differences(found.values(study, a, shift), found.values(study, b, shift))
        made.append(Part(shift, gaps, **how))
    return made


def reaches(found: Evidence) -> Verdict:
    trained, tuned = at_best(found, (TRAINED, "B2")).values()
    notes = []
    pairs = {
        f"{METHOD} minus B2": (METHOD, tuned),
        f"Reason tested: {METHOD} leaves the classifier as it was. {plain_label(trained)}, which "
        "trains it, minus B2": (trained, tuned),
    }
    if tuned != "B2":
        notes.append("B2 is at the rate that its own labels on tune choose.")
        pairs[f"{METHOD} minus B2 at {METHOD}'s rate"] = (METHOD, "B2")
    for what, (a, b) in pairs.items():
        for protocol in GRID:
            if text := listed(against(found, GRID[protocol], a, b)):
                notes.append(f"{what}, {protocol} pairs: {text}.")
    for what, (a, b) in pairs.items():
        if text := listed(against(found, longer.STUDY, a, b)):
            steps = longer.steps_of(found, longer.STUDY)
            notes.append(f"{what}, {steps:,} steps each, shared pairs: {text}.")
    for protocol in GRID:
        if text := best_without_labels(found, GRID[protocol]):
            notes.append(f"The best without labels, {protocol} pairs: {text}.")
    parts = against(found, GRID[SHARED], METHOD, tuned, least=-REACH)
    claim = f"Without labels, {METHOD} reaches B2's mIoU (to {REACH:g} point)"
    return Verdict("a", claim, parts, notes)


def listed(parts: Iterable[Part]) -> str:
    """Those that were run."""
    return ", ".join(str(part) for part in parts if part.differences)


def best_without_labels(found: Evidence, study: str) -> str:
    """On each shift the adapted student of the highest mean mIoU, at its chosen rate, beside B2."""
    texts, unchosen, tuned = [], rejected(found), at_best(found, ["B2"])["B2"]
    for shift in SHIFTS:
        b2 = found.values(study, tuned, shift)
        names = [n for n in found.names(study) if adapted(n) and n not in unchosen]
        there = {n: v for n in names if (v := found.values(study, n, shift)).keys() >= b2.keys()}
        if b2 and there:
            name = max(there, key=lambda n: mean({s: there[n][s] for s in b2}))
            gap = shown(differences(there[name], b2), signed=True)
            texts.append(f"{shift} {plain_label(name)} {gap}")
    return "; ".join(texts)


def adapted(name: str) -> bool:
    """Is it a student that was adapted without labels?"""
    baselines = ("teacher", "B0", "AdaBN", "histogram", "fda", "B1", "B2")
    return not name.startswith(baselines)


def deepest_alone(found: Evidence) -> Verdict:
    found = found.as_recorded()  # the others were not trained again
    parts = alone(found, GIVEN)
    claim = f"{METHOD} alone beats the regression of several layers"
    notes = [f"{METHOD} minus the better of {' and '.join(SEVERAL)}, seed by seed."]
    if text := listed(alone(found, MOVED)):
        notes.append(
            "Reason tested: labels that stay while content moves might favour either; against "
            f"moved labels: {text}."
        )
    return Verdict("b", claim, parts, notes)


def alone(found: Evidence, labels: str) -> list[Part]:
    """The deepest layer minus the better of several layers."""
    parts = []
    for shift in SHIFTS:
        deepest, *joint = (
            found.values(GRID[SHARED], name, shift, labels=labels) for name in (METHOD, *SEVERAL)
        )
        seeds = set(deepest).intersection(*joint)
        parts.append(Part(shift, {s: deepest[s] - max(v[s] for v in joint) for s in sorted(seeds)}))
    return parts


def increasing(found: Evidence) -> Verdict:
    parts = against(found, GRID[SHARED], *SEVERAL, ("cubism",))
    elsewhere = listed(against(found, GRID[SHARED], *SEVERAL, ("photocopy", "ripple")))
    notes = [f"Elsewhere: {elsewhere}."] * bool(elsewhere)
    return Verdict("c", "W_inc beats W_dec on cubism", parts, notes)


def low_layers(found: Evidence) -> Verdict:
    """Photocopy gains from layers up to pool3, ripple and cubism do not."""
    parts, beyond = [], []
    for shift in SHIFTS:
        for layer in LOW:
            gains = differences(
                found.values(GRID[SHARED], layer, shift), found.values(GRID[SHARED], "B0", shift)
            )
            parts.append(Part(f"{shift} {layer}", gains, GAIN, negated=shift != "photocopy"))
            free = found.values(GRID[SHARED], "AdaBN", shift)
            over = differences(found.values(GRID[SHARED], layer, shift), free)
            if over:
                beyond.append(f"{shift} {layer} {shown(over, signed=True)}")
    notes = [f"A gain is more than {GAIN:g} point over B0."]
    if beyond:
        notes.append(
            "Reason tested: the student's batch norm moves whatever is regressed, so AdaBN, which "
            f"moves nothing else, is the fairer line. Over AdaBN: {', '.join(beyond)}."
        )
    claim = "Photocopy gains already with layers up to pool3; ripple and cubism do not"
    return Verdict("d", claim, parts, notes)


def finetuned(found: Evidence) -> Verdict:
    tuned = at_best(found, ["B2"])["B2"]
    parts = against(found, GRID[SHARED], tuned, "B1")
    notes = [
        f"{name} has {scores[0].run['steps']:,} steps {whence}."
        for name, whence in (("B1", "from scratch, as the teacher"), ("B2", "from the teacher"))
        if (scores := [s for s in found.scores if (s.study, s.name) == (GRID[SHARED], name)])
    ]
    for what, finetuned_in, scratch_in in (
        ("minus B1 with no more steps than B2 has", GRID[SHARED], SHORT),
        ("with as many steps as B1 has, minus B1", longer.STUDY, GRID[SHARED]),
    ):
        gaps = [
            Part(s, differences(found.values(finetuned_in, tuned, s), scratch))
            for s in SHIFTS
            if (scratch := found.values(scratch_in, "B1", s))
        ]
        if text := listed(gaps):
            notes.append(f"Reason tested: B2 {what}: {text}.")
    return Verdict("e", "B2 (fine-tuned) beats B1 (from scratch)", parts, notes)


def maps_return(found: Evidence) -> Verdict:
    parts = returns(found, METHOD)
    notes = []
    if control := returns(found, CONTROL):
        notes.append(
            f"Reason tested: {METHOD} leaves what lies below it free. With {CONTROL}, which "
            f"regresses those layers too: {counted(control)}."
        )
    claim = "Feature maps move back towards the teacher's, at every layer"
    return Verdict("g", claim, parts, notes, counted(parts))


def returns(found: Evidence, method: str) -> list[Part]:
    """How much nearer the teacher's each layer's maps are after than before, on each shift."""
    parts = []
    for record in found.of(GRID[SHARED]):
        for shift in SHIFTS:
            before = record["features"].get(f"before {shift}", [])
            after = record["features"].get(f"after {shift}/{method}", [])
            for old, new in zip(before, after, strict=False):
                what = f"{shift} {old['layer']}, seed {record['seed']}"
                seed = record["seed"]
                nearer = old["distance"] - new["distance"]
                parts.append(Part(f"{what}: distance", {seed: nearer}))
                parts.append(Part(f"{what}: R2", {seed: new["r2"] - old["r2"]}))
    return parts


def counted(parts: list[Part]) -> str:
    """In how many layers, shifts and seeds distances fell and R2 rose."""
    counts = []
    for kind, word in (("distance", "smaller"), ("R2", "higher")):
        gains = [d for part in parts if part.what.endswith(kind) for d in part.differences.values()]
        if gains:
            counts.append(f"{kind} {word} in {sum(d > 0 for d in gains)} of {len(gains)}")
    return "; ".join(counts) + " (layer, shift, seed)" if counts else ""


def anchored(found: Evidence) -> Verdict:
    """L2-SP at the strength that agreement on `tune` chooses, against none."""
    parts, notes = [], []
    for what, (study, shift) in SWEEPS.items():
        alpha = chosen_alpha(found, study, shift)
        if not alpha:
            continue
        name, none = f"{METHOD}_l2_sp_{alpha}", f"{METHOD}_none"
        for domain, where in (("D2", shift), ("D1", "")):
            gaps = differences(found.values(study, name, where), found.values(study, none, where))
            parts.append(Part(f"{what}, alpha {ALPHAS[alpha]:g}, {domain}", gaps))
        notes.append(f"{what}: agreement on tune chooses alpha {ALPHAS[alpha]:g} among the four.")
    claim = "L2-SP helps: in accuracy on D2, and in what is kept on D1"
    return Verdict("h", claim, parts, notes)


def chosen_alpha(found: Evidence, study: str, shift: str) -> str:
    """The strength of the highest mean agreement on `tune`; `` = none was scored there."""
    scored = {
        alpha: found.values(study, f"{METHOD}_l2_sp_{alpha}", shift, "agreement", split="tune")
        for alpha in ALPHAS
    }
    most = max((len(v) for v in scored.values()), default=0)
    complete = {alpha: mean(v) for alpha, v in scored.items() if v and len(v) == most}
    return max(complete, key=lambda a: complete[a]) if complete else ""


CLAIMS: tuple[Callable[[Evidence], Verdict], ...] = (
    reaches, deepest_alone, increasing, low_layers, finetuned, maps_return, anchored, ranked,
)  # fmt: skip
"""All but that about style (results/page/style_claim.py), which has a record of its own."""

"""The paper's claims (003, sections 4.3 and 5), each judged by a function of the records: by
differences between runs of one seed, never by differences of means."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from results.page.comparisons import Claim, Comparison
from results.page.records import (
    GIVEN,
    GRID,
    MOVED,
    SHARED,
    SHIFTS,
    TUNE,
    VAL,
    Evidence,
    differences,
    mean,
    percent,
)
from results.page.variations import LONG, LR, SCRATCH, TUNED, at_best, rejected, steps_of
from results.page.words import plain_label

REACH = 1.0
"""Points of mIoU by which `reaches` may fall short."""
GAIN = 1.0
"""Points of mIoU from which on something counts as a gain: about what seeds differ by."""
RANKED = 0.8
"""Spearman's rho from which on agreement counts as ranking checkpoints."""
FEWEST = 5
"""Checkpoints below which no rank correlation is computed."""
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
SWEPT = "camvid_penalties"
SWEEPS = {
    "batch norm free": (SWEPT, "photocopy"),
    "batch norm frozen": ("camvid_evidence_bn_eval", "photocopy_gegl"),
}
"""What a sweep over alpha is called -> its study and shift."""


def against(
    found: Evidence, study: str, a: str, b: str, shifts: Iterable[str] = SHIFTS, **how: Any
) -> list[Comparison]:
    """a - b in mIoU on each shift."""
    return [Comparison(shift, found.gap(study, a, b, shift), **how) for shift in shifts]


def listed(comparisons: Iterable[Comparison]) -> str:
    """Those that were run."""
    return ", ".join(str(one) for one in comparisons if one.differences)


def reaches(found: Evidence) -> Claim:
    method, trained, tuned = at_best(found, (METHOD, TRAINED, "B2")).values()
    notes = ["B2 is at the rate that its own labels on tune choose."] * (tuned != "B2")
    pairs = {
        f"{METHOD} minus B2": (method, tuned),
        f"Reason tested: {METHOD} leaves the classifier as it was. {plain_label(trained)}, which "
        "trains it, minus B2": (trained, tuned),
    }
    if method.partition(LR)[2] != tuned.partition(LR)[2]:
        pairs[f"{METHOD} minus B2 at {METHOD}'s rate"] = (method, f"B2{method[len(METHOD) :]}")
    for what, (a, b) in pairs.items():
        for protocol in GRID:
            if text := listed(against(found, GRID[protocol], a, b)):
                notes.append(f"{what}, {protocol} pairs: {text}.")
    for what, (a, b) in pairs.items():
        if text := listed(against(found, LONG, a, b)):
            notes.append(f"{what}, {steps_of(found, LONG):,} steps each, shared pairs: {text}.")
    for protocol in GRID:
        if text := best_without_labels(found, GRID[protocol]):
            notes.append(f"The best without labels, {protocol} pairs: {text}.")
    text = f"Without labels, {METHOD} reaches B2's mIoU (to {REACH:g} point)"
    return Claim("a", text, against(found, GRID[SHARED], method, tuned, least=-REACH), notes)


def best_without_labels(found: Evidence, study: str) -> str:
    """On each shift the adapted student of the highest mean mIoU, at its chosen rate, beside B2."""
    baselines = ("teacher", "B0", "AdaBN", "histogram", "fda", "B1", "B2")
    dropped, tuned = rejected(found), at_best(found, ["B2"])["B2"]
    names = [n for n in found.names(study) if not n.startswith(baselines) and n not in dropped]
    texts = []
    for shift in SHIFTS:
        b2 = found.values(study, tuned, shift)
        there = {n: v for n in names if (v := found.values(study, n, shift)).keys() >= b2.keys()}
        if b2 and there:
            name = max(there, key=lambda n: mean({s: there[n][s] for s in b2}))
            gap = percent(differences(there[name], b2), signed=True)
            texts.append(f"{shift} {plain_label(name)} {gap}")
    return "; ".join(texts)


def deepest_alone(found: Evidence) -> Claim:
    found = found.as_recorded()  # the others were not trained again
    notes = [f"{METHOD} minus the better of {' and '.join(SEVERAL)}, seed by seed."]
    if text := listed(alone(found, MOVED)):
        notes.append(
            "Reason tested: labels that stay while content moves might favour either; against "
            f"moved labels: {text}."
        )
    text = f"{METHOD} alone beats the regression of several layers"
    return Claim("b", text, alone(found, GIVEN), notes)


def alone(found: Evidence, labels: str) -> list[Comparison]:
    """The deepest layer minus the better of several layers."""
    made = []
    for shift in SHIFTS:
        deepest, *joint = (
            found.values(GRID[SHARED], name, shift, labels=labels) for name in (METHOD, *SEVERAL)
        )
        seeds = sorted(set(deepest).intersection(*joint))
        made.append(Comparison(shift, {s: deepest[s] - max(v[s] for v in joint) for s in seeds}))
    return made


def increasing(found: Evidence) -> Claim:
    elsewhere = listed(against(found, GRID[SHARED], *SEVERAL, ("photocopy", "ripple")))
    notes = [f"Elsewhere: {elsewhere}."] * bool(elsewhere)
    made = against(found, GRID[SHARED], *SEVERAL, ("cubism",))
    return Claim("c", "W_inc beats W_dec on cubism", made, notes)


def low_layers(found: Evidence) -> Claim:
    """Photocopy gains from layers up to pool3, ripple and cubism do not."""
    made, beyond = [], []
    for shift in SHIFTS:
        for layer in LOW:
            gains = found.gap(GRID[SHARED], layer, "B0", shift)
            negated = shift != "photocopy"
            made.append(Comparison(f"{shift} {layer}", gains, GAIN, negated))
            if over := found.gap(GRID[SHARED], layer, "AdaBN", shift):
                beyond.append(f"{shift} {layer} {percent(over, signed=True)}")
    notes = [f"A gain is more than {GAIN:g} point over B0."]
    if beyond:
        notes.append(
            "Reason tested: the student's batch norm moves whatever is regressed, so AdaBN, which "
            f"moves nothing else, is the fairer line. Over AdaBN: {', '.join(beyond)}."
        )
    text = "Photocopy gains already with layers up to pool3; ripple and cubism do not"
    return Claim("d", text, made, notes)


def finetuned(found: Evidence) -> Claim:
    tuned = at_best(found, ["B2"])["B2"]
    notes = [
        f"{name} has {scores[0].run['steps']:,} steps {whence}."
        for name, whence in (("B1", "from scratch, as the teacher"), ("B2", "from the teacher"))
        if (scores := [s for s in found.scores if (s.study, s.name) == (GRID[SHARED], name)])
    ]
    for what, finetuned_in, scratch_in in (
        ("minus B1 with no more steps than B2 has", GRID[SHARED], SHORT),
        ("with as many steps as B1 has, minus B1", LONG, GRID[SHARED]),
    ):
        gaps = (Comparison(s, found.gap(finetuned_in, tuned, "B1", s, scratch_in)) for s in SHIFTS)
        if text := listed(gaps):
            notes.append(f"Reason tested: B2 {what}: {text}.")
    text = "B2 (fine-tuned) beats B1 (from scratch)"
    return Claim("e", text, against(found, GRID[SHARED], tuned, "B1"), notes)


def maps_return(found: Evidence) -> Claim:
    method = at_best(found, [METHOD])[METHOD]
    made, control, notes = returns(found, method), returns(found, CONTROL), []
    if control:
        notes.append(
            f"Reason tested: {METHOD} leaves what lies below it free. With {CONTROL}, which "
            f"regresses those layers too: {counted(control)}."
        )
    text = "Feature maps move back towards the teacher's, at every layer"
    return Claim("g", text, made, notes, counted(made), counted(made))


def maps_of(found: Evidence, shift: str, method: str) -> list[tuple[int, dict, dict]]:
    """Seed, and a layer's maps before and after, of every record of the shared grid."""
    made = []
    for record in found.of(GRID[SHARED]):
        maps = (
            record["features"].get(k, []) for k in (f"before {shift}", f"after {shift}/{method}")
        )
        made += [(record["seed"], old, new) for old, new in zip(*maps, strict=False)]
    return made


def returns(found: Evidence, method: str) -> list[Comparison]:
    """How much nearer the teacher's each layer's maps are after than before, on each shift."""
    made = []
    for shift in SHIFTS:
        for seed, old, new in maps_of(found, shift, method):
            what = f"{shift} {old['layer']}, seed {seed}"
            nearer = old["distance"] - new["distance"]
            made.append(Comparison(f"{what}: distance", {seed: nearer}))
            made.append(Comparison(f"{what}: R2", {seed: new["r2"] - old["r2"]}))
    return made


def counted(made: list[Comparison]) -> str:
    """In how many layers, shifts and seeds distances fell and R2 rose."""
    counts = []
    for kind, word in (("distance", "smaller"), ("R2", "higher")):
        gains = [d for one in made if one.what.endswith(kind) for d in one.differences.values()]
        if gains:
            counts.append(f"{kind} {word} in {sum(d > 0 for d in gains)} of {len(gains)}")
    return "; ".join(counts) + " (layer, shift, seed)" if counts else ""


def anchored(found: Evidence) -> Claim:
    """L2-SP at the strength that agreement on `tune` chooses, against none."""
    made, notes = [], []
    for what, (study, shift) in SWEEPS.items():
        alpha = chosen_alpha(found, study, shift)
        if not alpha:
            continue
        for domain, where in (("D2", shift), ("D1", "")):
            gaps = found.gap(study, f"{METHOD}_l2_sp_{alpha}", f"{METHOD}_none", where)
            made.append(Comparison(f"{what}, alpha {ALPHAS[alpha]:g}, {domain}", gaps))
        notes.append(f"{what}: agreement on tune chooses alpha {ALPHAS[alpha]:g} among the four.")
    text = "L2-SP helps: in accuracy on D2, and in what is kept on D1"
    return Claim("h", text, made, notes)


def chosen_alpha(found: Evidence, study: str, shift: str) -> str:
    """The strength of the highest mean agreement on `tune`; `` = none was scored there."""
    scored = {
        alpha: found.values(study, f"{METHOD}_l2_sp_{alpha}", shift, "agreement", split=TUNE)
        for alpha in ALPHAS
    }
    most = max((len(v) for v in scored.values()), default=0)
    complete = {alpha: mean(v) for alpha, v in scored.items() if v and len(v) == most}
    return max(complete, key=lambda a: complete[a]) if complete else ""


class Checkpoint(NamedTuple):
    """An evaluated checkpoint of an adapted student."""

    protocol: str
    shift: str
    seed: int
    agreement: float
    miou: float


def checkpoints(found: Evidence) -> list[Checkpoint]:
    """Of all students, those that were trained again included; of a training that was not scored on
    its way the last one."""
    protocols = {at: p for p, study in GRID.items() for at in found.places(study)}
    last = {
        (s.study, s.seed, s.numbers["run"]): {"agreement_miou": agreed, "miou": s.numbers["miou"]}
        for s in found.scores
        if (s.labels, s.split) == (GIVEN, VAL) and not s.name.startswith((SCRATCH, TUNED))
        if (agreed := s.numbers["agreement"]) is not None
    }
    return [
        Checkpoint(
            protocols[study], run["shift"], record["seed"],
            point["agreement_miou"], point["miou"],
        )
        for record in found.records
        if (study := record["study"]) in protocols
        for place, run in record["runs"].items()
        if run["shift"] in SHIFTS
        for point in run["curve"] or [last.get((study, record["seed"], place), {})]
        if "agreement_miou" in point
    ]  # fmt: skip


def correlation(points: Sequence[Checkpoint]) -> float | None:
    """Spearman's rho; None of too few, or where one of the two is the same for all."""
    from scipy.stats import spearmanr

    both = [p.agreement for p in points], [p.miou for p in points]
    if len(points) < FEWEST or any(len({*values}) == 1 for values in both):
        return None
    return float(spearmanr(*both).statistic)


def ranked(found: Evidence) -> Claim:
    """Judged within shifts: over all of them any score would rise and fall with the others."""
    points = checkpoints(found)
    made, pooled, own = [], [], []
    for protocol in GRID:
        there = [p for p in points if p.protocol == protocol]
        if (rho := correlation(there)) is not None:
            pooled.append(f"{protocol}: {rho:.2f} over {len(there)}")
        for shift in SHIFTS:
            dots = [p for p in there if p.shift == shift]
            if (rho := correlation(dots)) is None:
                continue
            words = f"{protocol}, {shift}: {rho:.2f} over {len(dots)}"
            made.append(Comparison(f"{protocol} {shift}", {0: rho}, RANKED, words=words))
            seeds = sorted({p.seed for p in dots})
            within = [correlation([p for p in dots if p.seed == seed]) for seed in seeds]
            if text := ", ".join(f"{rho:.2f}" for rho in within if rho is not None):
                own.append(f"{protocol}, {shift}: {text}")
    text = (
        "Label-free agreement ranks a shift's checkpoints as true mIoU does (Spearman's rho above "
        f"{RANKED:g})"
    )
    notes = [f"Checkpoints of all shifts together: {'; '.join(pooled)}."] * bool(pooled)
    if own:
        notes.append(
            "Reason tested: each seed has its teacher, and a user chooses among the students of "
            f"one. Within a seed, {'; '.join(own)}."
        )
    return Claim("i", text, made, notes)


CLAIMS: tuple[Callable[[Evidence], Claim], ...] = (
    reaches, deepest_alone, increasing, low_layers, finetuned, maps_return, anchored, ranked,
)  # fmt: skip
"""All but that about style (results/page/style.py), which has a record of its own."""

"""A number for the style of inverted images (003, Figure 6) in the eyes of a third network, and
the claim about it (section 4.3).

The judge is another seed's teacher: it took no part in making the images, and both domains'
pictures are held against the same maps.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt.data.augment import resize
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import Model, load_model
from adapt.networks.taps import forward
from adapt.settings.viz import OWN, TEACHER
from results.page.comparisons import Claim, Comparison
from results.page.records import SHIFTS, table, with_minus
from results.page.records_of_runs import rounded
from viz.inversion.command import ORIGINAL, TAPS
from viz.inversion.style import gram

INVERSIONS = "inversion"
"""Folder of a study's inversions; of others with a suffix."""
DEEPEST = "pool5"
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
Maps = Mapping[str, Tensor]
Style = list[dict[str, Any]]


def style_record(runs: Path, judge: Path) -> Style:
    """For each inverted image and shift of a study, and for teacher and student: distances of the
    inversion to x1 (`d1`) and to x2 (`d2`), the lesser the more alike.

    `maps` says which maps it meets, from its folder: `own` in inversion/, `teacher` in
    inversion_teacher/ (a study's with inversion.maps=teacher), and so on.

    `gram`: see gram_distance, over pool1 to pool5; `colour`: see colour_distance; `content_own` and
    `content_others`: relative distance of the judge's pool5 maps to those of the image that was
    inverted, and the mean of that to the other images'.

    Raises:
        InputError: no inversions, or no partner of an inverted image.
    """
    folders = sorted(path.parent for path in runs.glob(f"{INVERSIONS}*/*/{ORIGINAL}.png"))
    if not folders:
        raise InputError(f"judge: {runs} has no {INVERSIONS}/*/{ORIGINAL}.png")
    model = load_model(judge, "judge")
    originals = {f.name: read_image(f / f"{ORIGINAL}.png") for f in folders}
    content = {name: maps_of(model, image)[DEEPEST] for name, image in originals.items()}
    made = []
    for folder in folders:
        x1 = originals[folder.name]
        inverted = {p.stem: read_image(p) for p in folder.glob("*.png")}
        maps = folder.parent.name.removeprefix(INVERSIONS).lstrip("_") or OWN
        twins = (path.parent.name for path in runs.glob("shifts/*/manifest.json"))
        for shift in sorted(name for name in twins if name in inverted):
            references = {"d1": x1, "d2": partner(runs, shift, folder.name, x1.shape[:2])}
            for network, name in (("teacher", TEACHER), ("student", shift)):
                if name not in inverted:
                    continue
                seen, image = maps_of(model, inverted[name]), inverted[name]
                entry: dict[str, Any] = {"image": folder.name, "shift": shift, "network": network}
                entry["maps"] = maps
                for domain, reference in references.items():
                    entry[f"gram_{domain}"] = gram_distance(seen, maps_of(model, reference))
                    entry[f"colour_{domain}"] = colour_distance(image, reference)
                others = [apart(seen[DEEPEST], v) for n, v in content.items() if n != folder.name]
                entry["content_own"] = apart(seen[DEEPEST], content[folder.name])
                entry["content_others"] = float(np.mean(others)) if others else None
                made.append({key: rounded(value, 4) for key, value in entry.items()})
    return made


def partner(runs: Path, shift: str, name: str, size: tuple[int, ...]) -> np.ndarray:
    """The same scene in the shifted twin, brought to (H, W)."""
    found = sorted((runs / "shifts" / shift).rglob(f"{name}.png"))
    images = [path for path in found if "annot" not in path.parent.name]
    if not images:
        raise InputError(f"judge: {runs / 'shifts' / shift} has no image named {name}")
    return resize({"x2": read_image(images[0])}, list(size))["x2"]


def maps_of(model: Model, image: np.ndarray) -> Maps:
    """The judge's maps of uint8 (H, W, 3), fp32."""
    pixels = as_input(tensor(image)[None], model.network)
    with torch.no_grad(), eval_mode(model.net):
        return forward(model.net, pixels, TAPS)


def gram_distance(a: Maps, b: Maps) -> float:
    """Mean over layers of 2 |G_a - G_b|^2 / (|G_a|^2 + |G_b|^2): 0 = alike, 2 = orthogonal."""
    found = []
    for name in a:
        one, other = gram(a[name]).double(), gram(b[name]).double()
        size = one.square().sum() + other.square().sum()
        found.append(float(2 * (one - other).square().sum() / size))
    return float(np.mean(found))


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over channels of the Wasserstein distance of the values' distributions, 0 to 255, of
    two uint8 (H, W, 3) of one size."""
    ordered = [np.sort(image.reshape(-1, 3).astype(float), axis=0) for image in (a, b)]
    return float(np.abs(ordered[0] - ordered[1]).mean())


def apart(a: Tensor, b: Tensor) -> float:
    """|a - b|^2 / |b|^2."""
    return float((a - b).double().square().sum() / b.double().square().sum())


def in_style(every: Style) -> Claim:
    """The unit is an inverted image: its inversion is nearer the claimed domain's picture of the
    same scene than the other domain's."""
    made, counts = [], dict[str, float]()
    style = meeting(every, OWN)
    for measure, word in MEASURES.items():
        for network, domain in DOMAINS.items():
            right = [pull(x, measure, domain) > 0 for x in style if x["network"] == network]
            if right:
                words = f"{word}: the {network}'s nearer {domain} in {share(right)}"
                counts[words] = sum(right) / len(right)
        for shift in SHIFTS:
            for network, domain in DOMAINS.items():
                chosen = [x for x in style if (x["shift"], x["network"]) == (shift, network)]
                nearer = {i: pull(x, measure, domain) for i, x in enumerate(chosen)}
                made.append(Comparison(f"{shift} {measure} {network}", nearer))
    notes = moved_notes(style)
    own = [x["content_own"] < x["content_others"] for x in style if x["network"] == "student"]
    if own:
        notes.insert(
            0,
            f"Content: {share(own)} of the students' inversions are nearer the image that they "
            "were made from than the other images are, in the judge's pool5.",
        )
    if ways(every):
        notes.append("Reason tested: [whose maps are met](inversions.md) decides it.")
    text = "The adapted student's inversion has D1's content and D2's style, the teacher's D1's"
    fewest = min(counts, key=counts.__getitem__, default="")
    return Claim("f", text, made, notes, "; ".join(counts), fewest)


def meeting(style: Style, maps: str) -> Style:
    """The inversions that meet a network's own maps, or the teacher's; earlier records have the
    first only."""
    return [entry for entry in style if entry.get("maps", OWN) == maps]


def pull(entry: dict[str, Any], measure: str, domain: str = "D2") -> float:
    """How much nearer `domain` than the other one an inversion is."""
    nearer = float(entry[f"{measure}_d1"] - entry[f"{measure}_d2"])
    return nearer if domain == "D2" else -nearer


def share(right: list[bool]) -> str:
    return f"{sum(right)} of {len(right)}"


def moved_notes(style: Style) -> list[str]:
    """A weaker form: the student's inversion has at least moved from the teacher's towards D2."""
    by_place = {(x["image"], x["shift"], x["network"]): x for x in style}
    counts = []
    for measure, word in MEASURES.items():
        for shift in SHIFTS:
            further = [
                pull(x, measure) > pull(by_place[x["image"], shift, "teacher"], measure)
                for x in style
                if (x["shift"], x["network"]) == (shift, "student")
            ]
            if further:
                counts.append(f"{word}, {shift} {share(further)}")
    if not counts:
        return []
    return [f"Nearer D2, relative to D1, than the teacher's inversion is: {'; '.join(counts)}."]


def ways(every: Style) -> str:
    """What an inversion is drawn to is settled by whose maps it meets: students' inversions in each
    way, of the images and shifts that were inverted in all of them; `` with one way."""
    students = {
        maps: {(x["image"], x["shift"]): x for x in found if x["network"] == "student"}
        for maps in WHOSE
        if (found := meeting(every, maps))
    }
    shared = sorted(set.intersection(*(set(made) for made in students.values()))) if every else []
    rows = []
    for maps, made in students.items():
        cells = [WHOSE[maps]]
        for measure in MEASURES:
            pulls = [pull(made[place], measure) for place in shared]
            nearer = with_minus(f"{fmean(pulls):+.{2 if measure == 'gram' else 0}f}")
            cells += [share([p > 0 for p in pulls]), nearer]
        rows.append(cells)
    heads = [text for word in MEASURES.values() for text in (f"{word}: nearer D2", "by")]
    return table(("the inversion meets", *heads), rows) if len(rows) > 1 and shared else ""

"""A number for the style of inverted images (003, Figure 6), in the eyes of a third network.

The judge is another seed's teacher: it took no part in making the images, and both domains'
pictures are held against the same maps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapt.data.augment import resize
from adapt.data.images import read_image
from adapt.data.sampling import tensor
from adapt.errors import InputError
from adapt.networks.batchnorm import eval_mode
from adapt.networks.saved import Model, load_model
from adapt.networks.taps import forward, normalise
from adapt.settings.viz import OWN
from results.page.records_of_runs import TEACHER, rounded
from viz.inversion.command import ORIGINAL, TAPS
from viz.inversion.style import gram

INVERSIONS = "inversion"
"""Folder of a study's inversions; of others with a suffix."""
DEEPEST = "pool5"
Maps = Mapping[str, Tensor]


def style_record(runs: Path, judge: Path) -> list[dict[str, Any]]:
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
        for shift in sorted(path.parent.name for path in runs.glob("shifts/*/manifest.json")):
            if shift not in inverted:
                continue
            x2 = partner(runs, shift, folder.name, x1.shape[:2])
            references = {"d1": x1, "d2": x2}
            shown = {"teacher": inverted.get(TEACHER), "student": inverted[shift]}
            for network, image in shown.items():
                if image is None:
                    continue
                seen = maps_of(model, image)
                entry: dict[str, Any] = {"image": folder.name, "shift": shift, "network": network}
                entry["maps"] = folder.parent.name.removeprefix(INVERSIONS).lstrip("_") or OWN
                for domain, reference in references.items():
                    entry[f"gram_{domain}"] = gram_distance(seen, maps_of(model, reference))
                    entry[f"colour_{domain}"] = colour_distance(image, reference)
                others = [v for name, v in content.items() if name != folder.name]
                entry["content_own"] = apart(seen[DEEPEST], content[folder.name])
                entry["content_others"] = (
                    float(np.mean([apart(seen[DEEPEST], v) for v in others])) if others else None
                )
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
    shown = normalise(tensor(image)[None], model.network.mean, model.network.std)
    with torch.no_grad(), eval_mode(model.net):
        return forward(model.net, shown, TAPS)


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

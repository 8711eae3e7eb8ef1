"""What a training did to a network, in numbers: weights, scores on the source, Fisher information.

After Li, Grandvalet and Davoine (ICML 2018), sections 5.1 and 5.3.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adapt.penalties import split_shared
from adapt.penalties.split import by_layer

WHISKERS = 1.5
"""Reach of a box-plot's whiskers in interquartile ranges (Tukey)."""
QUARTILES = ("whislo", "q1", "med", "q3", "whishi")


def box(values: np.ndarray, label: str) -> dict[str, Any]:
    """What a box-plot of some numbers shows, under the names that matplotlib's `Axes.bxp` reads.

    Whiskers end at the last value within WHISKERS interquartile ranges of the box; how many lie
    beyond is `outliers` (`fliers`, the values, stays empty: a layer may have millions). Values that
    are not finite are left out; of none at all everything but `n` is NaN.
    """
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    made = {"label": label, "n": len(values)}
    if not len(values):
        empty = dict.fromkeys(("mean", *QUARTILES), float("nan"))
        return made | empty | {"outliers": 0, "fliers": []}
    q1, median, q3 = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    reach = WHISKERS * (q3 - q1)
    inside = values[(values >= q1 - reach) & (values <= q3 + reach)]
    ends = min(float(inside.min()), q1), q1, median, q3, max(float(inside.max()), q3)
    shape = {"mean": float(values.mean())} | dict(zip(QUARTILES, ends, strict=True))
    return made | shape | {"outliers": len(values) - len(inside), "fliers": []}


def weight_distances(
    net: nn.Module, start_point: dict[str, Tensor]
) -> tuple[list[dict], list[str]]:
    """How far each layer's parameters are from where they started, and the parameters that the
    start does not have (by name and shape).

    Rows: `distance` |w - w0|, `relative` to |w0| (NaN where that is 0), `rms` over the elements,
    `largest` |w_j - w0_j|. The last row, layer `(all)`, is of all shared parameters together.
    """
    shared, new = split_shared(net, start_point)
    modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
    layers, rows = by_layer(net, shared), []
    if layers:
        layers["(all)"] = [name for names in layers.values() for name in names]
    for layer, names in layers.items():
        w0 = torch.cat([start_point[n].detach().cpu().double().flatten() for n in names])
        w = torch.cat([parameters[n].detach().cpu().double().flatten() for n in names])
        distance, size = float((w - w0).norm()), float(w0.norm())
        row = {
            "layer": layer,
            "type": type(modules[layer]).__name__ if layer in modules else "",
            "parameters": len(w),
            "start": size,
            "distance": distance,
            "relative": distance / size if size else float("nan"),
            "rms": distance / len(w) ** 0.5,
            "largest": float((w - w0).abs().max()),
        }
        rows.append(row)
    return rows, sorted(new)


def fisher_boxes(values: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Box-plots of log10 F for each layer (001, Figure 5), in the file's order of names.

    Elements that are 0 have no logarithm: they are counted as `zero` and left out of the box.
    `share` is the layer's part of the sum of all of F, `mean` its mean F, zeros included.
    """
    layers: dict[str, list[Tensor]] = {}
    for name, value in values.items():
        layers.setdefault(name.rpartition(".")[0], []).append(value.double().flatten())
    total = sum(float(v.sum()) for parts in layers.values() for v in parts)
    rows = []
    for layer, parts in layers.items():
        every = torch.cat(parts).numpy()
        positive = every[every > 0]
        row = {
            "layer": layer,
            "parameters": len(every),
            "zero": len(every) - len(positive),
            "mean": float(every.mean()),
            "share": float(every.sum()) / total if total else float("nan"),
            "log10": box(np.log10(positive), layer),
        }
        rows.append(row)
    return rows


def drops(before: dict[str, float], after: dict[str, float]) -> dict[str, dict[str, float]]:
    """What each score, in percent, lost (001, Table 5: in points), and the share of it that is."""
    found = {}
    for key in (k for k in before if k in after):
        old, new = before[key], after[key]
        share = 100 * (old - new) / old if old else float("nan")
        found[key] = {"before": old, "after": new, "drop": old - new, "relative": share}
    return found

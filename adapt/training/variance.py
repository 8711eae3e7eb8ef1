"""The variance of a teacher's maps, by which distance=variance divides."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from adapt.data import DataSet
from adapt.data.sampling import Stream, collate
from adapt.disk.runs import CONFIG, read_config
from adapt.errors import InputError
from adapt.machine.processes import on_rank_zero
from adapt.machine.runtime import Runtime, say
from adapt.machine.workers import loading, unwrapped
from adapt.networks.batchnorm import eval_mode
from adapt.networks.preprocessing import as_input
from adapt.networks.saved import Model
from adapt.networks.taps import forward
from adapt.objective.distances import inside
from adapt.settings.mapping import teachers_network
from adapt.settings.training import TrainConfig

IMAGES = 64
"""From which it is estimated, where there are as many."""
GIVE = "give objective.regression.variance={layer: variance}"


def with_variance(
    config: TrainConfig, data: DataSet, teacher: Model | None, machine: Runtime
) -> TrainConfig:
    """The configuration with the variances that it needs and lacks: what the run has recorded, else
    an estimate, which a line tells."""
    regression, record = config.objective.regression, Path(config.run) / CONFIG
    lacks = regression.weight and regression.distance == "variance" and not regression.variance
    if not lacks or teacher is None:
        return config

    def find() -> dict[str, float]:
        known: dict[str, float] = {}
        if record.is_file():
            known = read_config(record.parent)["objective"]["regression"]["variance"]
        fits = known.keys() == regression.taps.keys()
        return known if fits else estimated(config, data, teacher, machine)

    found = replace(regression, variance=on_rank_zero(find))
    return replace(config, objective=replace(config.objective, regression=found))


@torch.no_grad()
def estimated(
    config: TrainConfig, data: DataSet, teacher: Model, machine: Runtime
) -> dict[str, float]:
    """By layer the variance of a channel over the valid cells of x1, mean over the channels, to six
    digits: of the first training images of `data` as the first epoch shows them. The teacher itself
    computes the maps; a cache of them is neither read nor filled.

    Raises:
        InputError: no images, or a layer whose maps are the same everywhere.
    """
    taps = list(config.objective.regression.taps)
    stream = Stream(data, config.data, ["x1", "valid"], config.seed)
    network = teachers_network(config.teacher_network, config.network)
    count = min(IMAGES, stream.count)
    places = torch.arange(count).split(config.batch)
    loader = loading(
        stream, config.workers, batch_sampler=[p.tolist() for p in places], collate_fn=collate
    )
    moments: dict[str, Tensor] = defaultdict(lambda: torch.zeros(3, 1, dtype=torch.float64))
    net = machine.place(teacher.net)
    for batch in unwrapped(loader) if count else ():
        images = as_input(machine.images(batch["x1"]), network)
        with machine.autocast(), eval_mode(net):
            maps = forward(net, images, taps)
        for tap, found in maps.items():
            cells = found.float().movedim(1, 0).flatten(1)  # (C, N)
            mask = inside(found, batch.get("valid"))
            if mask is not None:
                cells = cells[:, mask.flatten().bool().to(cells.device)]
            powers = (torch.ones_like(cells), cells, cells.square())
            moments[tap] = moments[tap] + torch.stack(
                [p.sum(dim=1, dtype=torch.float64).cpu() for p in powers]
            )
    if not moments:
        raise InputError(f"distance=variance: there is no training image to estimate from; {GIVE}")
    variances = {}
    for tap, (cells, total, squares) in moments.items():
        found = (squares / cells - (total / cells).square()).mean().item()
        if not found > 0:
            raise InputError(
                f"distance=variance: the teacher's maps of {tap} are the same everywhere in "
                f"{count} training images; take it out of taps, or {GIVE}"
            )
        variances[tap] = float(f"{found:.6g}")
    shown = ", ".join(f"{tap} {found:.3g}" for tap, found in variances.items())
    say(f"variance of the teacher's maps in {count} training images: {shown}")
    return variances

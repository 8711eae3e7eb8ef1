"""Gradients of objectives on this process's share of a batch, written to a file a process:

shares.py FOLDER, in the environment that torchrun gives
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tiny import adapting, teaching

from adapt.data.images import IGNORE
from adapt.machine.processes import processes, rank, world
from adapt.objective.terms import Objective
from adapt.settings.choices import DISTANCES
from adapt.settings.groups import (
    AlsoConfig,
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
)
from adapt.settings.objective import (
    KDConfig,
    ObjectiveConfig,
    PseudoConfig,
    RegressionConfig,
    StitchConfig,
    SupervisedConfig,
)
from adapt.settings.training import TrainConfig
from adapt.training.train import train

SIZE, CLASSES, IMAGES = (12, 10), 5, 4
VARIANCE = {"variance": {"pool3": 0.5}}
OBJECTIVES = {
    "supervised": ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0)),
    "kd": ObjectiveConfig("kd", kd=KDConfig(1.0)),
    "pseudo": ObjectiveConfig("pseudo", pseudo=PseudoConfig(1.0, tau=0.2)),
    "sure": ObjectiveConfig("sure", RegressionConfig(1.0, {"pool3": 1.0}, confidence=0.5)),
    "log": ObjectiveConfig(
        "log", RegressionConfig(1.0, {"pool3": 1, "logits": 2}, weighting="log")
    ),
    "pseudo_share": ObjectiveConfig("share", pseudo=PseudoConfig(1.0, tau=0.2, weighting="share")),
    **{
        d: ObjectiveConfig(
            d, RegressionConfig(1.0, {"pool3": 1.0}, d, variance=VARIANCE.get(d, {}))
        )
        for d in DISTANCES
    },
}


RUNS = ("affine", "average", "student", "famo", "heads", "stitch")


def batch(masked: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Student's and teacher's maps of four images, and the batch; most of what does not count lies
    in the first two images."""
    rng = torch.Generator().manual_seed(3)

    def maps() -> dict[str, Tensor]:
        return {
            "pool3": torch.randn(4, 6, 3, 3, generator=rng, dtype=torch.float64).float(),
            "logits": torch.randn(4, CLASSES, 3, 3, generator=rng, dtype=torch.float64).float(),
        }

    student, teacher = maps(), maps()
    labels = torch.randint(CLASSES, (4, *SIZE), generator=rng)
    labels[0, :9], labels[1, 3:] = IGNORE, IGNORE
    given = {"y": labels, "x1": torch.zeros(4, 3, *SIZE)}
    if masked:
        valid = torch.ones(4, *SIZE, dtype=torch.uint8)
        valid[0, 2:], valid[1, :, :7], valid[3, 5:7] = 0, 0, 0
        given["valid"] = valid
    return student, teacher, given


def gradient(config: ObjectiveConfig, masked: bool, images: slice) -> Tensor:
    """Of the loss on some of the images to a shift of each of the student's channels that grows
    with the square of what is there, to which no distance is indifferent."""
    student, teacher, given = batch(masked)
    shift = torch.zeros(6 + CLASSES, requires_grad=True)
    moved = {
        tap: of[images] + own[:, None, None] * (1 + of[images].square())
        for (tap, of), own in zip(student.items(), shift.split([6, CLASSES]), strict=True)
    }
    target = {k: v[images] for k, v in teacher.items()}
    loss, _ = Objective(config)(moved, target, {k: v[images] for k, v in given.items()})
    loss.backward()
    assert shift.grad is not None
    return shift.grad


def heads(folder: Path, run: Path) -> TrainConfig:
    """Two heads, each with the labels of some images, that step asynchronously."""
    both = {"a": 0.5, "b": 0.5}
    data = DataConfig(name="camvid", root=str(folder / "d1"), crop=[32, 40], parts=both, part="a")
    data.tasks = {"low": {"sky": [0, 1, 2, 3, 4, 5], "road": [6, 7, 8, 9, 10]}}
    also = AlsoConfig(name="camvid", parts=both, part="b")
    also.tasks = {"odd": {"odd": [1, 3, 5, 7, 9], "even": [0, 2, 4, 6, 8, 10]}}
    network = NetworkConfig(name="sunet64", width=1 / 8)
    schedule = ScheduleConfig(lr=0.02, asynchronous=5)
    how = {"also": also, "network": network, "schedule": schedule, "bn": "eval"}
    return teaching(folder, run=str(run), data=data, batch=4, steps=6, **how)


if __name__ == "__main__":
    with processes():
        share = IMAGES // world()
        own = slice(rank() * share, (rank() + 1) * share)
        found = {
            f"{name}, {'masked' if masked else 'whole'}": gradient(config, masked, own)
            for name, config in OBJECTIVES.items()
            for masked in (False, True)
        }
        folder, count = Path(sys.argv[1]), world()
        torch.save(found, folder / f"{count}_{rank()}.pt")
        torch.set_num_threads(1)
        train(adapting(folder, folder / f"affine_{count}", batch=4, steps=6, bn="affine"))
        config = adapting(folder, folder / f"average_{count}", batch=4, steps=6, bn="eval", ema=0.9)
        train(replace(config, schedule=ScheduleConfig(optimizer="adamw", lr=1e-3)))
        smaller = {"network": NetworkConfig(width=1 / 64), "start": "none"}
        pull = PenaltyConfig("none")
        config = adapting(folder, folder / f"student_{count}", batch=4, steps=6, bn="eval")
        train(replace(config, penalty=pull, **smaller))
        rule = RegressionConfig(1.0, {"pool1": 0.5, "pool3": 1.0}, weighting="famo", beta=5.0)
        how = {"batch": 4, "steps": 6, "bn": "eval", "objective": ObjectiveConfig("famo", rule)}
        train(adapting(folder, folder / f"famo_{count}", **how))
        config = adapting(folder, folder / f"stitch_{count}", batch=4, steps=6, bn="eval")
        objective = ObjectiveConfig("stitch", stitch=StitchConfig(1.0, ["pool1", "pool3"]))
        train(replace(config, objective=objective))
        train(heads(folder, folder / f"heads_{count}"))

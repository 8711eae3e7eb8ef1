"""Several heads in training: losses that add up, asynchronous SGD, and runs that go on."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny import SUPERVISED, curve, interrupted, refused, same, teaching, weights
from torch import Tensor, nn

from adapt.data.scenes import write_scenes
from adapt.disk.runs import read_metrics
from adapt.networks.taps import forward
from adapt.objective.terms import Objective
from adapt.penalties import Penalty
from adapt.settings.groups import AlsoConfig, DataConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.objective import (
    KDConfig,
    ObjectiveConfig,
    RegressionConfig,
    SupervisedConfig,
)
from adapt.settings.training import TrainConfig
from adapt.training.schedules import make_optimizer, set_rate
from adapt.training.tasks import owners
from adapt.training.train import train
from adapt.training.updates import Asynchronous, Update

MOVABLE = {"background": [0, 1, 3, 4, 5, 7], "pole": [2], "sign": [6], "car": [8, 9, 10]}
COUNTS = {"a": 3, "b": 2}
SIZE, VOID = (6, 8), 255


def two_maps(world: Path, run: Path, **changes: object) -> TrainConfig:
    data = DataConfig(
        name="camvid", root=str(world / "d1"), target=str(world / "d2"),
        crop=[32, 40], tasks={"semantic": {}, "movable": MOVABLE},
    )  # fmt: skip
    return replace(teaching(world, run=str(run), data=data, steps=3), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "drawn"
    write_scenes(root, train=4, val=2, seed=0, size=(48, 64))
    return root


def two_sets(world: Path, run: Path, scenes: Path, **changes: object) -> TrainConfig:
    """CamVid and scenes, as E7 of the thesis has two data sets."""
    config = TrainConfig(
        schedule=ScheduleConfig("cosine", lr=0.02, asynchronous=3),
        data=DataConfig(
            name="camvid", root=str(world / "d1"), crop=[32, 40], tasks={"semantic": {}}
        ),
        also=AlsoConfig(name="scenes", root=str(scenes), tasks={"things": {}}),
    )
    own = {"schedule": config.schedule, "data": config.data, "also": config.also}
    return replace(teaching(world, run=str(run), steps=6), **(own | changes))  # type: ignore[arg-type]


def test_losses_of_both_maps_are_added(world: Path, tmp_path: Path) -> None:
    half = replace(SUPERVISED, supervised=SupervisedConfig(2.0, {"movable": 0.25}))
    train(two_maps(world, tmp_path / "run", objective=half, eval_every=3))
    *lines, scored = read_metrics(tmp_path / "run")
    for line in lines:
        raw = {name: part["raw"] for name, part in line["parts"].items()}
        assert list(raw) == ["supervised/semantic", "supervised/movable"]
        expected = 2 * raw["supervised/semantic"] + 0.5 * raw["supervised/movable"]
        assert line["loss"] == pytest.approx(expected, rel=1e-6)
    scores = {f"{task}/{name}" for task in ("semantic", "movable") for name in ("miou", "loss")}
    assert scores <= scored["evaluation"].keys()
    assert {k for k in weights(tmp_path / "run") if k.startswith("classifier")} == {
        f"classifier.{task}.{of}" for task in ("semantic", "movable") for of in ("weight", "bias")
    }


@pytest.mark.parametrize("several", [False, True], ids=["one map", "both maps"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_with_every_batch_is_plain_sgd_bit_for_bit(
    world: Path, tmp_path: Path, several: bool, optimizer: str
) -> None:
    made = two_maps if several else lambda world, run: teaching(world, run=str(run), steps=3)
    plain = ScheduleConfig("cosine", optimizer, lr=0.02, warmup=2)
    for name, images in (("plain", 0), ("counted", 2)):
        config = made(world, tmp_path / name)
        train(replace(config, schedule=replace(plain, asynchronous=images)))
    assert same(tmp_path / "plain", tmp_path / "counted")
    assert curve(tmp_path / "plain") == curve(tmp_path / "counted")


class Toy(nn.Module):
    """A body without batch statistics and two linear heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh())
        self.a, self.b = (nn.Conv2d(4, n, 1) for n in COUNTS.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(x)
        return {"a": self.a(maps), "b": self.b(maps)}


def image(number: int, tasks: str) -> dict[str, Tensor]:
    """An image with labels of `tasks`, of which more are void the higher its number is."""
    made = torch.Generator().manual_seed(number)
    found = {"x1": torch.randn(3, *SIZE, generator=made)}
    for task, count in COUNTS.items():
        labels = torch.randint(0, count, SIZE, generator=made, dtype=torch.uint8)
        labels[torch.rand(SIZE, generator=made) < number % 4 / 5] = VOID
        found |= {f"y_{task}": labels if task in tasks else torch.full_like(labels, VOID)}
        found |= {f"has_{task}": torch.tensor(task in tasks)}
    return found


def stacked(images: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([one[key] for one in images]) for key in images[0]}


def trained(
    batches: list[dict[str, Tensor]],
    tasks: str,
    schedule: ScheduleConfig,
    penalty: PenaltyConfig | None = None,
    shares: dict[str, float] | None = None,
    body: bool = True,
) -> Iterator[dict[str, Tensor]]:
    """The weights of a Toy after each of some batches."""
    net = Toy()
    net.body.requires_grad_(body)
    term = SupervisedConfig(1.0, dict.fromkeys(tasks, 1.0))
    objective = Objective(replace(SUPERVISED, supervised=term))
    apart = owners(net, objective, tasks, SIZE)
    optimizer = make_optimizer(net, (), schedule, owners=apart)
    pull, size = Penalty(net, None, penalty or PenaltyConfig()), len(batches[0]["x1"])
    update = Update(optimizer, pull)
    if schedule.asynchronous:
        update = Asynchronous(optimizer, pull, schedule, len(batches), size, shares or {})
    for step, batch in enumerate(batches):
        set_rate(optimizer, step, len(batches), schedule)
        loss, _ = objective(forward(net, batch["x1"], objective.student), {}, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        update(batch, 0.0)
        yield {k: v.detach().clone() for k, v in net.named_parameters()}


COSINE = ScheduleConfig("cosine", lr=0.5, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize("tasks", ["a", "ab"])
def test_accumulated_batches_are_one_large_batch(tasks: str) -> None:
    """With one task of unequal void; with both where all pixels count (image 0 and 4, ...)."""
    images = [image(i if tasks == "a" else 4 * i, tasks) for i in range(12)]
    small = [stacked(images[i : i + 2]) for i in range(0, 12, 2)]
    large = [stacked(images[i : i + 6]) for i in range(0, 12, 6)]
    *_, counted = trained(small, tasks, replace(COSINE, asynchronous=6))
    *_, plain = trained(large, tasks, COSINE)
    assert all(torch.allclose(counted[k], plain[k], rtol=1e-5, atol=1e-6) for k in plain)


def test_each_head_steps_by_the_images_of_its_task() -> None:
    """On a body that rests, against SGD written out: a window of at least 4 images of the task, the
    mean over their labelled pixels, momentum and the rate at the head's own progress."""
    drawn = torch.Generator().manual_seed(5)
    tasks = ["ab"[i] for i in torch.randint(0, 2, (24,), generator=drawn)]
    images = [image(i, task) for i, task in enumerate(tasks)]
    shares = {task: tasks.count(task) / 24 for task in "ab"}
    batches = [stacked(images[i : i + 3]) for i in range(0, 24, 3)]
    *_, found = trained(batches, "ab", replace(COSINE, asynchronous=4), shares=shares, body=False)
    for task in "ab":
        net = Toy()
        head, before, window = getattr(net, task), 0, list[dict[str, Tensor]]()
        momentum = [torch.zeros_like(p) for p in head.parameters()]
        for start in range(0, 24, 3):
            window += [images[i] for i in range(start, start + 3) if tasks[i] == task]
            if len(window) < 4:
                continue
            batch = stacked(window)
            logits = head(net.body(batch["x1"]))
            labels = batch[f"y_{task}"].long()
            loss = nn.functional.cross_entropy(logits, labels, ignore_index=VOID)
            rate = 0.5 * 0.5 * (1 + math.cos(math.pi * before / (24 * shares[task])))
            gradients = torch.autograd.grad(loss, list(head.parameters()))
            with torch.no_grad():
                for p, v, g in zip(head.parameters(), momentum, gradients, strict=True):
                    v.mul_(0.9).add_(g + 0.1 * p)
                    p.sub_(rate * v)
            before, window = before + len(window), []
        assert before >= 8
        for name, p in head.named_parameters():
            assert torch.allclose(found[f"{task}.{name}"], p, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("apply", ["decay", "gradient", "decoupled", "proximal"])
def test_what_has_not_seen_enough_is_moved_by_nothing(apply: str) -> None:
    """Not by the momentum of its last step, by decay, or by a penalty; what steps is."""
    order = ["b", "b", "a", "a", "a"]
    batches = [stacked([image(2 * i, t), image(2 * i + 1, t)]) for i, t in enumerate(order)]
    schedule = replace(COSINE, name="constant", asynchronous=4, lr=0.1)
    pull = PenaltyConfig("l2", 0.1, 0.1, apply=apply) if apply != "decay" else None
    schedule = schedule if apply == "decay" else replace(schedule, weight_decay=0.0)
    states = list(trained(batches, "ab", schedule, pull))
    moves = [
        {k.partition(".")[0] for k in now if not torch.equal(now[k], before[k])}
        for before, now in pairwise([dict(Toy().named_parameters()), *states])
    ]
    assert moves == [set(), {"b", "body"}, set(), {"a", "body"}, set()]


def test_the_rate_that_is_logged_is_the_one_that_is_used(world: Path, tmp_path: Path) -> None:
    """Of windows of two batches: the rate follows the images that have been learnt from."""
    schedule = ScheduleConfig("poly", lr=0.02, power=1.0, asynchronous=4)
    run = train(teaching(world, run=str(tmp_path / "run"), schedule=schedule, steps=4))
    assert [line["lr"] for line in read_metrics(run)] == [0.02, 0.02, 0.01, 0.01]


def test_a_run_on_two_data_sets_resumes_bit_for_bit(
    world: Path, tmp_path: Path, scenes: Path
) -> None:
    """From between two steps of the heads, whose gradients, counters and momentum come back."""
    straight = two_sets(world, tmp_path / "a", scenes, checkpoint_every=2)
    train(straight)
    broken = replace(straight, run=str(tmp_path / "b"))
    interrupted(broken, 5)
    train(broken)
    assert same(tmp_path / "a", tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": replace(SUPERVISED, supervised=SupervisedConfig(1, {"road": 1}))},
         "supervised.tasks: 'road' is not known"),
        ({"objective": replace(SUPERVISED, kd=KDConfig(1.0)), "teacher": "teacher", "domain": "d2"},
         "objective.kd is for one head; the data has semantic, movable"),
        *(({"objective": ObjectiveConfig("x", RegressionConfig(1.0, {tap: 1.0})),
            "teacher": "teacher", "domain": "d2"}, f"taps: {tap}: logits are regressed of networks")
          for tap in ("logits", "logits/movable")),
        ({"start": "teacher"}, "one head, the data movable, semantic; .*start=backbone:RUN"),
    ],
)  # fmt: skip
def test_what_several_heads_cannot_be_is_refused(
    world: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    places = {k: str(world / str(v)) for k, v in changes.items() if v == "teacher"}
    refused(two_maps(world, tmp_path / "run", **(changes | places)), message)

"""Whole trainings: where a step's time goes, and whether the loader keeps up on CamVid."""

import os
import tempfile
import time
from itertools import islice

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from adapt.data import load
from adapt.data.sampling import Stream, batches
from adapt.settings.groups import DataConfig, NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.settings.training import TrainConfig
from adapt.training.train import train
from benchmarks.measure import gpu_wait
from benchmarks.on_gpu.given import NOTHING, Given, note
from benchmarks.on_gpu.supervised import batch_of, ours
from benchmarks.steps import LR, network

STEPS, ROWS = 3, 16


def profiled(given: Given) -> None:
    """The operations that take most of the product's step, by the device's own time."""
    count = given.batches[-1]
    step = ours(given, network(width=given.width), batch_of(given, count))
    step()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * given.on_gpu
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        gpu_wait()()
    kind, order = DeviceType.CPU, "self_cpu_time_total"
    if given.on_gpu:
        kind, order = DeviceType.CUDA, "self_device_time_total"
    rows = [
        row
        for row in found.key_averages()
        if row.device_type == kind and not row.is_user_annotation
    ]
    rows.sort(key=lambda row: -getattr(row, order))
    busy, calls = sum(getattr(row, order) for row in rows), sum(row.count for row in rows)
    lines = [f"batch {count} {busy / 1000 / STEPS:8.3f} ms a step in {calls / STEPS:.0f} calls"]
    lines += [
        f"batch {count} {getattr(row, order) / 1000 / STEPS:8.3f} ms a step, "
        f"{row.count / STEPS:4.0f} calls: {row.key[:70]}"
        for row in rows[:ROWS]
    ]
    note(given, NOTHING, lines, batch=count)


def camvid(given: Given) -> None:
    """Images a second that the loader alone delivers, and that the product's training takes."""
    cores, batch = len(os.sched_getaffinity(0)), given.batches[0]
    counts = (0, 1) if given.small else (max(1, cores // 4), max(1, cores - 2))
    lines, figures = [], {}
    for workers in counts:
        config = config_of(given, "", workers, batch)
        loaded = loading(config, given)
        with tempfile.TemporaryDirectory() as folder:
            early, late = training(config_of(given, folder, workers, batch))
        figures[str(workers)] = {"loader": loaded, "first_half": early, "second_half": late}
        lines.append(
            f"{workers:2} workers: the loader alone {loaded:.0f} images/s; training "
            f"{early:.0f} in the first half of {given.steps} steps of {batch}, {late:.0f} in the "
            "second"
        )
    note(given, NOTHING, lines, batch=batch, images_per_second=figures)


def config_of(given: Given, folder: str, workers: int, batch: int) -> TrainConfig:
    """A teacher on whole frames at full width, decoded images kept in memory."""
    return TrainConfig(
        run=f"{folder}/teacher",
        data=DataConfig(name="camvid", root=given.camvid, cache=True),
        network=NetworkConfig(width=given.width),
        objective=ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0)),
        penalty=PenaltyConfig("l2", 5e-4, 5e-4),
        schedule=ScheduleConfig(lr=LR),
        steps=given.steps,
        batch=batch,
        checkpoint_every=10**6,
        device=given.device,
        precision="bf16",
        workers=workers,
    )


def loading(config: TrainConfig, given: Given) -> float:
    """Images a second behind the first tenth of the batches."""
    stream = Stream(load(config.data, "train"), config.data, ["x1", "y1"], config.seed)
    source = batches(stream, config.batch, 0, config.steps, config.workers, pin=given.on_gpu)
    skipped = max(1, config.steps // 10)
    for _ in islice(source, skipped):
        pass
    started = time.perf_counter()
    counted = sum(config.batch for _ in source)
    return counted / (time.perf_counter() - started)


def training(config: TrainConfig) -> tuple[float, float]:
    """Images a second in both halves of a training, behind its first tenth."""
    times: list[float] = []
    train(config, lambda step: times.append(time.perf_counter()))
    first, middle = len(times) // 10, len(times) // 2
    early = (middle - first) / (times[middle] - times[first])
    late = (len(times) - 1 - middle) / (times[-1] - times[middle])
    return config.batch * early, config.batch * late

"""The supervised step: the product's against what each of its conveniences costs."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from adapt.data.images import IGNORE
from adapt.data.sampling import Batch
from adapt.networks.taps import upsample
from adapt.settings.objective import ObjectiveConfig, SupervisedConfig
from adapt.training.schedules import set_rate
from adapt.training.setup import Setup
from adapt.training.train import one_step
from benchmarks.measure import Variant
from benchmarks.on_gpu.device import peak
from benchmarks.on_gpu.flops import BATCH, ITERATIONS
from benchmarks.on_gpu.flops import supervised as flops_of
from benchmarks.on_gpu.given import Given, Tried, note, tried
from benchmarks.steps import LR, MEAN, STD, network, prepared


def batch_of(given: Given, count: int) -> Batch:
    """Noise, with labels and some void; pinned where a GPU reads it, as the loader leaves it."""
    shape = (given.size, given.size)
    images = torch.randint(0, 256, (count, 3, *shape), dtype=torch.uint8)
    labels = torch.randint(0, given.classes, (count, *shape), dtype=torch.uint8)
    labels[:, :2] = IGNORE
    batch = {"x1": images, "y": labels}
    return {
        "name": [],
        **({k: t.pin_memory() for k, t in batch.items()} if given.on_gpu else batch),
    }


def resident(given: Given, batch: Batch) -> Batch:
    machine = given.machine
    moved = {"x1": machine.images(batch["x1"]), "y": batch["y"].to(machine.device)}
    return {"name": [], **moved}


def setup_of(given: Given, net: nn.Module) -> Setup:
    """As a fine-tuning has it: SGD with momentum, L2-SP, checks on."""
    objective = ObjectiveConfig("supervised", supervised=SupervisedConfig(1.0))
    return replace(prepared(net, objective, "bf16", given.device), teacher=None)


def ours(given: Given, net: nn.Module, batch: Batch, **compiling: Any) -> Variant:
    """The product's step; `compiling` are options of torch.compile."""
    setup = setup_of(given, net)
    if compiling:
        setup.student.compile(**compiling)
    return lambda: one_step(setup, batch, 0)


def fused(given: Given, net: nn.Module, batch: Batch) -> Variant:
    """The product's step with PyTorch's fused SGD instead of the foreach one."""
    setup = setup_of(given, net)
    kept = ("params", "lr", "momentum", "weight_decay", "multiplier")
    groups = [{k: group[k] for k in kept} for group in setup.optimizer.param_groups]
    setup.optimizer = torch.optim.SGD(groups, fused=True)
    return lambda: one_step(setup, batch, 0)


def whitener(device: torch.device) -> Callable[[Tensor], Tensor]:
    """`adapt.networks.taps.normalise` with its constants on the device already."""
    mean, std = (255 * torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return lambda images: images.float().sub_(mean).div_(std)


def unread(given: Given, net: nn.Module, batch: Batch) -> Variant:
    """The product's step without what the host waits for: images and constants are on the device,
    loss and norm are computed but never read."""
    setup, there = setup_of(given, net), resident(given, batch)
    whiten = whitener(setup.machine.device)

    def step() -> Tensor:
        set_rate(setup.optimizer, 0, setup.config.steps, setup.config.schedule)
        with setup.machine.autocast():
            maps = setup.tapped(whiten(there["x1"]))
        loss, _ = setup.objective(maps, {}, {"y": there["y"]})
        setup.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [p.grad for p in setup.student.parameters() if p.grad is not None]
        torch.nn.utils.get_total_norm(gradients)
        setup.penalty.before_step(setup.optimizer)
        setup.optimizer.step()
        setup.penalty.after_step(setup.optimizer)
        return loss.detach()

    return step


def floor(given: Given, net: nn.Module, batch: Batch) -> Variant:
    """Forward, loss, backward, SGD by hand, nothing beside."""
    machine, there = given.machine, resident(given, batch)
    student = machine.place(deepcopy(net)).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    whiten, labels = whitener(machine.device), there["y"].long()

    def step() -> Tensor:
        with machine.autocast():
            logits = student(whiten(there["x1"]))
        loss = loss_of(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    size = (labels.shape[1], labels.shape[2])
    return nn.functional.cross_entropy(upsample(logits.float(), size), labels, ignore_index=IGNORE)


def rates(given: Given, found: Tried, count: int) -> tuple[list[str], dict[str, Any]]:
    """Images and FLOPs a second of every variant, as lines and for the record."""
    flops, (most, source) = flops_of(given.size, given.classes, given.width), peak(given)
    lines, figures = [], {}
    for name in found.seconds:
        seconds = found.median(name) or float("nan")
        images, done = count / seconds, count * flops / seconds
        training = ITERATIONS * BATCH / images / 60
        figures[name] = {
            "images_per_second": images,
            "tflops": done / 1e12,
            "utilisation": done / most,
            "papers_training_minutes": training,
        }
        lines.append(
            f"batch {count:3} {name:<26} {1000 * seconds:8.2f} ms  {images:7.0f} images/s  "
            f"{done / 1e12:6.1f} TFLOP/s = {100 * done / most:5.1f} % of {source}  "
            f"the paper's training {training:6.2f} min"
        )
    return lines, {
        "batch": count,
        "flops_an_image": flops,
        "rates": figures,
        "peak": [most, source],
    }


def supervised(given: Given) -> None:
    net = network(classes=given.classes, width=given.width)
    for number, count in enumerate(given.batches):
        batch = batch_of(given, count)
        pageable = {k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.items()}
        there = resident(given, batch)
        makers: dict[str, Callable[[], Variant]] = {
            "ours": lambda batch=batch: ours(given, net, batch),
            "floor": lambda batch=batch: floor(given, net, batch),
        }
        pairs = [("ours", "floor")]
        if not given.search:
            makers |= {
                "ours unread": lambda batch=batch: unread(given, net, batch),
                "ours pageable": lambda batch=pageable: ours(given, net, batch),
                "ours resident": lambda batch=there: ours(given, net, batch),
                "ours fused SGD": lambda batch=batch: fused(given, net, batch),
            }
            pairs += [(f"ours {what}", "ours") for what in ("unread", "pageable", "resident")]
            pairs += [("ours fused SGD", "ours")]
        found = tried(given, makers, pairs, share=1 / (len(given.batches) - number))
        lines, figures = rates(given, found, count)
        note(given, found, lines, **figures)

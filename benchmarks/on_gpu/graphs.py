"""CUDA graphs and torch.compile, tried on the supervised step and on the adaptation's floor."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from adapt.data.sampling import Batch
from adapt.networks.batchnorm import freeze
from benchmarks.measure import Variant
from benchmarks.on_gpu.given import Given, note, tried
from benchmarks.on_gpu.supervised import batch_of, floor, loss_of, ours, rates, resident, whitener
from benchmarks.steps import LR, network

WARM = 3
"""Steps in front of a capture."""


def captured(given: Given, net: nn.Module, batch: Batch, whole: bool) -> Variant:
    """The floor with forward and backward pass replayed as one graph; `whole` = SGD too, whose
    rate then stays what it was."""
    machine, there = given.machine, resident(given, batch)
    student = machine.place(deepcopy(net)).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    whiten, labels = whitener(machine.device), there["y"].long()

    def passes() -> Tensor:
        with torch.autocast(machine.device.type, torch.bfloat16, cache_enabled=False):
            logits = student(whiten(there["x1"]))
        loss = loss_of(logits, labels)
        loss.backward()
        return loss.detach()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            optimizer.zero_grad(set_to_none=True)
            passes()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        loss = passes()
        if whole:
            optimizer.step()

    def step() -> Tensor:
        graph.replay()
        if not whole:
            optimizer.step()
        return loss

    return step


def graphed(given: Given, net: nn.Module, batch: Batch) -> Variant:
    """The floor with the network's two passes as graphs (`make_graphed_callables`)."""
    machine, there = given.machine, resident(given, batch)
    student = machine.place(deepcopy(net)).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    whiten, labels = whitener(machine.device), there["y"].long()

    def autocast() -> torch.autocast:
        return torch.autocast(machine.device.type, torch.bfloat16, cache_enabled=False)

    with autocast():
        replayed = torch.cuda.make_graphed_callables(student, (whiten(there["x1"]),))

    def step() -> Tensor:
        with autocast():
            logits = replayed(whiten(there["x1"]))
        loss = loss_of(logits, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def graphs(given: Given) -> None:
    """The floor against its captured forms: how much of a step is launches."""
    net = network(width=given.width)
    for number, count in enumerate(given.batches):
        batch = batch_of(given, count)
        makers: dict[str, Callable[[], Variant]] = {
            "floor": lambda batch=batch: floor(given, net, batch)
        }
        if given.on_gpu:
            makers |= {
                "graph of both passes": lambda batch=batch: captured(given, net, batch, False),
                "graph of the step": lambda batch=batch: captured(given, net, batch, True),
                "graphed callables": lambda batch=batch: graphed(given, net, batch),
            }
        pairs = [("floor", name) for name in makers if name != "floor"]
        found = tried(given, makers, pairs, share=1 / (len(given.batches) - number))
        lines, figures = rates(given, found, count)
        note(given, found, lines, **figures)


def compiling(given: Given, mode: str) -> dict[str, Any]:
    """Options of torch.compile; tests take a backend that compiles nothing."""
    backend: dict[str, Any] = {"backend": "aot_eager"} if given.small else {"mode": mode}
    return {"dynamic": False, **backend}


def compiled(given: Given) -> None:
    """The product's step with its network compiled, and the adaptation's floor with both networks
    compiled; a line of the record for each, the slowest to compile last."""
    net, batches = network(width=given.width), given.batches[::-1]
    trials = [("default", count) for count in batches]
    trials += [("reduce-overhead", batches[-1]), ("max-autotune-no-cudagraphs", batches[0])]
    for mode, count in trials[: 1 if given.small else None]:
        batch, name = batch_of(given, count), f"ours compiled {mode}"
        options = compiling(given, mode)
        makers: dict[str, Callable[[], Variant]] = {
            "ours": lambda batch=batch: ours(given, net, batch),
            name: lambda batch=batch, options=options: ours(given, net, batch, **options),
        }
        found = tried(given, makers, [("ours", name)], share=0.5)
        lines, figures = rates(given, found, count)
        note(given, found, [*lines, graph_count(name)], mode=mode, **figures)


def graph_count(what: str) -> str:
    """How many graphs torch.compile has made, because it may make none and say nothing; they are
    forgotten."""
    from torch._dynamo.utils import counters  # takes seconds, which other parts can do without

    made = counters["stats"]["unique_graphs"]
    counters.clear()
    torch.compiler.reset()
    return f"{what}: {made} graphs compiled"


def body(net: nn.Module, tap: str) -> nn.Sequential:
    """The network's layers up to a pooling."""
    names = [f"{kind}{number}" for number in range(1, 6) for kind in ("conv", "pool")]
    return nn.Sequential(*(net.get_submodule(n) for n in names[: names.index(tap) + 1]))


def truncated(given: Given, net: nn.Module, tap: str, batch: Batch, options: Any) -> Variant:
    """The adaptation's floor on networks that end at the tap."""
    machine, there = given.machine, resident(given, batch)
    student, teacher = (machine.place(body(deepcopy(net), tap)) for _ in range(2))
    seen, taught = student, freeze(teacher)
    if options:  # not `.compile()`, which leaves a Sequential as it is and does not say so
        seen, taught = (torch.compile(one, **options) for one in (student, taught))
    optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
    whiten = whitener(machine.device)

    def step() -> Tensor:
        images = whiten(there["x1"])
        with machine.autocast():
            with torch.no_grad():
                target = taught(images).float()
            found = seen(images.flip(-1)).float()
        loss = (found - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def compiled_adaptation(given: Given) -> None:
    """The adaptation's floor, eager and compiled."""
    net, batches = network(width=given.width), given.batches[::-1]
    for tap in ("pool5", "pool3"):
        for count in batches:
            batch, options = batch_of(given, count), compiling(given, "default")
            makers: dict[str, Callable[[], Variant]] = {
                name: lambda b=batch, t=tap, o=how: truncated(given, net, t, b, o)
                for name, how in (("floor", {}), ("floor compiled", options))
            }
            found = tried(given, makers, [("floor", "floor compiled")], share=0.5)
            lines = [
                f"{tap} batch {count} {name}: {1000 * (found.median(name) or 0):.2f} ms"
                for name in found.seconds
            ]
            note(given, found, [*lines, graph_count(f"{tap} batch {count}")], tap=tap, batch=count)

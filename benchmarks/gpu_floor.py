"""The step that benchmarks/gpu_parts.py holds the product's against: by hand, nothing beside."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from adapt.data.images import IGNORE
from adapt.data.sampling import Batch
from adapt.machine.runtime import runtime
from adapt.networks.batchnorm import freeze
from adapt.networks.taps import upsample
from adapt.penalties import Penalty
from adapt.settings.groups import PenaltyConfig
from benchmarks.measure import Variant
from benchmarks.steps import ALPHA, LR, MEAN, STD

MACHINE = runtime("auto", "bf16")


class Floor:
    """A step by hand, nothing beside: supervised, or with a pooling as `tap` the adaptation on
    networks that end there. `compiling` are options of torch.compile, of the frozen teacher alone
    with `teacher_only`; with `checked`, L2-SP acts and the gradient's norm is computed, but the
    host reads neither norm nor loss."""

    def __init__(
        self, net: nn.Module, batch: Batch, tap: str = "", checked: bool = False,
        teacher_only: bool = False, **compiling: Any,
    ) -> None:  # fmt: skip
        self.cached, device = True, MACHINE.device
        self.images, self.labels = MACHINE.images(batch["x1"]), batch["y"].to(device).long()
        if tap:
            names = [f"{kind}{n}" for n in range(1, int(tap[-1]) + 1) for kind in ("conv", "pool")]
            net = nn.Sequential(*(net.get_submodule(name) for name in names))
        self.net = student = MACHINE.place(deepcopy(net)).train()
        self.teacher = freeze(MACHINE.place(deepcopy(net))) if tap else None
        self.optimizer = torch.optim.SGD(student.parameters(), lr=LR, momentum=0.9)
        start = {k: v.clone() for k, v in student.state_dict().items()}
        l2_sp = PenaltyConfig("l2_sp", ALPHA, ALPHA)
        self.penalty = Penalty(student, start, l2_sp) if checked else None
        if compiling:  # not `.compile()`, which leaves a Sequential as it is and does not say so
            self.teacher = torch.compile(self.teacher, **compiling)
            if not teacher_only:
                self.net = torch.compile(student, **compiling)
        constants = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.mean, self.std = (255 * values for values in constants)

    def autocast(self) -> torch.autocast:
        """A CUDA graph must not keep the weights that autocast casts."""
        return torch.autocast(MACHINE.device.type, torch.bfloat16, cache_enabled=self.cached)

    def normalised(self) -> Tensor:
        return self.images.float().sub_(self.mean).div_(self.std)

    def loss(self) -> Tensor:
        images = self.normalised()
        with self.autocast():
            if self.teacher is not None:
                with torch.no_grad():
                    target = self.teacher(images).float()
                return (self.net(images.flip(-1)).float() - target).square().mean()
            logits = self.net(images).float()
        logits = upsample(logits, (self.labels.shape[1], self.labels.shape[2]))
        return nn.functional.cross_entropy(logits, self.labels, ignore_index=IGNORE)

    def step(self, update: bool = True) -> Tensor:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        if self.penalty is not None:
            torch.nn.utils.get_total_norm([p.grad for p in self.net.parameters()])
            self.penalty.before_step(self.optimizer)
        if update:
            self.optimizer.step()
        return loss.detach()

    def captured(self, whole: bool) -> Variant:
        """Both passes replayed as one graph; `whole` = SGD too, whose rate then stays as it was."""
        self.cached, stream = False, torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
            self.optimizer.zero_grad()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            self.step(update=whole)

        def replay() -> None:
            graph.replay()
            if not whole:
                self.optimizer.step()

        return replay

    def graphed(self) -> Variant:
        """The network's two passes as graphs (`make_graphed_callables`)."""
        self.cached = False
        with self.autocast():
            self.net = torch.cuda.make_graphed_callables(self.net, (self.normalised(),))
        return self.step

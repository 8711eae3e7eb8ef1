"""Every penalty against slow formulations, the equalities between them, and what each leaves alone
(Li et al. 2020)."""

from collections.abc import Iterable
from math import isclose, sqrt

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.penalties import PENALTIES, Penalty, penalised
from adapt.penalties import penalty as penalties
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.training.schedules import make_optimizer

Start = dict[str, Tensor]
EVERY = [name for name in PENALTIES if name != "none"]
SP = [name for name in EVERY if "_sp" in name]
EPSILON = 0.02
BETA = 0.07
every_apply = pytest.mark.parametrize("apply", ["gradient", "decoupled", "proximal"])
every_penalty = pytest.mark.parametrize("name", EVERY)


class Line(nn.Sequential):
    """Convolutions of all kinds: grouped, 1x1, transposed and grouped, without bias; norms."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, groups=2, bias=False),
            nn.GroupNorm(2, 6), nn.ConvTranspose2d(6, 4, (2, 3), groups=2), nn.Conv2d(4, 5, 1),
        )  # fmt: skip


class Tower(nn.Sequential):
    """Linear layers around a layer norm, and a bare parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(3 * 6 * 7, 4), nn.LayerNorm(4), nn.Linear(4, 5, bias=False)
        )
        self.gain = nn.Parameter(torch.ones(5, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) @ self.gain


NETS = {"line": Line, "tower": Tower}
HEADS = {"line": "5.", "tower": "3."}


def made(name: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = NETS[name]().to(memory_format=torch.channels_last)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


def start_for(net: nn.Module, name: str) -> Start:
    """A start near the net, contiguous, without its head, and with a head of its own."""
    torch.manual_seed(99)
    shared = {n: p for n, p in net.named_parameters() if not n.startswith(HEADS[name])}
    start = {n: (p.detach() + 0.1 * torch.randn_like(p)).contiguous() for n, p in shared.items()}
    return {**start, "old_head.weight": torch.zeros(3)}


def fisher_for(start: Start) -> Start:
    """Positive values over four orders of magnitude, and some zeros."""
    rng = torch.Generator().manual_seed(7)
    found = {n: 10 ** (-4 * torch.rand(v.shape, generator=rng)) for n, v in start.items()}
    return {n: v * (torch.rand(v.shape, generator=rng) > 0.1) for n, v in found.items()}


def loss(net: nn.Module) -> Tensor:
    x = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    return net(x).square().mean()


def fan_ins(w: Tensor, module: nn.Module, groups: str) -> list[Tensor]:
    """The elements of each group, gathered channel after channel."""
    if groups == "layer":
        return [w.reshape(-1)]
    if w.ndim == 1:
        return list(w.reshape(-1, 1))
    if isinstance(module, nn.ConvTranspose2d):
        inputs = w.shape[0] // module.groups
        return [
            w[g * inputs : (g + 1) * inputs, o].reshape(-1)
            for g in range(module.groups)
            for o in range(w.shape[1])
        ]
    return [w[o].reshape(-1) for o in range(w.shape[0])]


def slow_omega(
    net: nn.Module, start: Start, config: PenaltyConfig, fisher: Start, epsilon: float
) -> Tensor:
    """Equations 1 to 6 of Li et al. 2020 in double precision, for autograd, group after group."""
    modules = dict(net.named_modules())
    chosen = penalised(net, config.kinds)
    raw = {n: f.double() for n, f in fisher.items() if n in chosen}
    mean = sum(f.sum() for f in raw.values()) / sum(f.numel() for f in raw.values())
    total = torch.zeros((), dtype=torch.double)
    for name, parameter in net.named_parameters():
        w = parameter.double()
        if name not in chosen:
            continue
        if name not in start:
            total = total + config.beta / 2 * w.square().sum()
            continue
        d = w - start[name].double() if "_sp" in config.name else w
        f = raw[name] / mean if config.name.endswith("fisher") else torch.ones_like(d)
        if config.name.startswith("l2"):
            total = total + config.alpha / 2 * (f * d * d).sum()
        elif config.name.startswith("l1"):
            total = total + config.alpha * ((d * d + epsilon**2).sqrt() - epsilon).sum()
        else:
            module = modules[name.rpartition(".")[0]]
            gathered = (fan_ins(x, module, config.groups) for x in (d, f))
            for dg, fg in zip(*gathered, strict=True):
                p = dg.numel()
                length = ((fg * dg * dg).sum() + p * epsilon**2).sqrt() - sqrt(p) * epsilon
                total = total + config.alpha * sqrt(p) * length
    return total


def fisher_of(name: str, start: Start) -> Start | None:
    return fisher_for(start) if name.endswith("fisher") else None


def pulled(
    name: str, apply: str, alpha: float = 0.3, beta: float = BETA
) -> tuple[nn.Module, Penalty]:
    net = made("line", 0)
    start = start_for(net, "line")
    config = PenaltyConfig(name, alpha, beta, "all", apply, EPSILON)
    return net, Penalty(net, start, config, fisher_of(name, start))


def update(net: nn.Module, penalty: Penalty, optimizer: torch.optim.Optimizer, n: int = 1) -> None:
    for _ in range(n):
        optimizer.zero_grad(set_to_none=True)
        loss(net).backward()
        penalty.before_step(optimizer)
        optimizer.step()
        penalty.after_step(optimizer)


def alone(net: nn.Module, penalty: Penalty, groups: Iterable[object], rate: float) -> None:
    """A step of an optimiser that changes nothing itself: what is left is the penalty's."""
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.SGD(groups, lr=rate)  # type: ignore[arg-type]
    penalty.before_step(optimizer)
    if penalty.config.apply == "gradient":
        optimizer.step()
    penalty.after_step(optimizer)


@pytest.mark.parametrize("net_name", NETS)
@pytest.mark.parametrize("kinds", ["weights", "conv", "all"])
@pytest.mark.parametrize(
    ("name", "groups"),
    [*((n, "channel") for n in EVERY), ("gl_sp", "layer"), ("gl_sp_fisher", "layer")],
)
def test_value_and_gradient_are_autograds(
    net_name: str, kinds: str, name: str, groups: str
) -> None:
    net = made(net_name, 0)
    start = start_for(net, net_name)
    config = PenaltyConfig(name, 0.3, BETA, kinds, epsilon=EPSILON, groups=groups)
    penalty = Penalty(net, start, config, fisher_of(name, start))
    loss(net).backward()
    before = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    omega = slow_omega(net, start, config, fisher_for(start), EPSILON)
    parameters = dict(net.named_parameters())
    wanted = torch.autograd.grad(omega, list(parameters.values()), allow_unused=True)
    penalty.add_gradient()
    assert isclose(penalty.value(), omega.item(), rel_tol=1e-5)  # float32 against double
    assert omega.item() > 0
    for (n, p), gradient in zip(parameters.items(), wanted, strict=True):
        assert p.grad is not None
        if gradient is None:
            assert torch.equal(p.grad, before[n]), n
        else:
            assert torch.allclose(p.grad, before[n] + gradient, rtol=1e-5, atol=1e-6), n  # float32


@every_apply
@pytest.mark.parametrize(
    ("fisher", "plain"), [("l2_sp_fisher", "l2_sp"), ("gl_sp_fisher", "gl_sp")]
)
def test_fisher_of_one_is_the_penalty_without(fisher: str, plain: str, apply: str) -> None:
    """Whatever constant the Fisher information is, as it is divided by its mean."""
    found = []
    for name in (fisher, plain):
        net = made("line", 0)
        start = start_for(net, "line")
        constant = {n: torch.full_like(v, 4.0) for n, v in start.items()}
        config = PenaltyConfig(name, 0.3, BETA, "all", apply)
        penalty = Penalty(net, start, config, constant if name == fisher else None)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        update(net, penalty, optimizer, 3)
        found.append((penalty.value(), [p.detach().clone() for p in net.parameters()]))
    assert isclose(found[0][0], found[1][0], rel_tol=1e-5)  # float32
    for a, b in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)  # three steps in float32


@every_apply
def test_groups_of_one_are_l1_sp(apply: str) -> None:
    """Depthwise 1x1 convolutions: the fan-in of an output channel is one weight."""
    found = []
    for name in ("gl_sp", "l1_sp"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 6, 1, groups=3), nn.Conv2d(6, 6, 1, groups=6))
        start = {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in net.named_parameters()}
        penalty = Penalty(net, start, PenaltyConfig(name, 0.1, 0, "all", apply))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        update(net, penalty, optimizer, 6)
        found.append((penalty.value(), [p.detach() for p in net.parameters()]))
    assert isclose(found[0][0], found[1][0], rel_tol=1e-5)  # float32
    for (a, b), n in zip(zip(found[0][1], found[1][1], strict=True), start, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6), n  # float32
        if apply == "proximal":
            assert torch.equal(a == start[n], b == start[n]), "the same weights rest"
    if apply == "proximal":
        rests = torch.cat([(p == start[n]).flatten() for n, p in net.named_parameters()])
        assert 0 < int(rests.sum()) < len(rests)


@every_apply
@pytest.mark.parametrize("name", ["none", *SP])
def test_at_the_start_nothing_is_pulled(name: str, apply: str) -> None:
    """Also where a measure has its kink, and where its norm's derivative is 0 / 0."""
    net = made("line", 0)
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    penalty = Penalty(
        net, start, PenaltyConfig(name, 0.5, 0.5, "all", apply), fisher_of(name, start)
    )
    alone(net, penalty, net.parameters(), 0.1)
    assert penalty.value() == 0 and bool(penalty.entries) == (name != "none")
    for n, p in net.named_parameters():
        assert torch.equal(p, start[n]) and p.grad is not None and not p.grad.any()


@pytest.mark.parametrize("aliased", ["net", "half", "start"])
def test_the_start_point_is_owned_in_fp32_and_never_aliased(aliased: str) -> None:
    """Neither training nor whoever holds the start's tensors can move what the weights go to."""
    net = made("line", 0)
    start = {n: p.detach().clone() for n, p in net.named_parameters()}
    kept = {n: v.half().float() if aliased == "half" else v.clone() for n, v in start.items()}
    if aliased != "start":
        start = {n: v.half() if aliased == "half" else v for n, v in net.state_dict().items()}
    penalty = Penalty(net, start, PenaltyConfig("l2_sp", 1.0, 1.0, "all"))
    loss(net).backward()
    with torch.no_grad():
        for tensor in (*start.values(), *net.parameters()):
            tensor.copy_(torch.full_like(tensor, 0.25))
    wanted = sum((0.25 - v.double()).square().sum().item() / 2 for v in kept.values())
    assert penalty.value() == pytest.approx(wanted, rel=1e-5)  # float32
    for e in penalty.entries:  # or fused operations would read across memory
        assert e.start_point is not None and e.start_point.stride() == e.parameter.stride()


@every_penalty
@pytest.mark.parametrize("strength", [0.05, 0.6])
def test_the_proximal_step_is_the_argmin(name: str, strength: float) -> None:
    """Against a general minimiser of 1/2 |v - w|^2 + lr Omega(v), group by group."""
    torch.manual_seed(1)
    net = nn.Conv2d(2, 6, (1, 2), bias=False)
    start = {"weight": net.weight.detach() + 0.1 * torch.randn_like(net.weight)}
    fisher = fisher_for(start) if name.endswith("fisher") else None
    config = PenaltyConfig(name, strength, 0, apply="proximal", fisher_scale="raw")
    penalty, rate = Penalty(net, start, config, fisher), 0.5
    w = net.weight.detach().double().reshape(6, 4).numpy()
    w0 = start["weight"].double().reshape(6, 4).numpy() * ("_sp" in name)
    f = fisher["weight"].double().reshape(6, 4).numpy() if fisher else np.ones_like(w)
    alone(net, penalty, net.parameters(), rate)
    found = net.weight.detach().double().reshape(6, 4).numpy()

    def objective(v: np.ndarray, g: int) -> float:
        d = v - w0[g]
        measure = {
            "l2": 0.5 * (f[g] * d * d).sum(),
            "l1": np.abs(d).sum(),
            "gl": 2 * np.sqrt((f[g] * d * d).sum()),
        }[name[:2]]
        return float(0.5 * ((v - w[g]) ** 2).sum() + rate * strength * measure)

    for g in range(6):
        best = min(
            (
                minimize(objective, x, (g,), "Powell", options={"xtol": 1e-10, "ftol": 1e-14})
                for x in (w[g], w0[g], (w[g] + w0[g]) / 2)
            ),
            key=lambda r: r.fun,
        )
        assert objective(found[g], g) <= best.fun + 1e-8  # float32 against double
        assert np.allclose(found[g], best.x, atol=2e-4), "flat around the minimum: 1e-8 in value"


@pytest.mark.parametrize("groups", ["channel", "layer"])
@pytest.mark.parametrize("name", SP)
def test_weights_within_the_threshold_are_their_start_bit_for_bit(name: str, groups: str) -> None:
    """L1-SP: |d| <= lr alpha; GL-SP: |d_g| <= lr alpha s_g; with F: |F^(-1/2) d_g| <= lr alpha s_g.
    L2-SP has no such weights."""
    net = made("line", 3)
    start = {n: p.detach() + 0.02 * torch.randn_like(p) for n, p in net.named_parameters()}
    fisher = {n: 0.5 + torch.rand_like(v) for n, v in start.items()}
    config = PenaltyConfig(name, 1.0, 0, "all", "proximal", groups=groups, fisher_scale="raw")
    weighted = name.endswith("fisher")
    penalty = Penalty(net, start, config, fisher if weighted else None)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    rate = 0.02
    alone(net, penalty, net.parameters(), rate)
    resting = moving = 0
    for prefix, module in net.named_modules():
        for short, p in module.named_parameters(recurse=False):
            n = f"{prefix}.{short}"
            d = (before[n] - start[n]).double()
            f = fisher[n].double() if weighted else torch.ones_like(d)
            rows = (fan_ins(x, module, groups) for x in (d, f, p.detach(), start[n]))
            for dg, fg, found, origin in zip(*rows, strict=True):
                if name.startswith("l2"):
                    rests = torch.zeros_like(found).bool()
                elif name == "l1_sp":
                    rests = dg.abs() <= rate
                else:
                    length = float((dg * dg / fg).sum().sqrt())
                    rests = torch.full_like(found, length <= rate * sqrt(dg.numel())).bool()
                assert torch.equal(found == origin, rests), n
                resting, moving = resting + int(rests.sum()), moving + int((~rests).sum())
    assert moving > 10 and (resting > 10 or name.startswith("l2"))


@every_penalty
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_coupled_equals_decoupled_for_plain_sgd_only(name: str, optimizer: str) -> None:
    found = []
    for apply in ("gradient", "decoupled"):
        net, penalty = pulled(name, apply, 0.5, 0.5)
        chosen = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
            "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
            "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0),
        }[optimizer](net.parameters())
        update(net, penalty, chosen, 3)
        found.append(torch.cat([p.detach().reshape(-1) for p in net.parameters()]))
    apart = (found[0] - found[1]).abs().max()
    assert (apart < 1e-5) == (optimizer == "sgd"), apart  # float32


@pytest.mark.parametrize("apply", ["gradient", "decoupled"])
def test_l2_is_the_optimisers_weight_decay_of_the_same_number(apply: str) -> None:
    """So alpha can be compared with published weight decays: SGD's, or AdamW's decoupled one."""
    found = []
    for decay in (0.0, 0.1):
        net = made("tower", 0)
        config = PenaltyConfig("none" if decay else "l2", 0.1, 0.1, "all", apply)
        penalty = Penalty(net, None, config)
        optimizer = {
            "gradient": lambda p, d: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=d),
            "decoupled": lambda p, d: torch.optim.AdamW(p, 0.05, weight_decay=d),
        }[apply](net.parameters(), decay)
        update(net, penalty, optimizer, 4)
        found.append([p.detach() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)  # the same sum in another order


@pytest.mark.parametrize("apply", ["decoupled", "proximal"])
@every_penalty
def test_each_parameter_moves_by_its_own_learning_rate(name: str, apply: str) -> None:
    """Groups with a multiplier, as `schedule.new_multiplier`: ten times the rate, ten alphas. What
    has the rate 0, or is not the optimiser's, stays."""
    found = []
    for alpha, multiplier in ((0.05, 10.0), (0.5, 1.0)):
        net, penalty = pulled(name, apply, alpha, alpha)
        parameters = list(net.parameters())
        before = [p.detach().clone() for p in parameters]
        moving = {"params": parameters[::3], "lr": 0.01 * multiplier}
        alone(net, penalty, [moving, {"params": parameters[1::3], "lr": 0.0}], 1.0)
        kept = [torch.equal(a, b) for a, b in zip(before, parameters, strict=True)]
        assert kept == [n % 3 > 0 for n in range(len(kept))]
        found.append([p.detach() for p in parameters])
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-7)  # float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("0.weight"), "missing: 0.weight"),
        (lambda f: f.update({"0.weight": f["0.weight"][:1]}), r"another shape: 0.weight \(1, 3"),
        (lambda f: f["2.weight"].fill_(-1.0), "negative or not finite: 2.weight"),
        (lambda f: f["2.weight"][0].fill_(float("nan")), "negative or not finite: 2.weight"),
        (lambda f: [v.zero_() for v in f.values()], "0 for every parameter"),
    ],
)
def test_fisher_information_that_does_not_fit_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    net = made("line", 0)
    start = start_for(net, "line")
    fisher = fisher_for(start)
    change(fisher)
    with pytest.raises(InputError, match=message):
        Penalty(net, start, PenaltyConfig("l2_sp_fisher", 0.1, 0.1), fisher)


def test_what_a_penalty_needs_and_what_it_does_not_go_with() -> None:
    net = made("line", 0)
    start = start_for(net, "line")
    with pytest.raises(InputError, match="l2_sp_fisher needs penalty"):
        Penalty(net, start, PenaltyConfig("l2_sp_fisher", 0.1, 0.1))
    with pytest.raises(InputError, match="penalty=gl_sp does not use it; l2_sp_fisher, gl_sp_fish"):
        Penalty(net, start, PenaltyConfig("gl_sp", 0.1, 0.1), fisher_for(start))
    for name in SP:
        with pytest.raises(InputError, match=f"{name}: there is no start"):
            Penalty(net, None, PenaltyConfig(name, 0.1, 0.1))
    decaying, plain = (torch.optim.SGD(net.parameters(), weight_decay=d) for d in (5e-4, 0.0))
    with pytest.raises(InputError, match=r"schedule\.weight_decay=0\.0005 and penalty=l2"):
        Penalty(net, start, PenaltyConfig("l2", 0.1, 0.1)).refuse_decay(decaying)
    Penalty(net, start, PenaltyConfig("l2", 0.1, 0.1)).refuse_decay(plain)
    for config in (PenaltyConfig("none"), PenaltyConfig("l2_sp", 0.0, 0.0)):
        Penalty(net, start, config).refuse_decay(decaying)


@every_apply
@every_penalty
def test_what_has_no_gradient_is_left_alone(name: str, apply: str) -> None:
    """A layer that the objective does not reach, and a frozen one."""
    net = made("line", 0)
    net[0].requires_grad_(False)
    start = {n: p.detach() + 0.1 for n, p in net.named_parameters()}
    fisher = {n: torch.rand_like(v) + 0.1 for n, v in start.items()}
    config = PenaltyConfig(name, 0.5, 0.5, "all", apply)
    penalty = Penalty(net, start, config, fisher if name.endswith("fisher") else None)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    nn.Sequential(*list(net)[:4])(torch.randn(2, 3, 6, 7)).square().mean().backward()
    penalty.before_step(optimizer)
    optimizer.step()
    penalty.after_step(optimizer)
    moved = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n[0] in "123"}
    assert penalty.value() > 0
    net.zero_grad(set_to_none=True)
    assert penalty.value() == 0, "the gradient gets nowhere"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@every_apply
def test_an_overshooting_strength_is_refused_where_it_would_diverge(
    apply: str, optimizer: str
) -> None:
    """Against what the steps do: at the limit the distance from w0 no longer shrinks."""
    rate, momentum = 0.1, 0.5
    schedule = ScheduleConfig("constant", optimizer, rate, momentum)
    limit = 2 * (1 + momentum) if apply == "gradient" else 2.0
    for factor in (0.98, 1.02):
        net = nn.Linear(4, 3, bias=False)
        start = {"weight": net.weight.detach() + torch.randn(3, 4)}
        config = PenaltyConfig("l2_sp", factor * limit / rate, 0, apply=apply)
        penalty = Penalty(net, start, config)
        free = apply == "proximal" or (apply, optimizer) == ("gradient", "adamw")
        if factor > 1 and not free:
            with pytest.raises(InputError, match=r"overshoot from .*penalty\.apply=proximal"):
                penalty.refuse_overshoot(schedule)
        else:
            penalty.refuse_overshoot(schedule)
        steps = make_optimizer(net, penalty.shared, schedule)
        away = float((net.weight.detach() - start["weight"]).norm())
        for _ in range(400):
            net.weight.grad = torch.zeros_like(net.weight)
            penalty.before_step(steps)
            steps.step()
            penalty.after_step(steps)
        left = float((net.weight.detach() - start["weight"]).norm())
        if not free:
            assert left < 0.05 * away if factor < 1 else left > 20 * away


@every_apply
@every_penalty
def test_parameters_together_move_as_one_after_the_other(
    name: str, apply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fused operations over lists, which a GPU takes, against a CPU's: the same bits."""
    found = []
    for key in (penalties.fused, penalties.kind):
        monkeypatch.setattr(penalties, "fused", key)
        net, penalty = pulled(name, apply)
        update(net, penalty, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
        found.append([p.detach() for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))

"""The first layers kept as the start has them: which, and that nothing moves them."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tiny import adapting, refused, same, teaching, weights
from torch import Tensor, nn

from adapt.disk.runs import read_config
from adapt.errors import InputError
from adapt.networks import build_network
from adapt.networks.deeplab_vgg16 import DeepLabVGG16
from adapt.networks.taps import LOGITS, forward
from adapt.settings.groups import NetworkConfig, PenaltyConfig, ScheduleConfig
from adapt.training.freezing import freeze_first, refuse_new
from adapt.training.train import train

SIZE = (33, 49)


def vgg() -> DeepLabVGG16:
    torch.manual_seed(0)
    return DeepLabVGG16(3, width=1 / 16, batch_norm=True)


CONVOLUTIONS = [n for n, m in vgg().named_modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("k", [0, 1, 3, 15, 16])
def test_a_number_freezes_so_many_convolutions_and_their_norms(k: int) -> None:
    """In DeepLab-VGG16 the batch norm stands one place after its convolution."""
    net = vgg()
    layers = CONVOLUTIONS[:k]
    norms = [f"{n.rpartition('.')[0]}.{int(n.rpartition('.')[2]) + 1}" for n in layers if "." in n]
    wanted = {n for n, _ in net.named_parameters() if n.rpartition(".")[0] in (*layers, *norms)}
    assert freeze_first(net, str(k), SIZE) == wanted
    assert {n for n, p in net.named_parameters() if not p.requires_grad} == wanted
    net.train()
    modules = dict(net.named_modules())
    frozen = {n for n in norms if isinstance(modules[n], nn.BatchNorm2d)}
    for name, module in modules.items():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training == (name not in frozen), name


@pytest.mark.parametrize(
    ("until", "front"),
    [
        ("pool1", ("conv1.",)),
        ("pool3", ("conv1.", "conv2.", "conv3.")),
        ("conv2.0", ("conv1.", "conv2.0.")),
        ("classifier", ("",)),
    ],
)
def test_a_name_or_alias_freezes_up_to_and_with_it(until: str, front: tuple[str, ...]) -> None:
    net = vgg()
    names = {n for n, _ in net.named_parameters() if n.startswith(front)}
    assert freeze_first(net, until, SIZE) == names


def test_residual_stages_freeze_whole() -> None:
    """Also the shortcut's convolution, which runs after the main branch's."""
    net = build_network(NetworkConfig("fcn_resnet50"), 3)
    front = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")
    wanted = {n for n, _ in net.named_parameters() if n.startswith(front)}
    assert freeze_first(deepcopy(net), "pool2", SIZE) == wanted
    assert freeze_first(net, "10", SIZE) == wanted


def test_the_papers_numbers_are_blocks_of_resnet101() -> None:
    """001, Figure 3: 1, 10, 22, ... are whole stages and whole blocks of the third one."""
    with torch.device("meta"):
        net = build_network(NetworkConfig("dilated_resnet101"), 3)
    for k, last in ((10, "layer1.2"), (22, "layer2.3"), (34, "layer3.3"), (91, "layer3.22")):
        names = freeze_first(deepcopy(net), str(k), SIZE)
        blocks = [n for n, _ in net.named_modules() if n.endswith("conv3")][: (k - 1) // 3]
        assert blocks[-1].removeprefix("backbone.") == f"{last}.conv3"
        assert f"{blocks[-1]}.weight" in names
        assert len([n for n in names if n.endswith("conv3.weight")]) == len(blocks)


class Embedded(nn.Module):
    """A parameter of the network itself in front of a layer, one function for two places, and a
    batch norm without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(4, 1, 1))
        self.patch, self.drop = nn.Conv2d(3, 4, 3), nn.Dropout(0.5)
        self.norm, self.inner = nn.BatchNorm2d(4, affine=False), nn.Dropout(0.5)
        self.deep, self.head = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.drop(self.patch(x)) + self.position)
        return self.head(self.drop(self.inner(self.deep(x))))


def test_parameters_that_a_frozen_layers_input_depends_on_are_frozen_with_it() -> None:
    """But a dropout that is used again after them is not."""
    net = Embedded()
    assert freeze_first(net, "1", SIZE) == {"position", "patch.weight", "patch.bias"}
    net.train()
    assert not net.norm.training and net.drop.training and net.inner.training
    x = torch.randn(2, 3, *SIZE)
    before = net.norm.running_mean
    assert before is not None
    kept = before.clone()
    net(x)
    assert torch.equal(before, kept)


@pytest.mark.parametrize("bn", ["train", "affine", "eval"])
def test_a_run_leaves_frozen_layers_bit_for_bit(world: Path, tmp_path: Path, bn: str) -> None:
    """Statistics included, with AdamW, a pull to zero, and an average of the weights; what is not
    frozen moves."""
    config = adapting(
        world, tmp_path / "s", bn=bn, freeze="conv2.0", ema=0.5, penalty=PenaltyConfig("l2", 1, 1),
        schedule=ScheduleConfig(optimizer="adamw", lr=0.01),
    )  # fmt: skip
    before, after = weights(world / "teacher"), weights(train(config))
    moved = {k for k in after if not torch.equal(after[k], before[k])}
    free = {k for k in after if k.startswith(("conv2.", "conv3.")) and not k.startswith("conv2.0.")}
    affine = {k for k in free if k.endswith(("weight", "bias"))}
    convolutions = {k for k in affine if after[k].ndim == 4}
    assert moved == {"train": free, "affine": affine, "eval": convolutions}[bn]


def test_zero_is_the_run_without_freezing(world: Path, tmp_path: Path) -> None:
    free, zero = (train(adapting(world, tmp_path / f"s{k}", freeze=k)) for k in ("", "0"))
    assert same(free, zero)
    assert read_config(zero)["freeze"] == ""


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("pool9", "freeze: layer: 'pool9' is not known. Did you mean 'pool5'"),
        ("17", "freeze=17: the network has 16 convolution and linear layers"),
        ("-1", "freeze: layer: '-1' is not known"),
        ("pool3", "nothing to train: objective 'pool3' reaches no parameter"),
    ],
)
def test_what_cannot_be_frozen_is_named(
    world: Path, tmp_path: Path, until: str, message: str
) -> None:
    refused(adapting(world, tmp_path / "s", freeze=until), message)
    with pytest.raises(InputError, match="freeze=1: there is no start whose layers to keep"):
        train(teaching(world, run=str(tmp_path / "s"), freeze="1"))


def test_freezing_layers_that_the_start_lacks_is_refused() -> None:
    net = vgg()
    start = {k: v for k, v in net.state_dict().items() if not k.startswith("classifier.")}
    refuse_new(freeze_first(vgg(), "15", SIZE), start, "15")
    with pytest.raises(
        InputError, match=r"freeze=16: the start does not have classifier\.bias, cl"
    ):
        refuse_new(freeze_first(net, "16", SIZE), start, "16")


def test_the_frozen_part_computes_what_it_computed() -> None:
    net = vgg()
    x = torch.randn(2, 3, *SIZE)
    wanted = forward(net.eval(), x, ["fc6"])["fc6"]
    freeze_first(net, "fc6", SIZE)
    found = forward(net.train(), x, ["fc6", LOGITS])
    assert torch.equal(found["fc6"], wanted) and not found["fc6"].requires_grad
    assert found[LOGITS].requires_grad
    assert not torch.equal(found[LOGITS], forward(net, x, [LOGITS])[LOGITS]), "fc7's dropout"

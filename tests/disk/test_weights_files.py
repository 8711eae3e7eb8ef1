"""Weights files as other programs leave them: what is in them is found, named, or refused."""

import argparse
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from commands import run, settings_of
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from tiny import same, weights
from torch import Tensor, nn
from warm import TRAINED

from adapt.disk.files import read_mapping
from adapt.disk.tensors import read_tensors
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.networks import build_network
from adapt.networks.names import read_named, renamed
from adapt.networks.pretrained import pretrained
from adapt.networks.saved import is_file, load_complete, load_model, save_model
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import NetworkConfig
from adapt.training.train import train

State = dict[str, Tensor]
SMALL = NetworkConfig(width=1 / 32)
DOCUMENTED = Path(__file__).resolve().parents[2] / "docs/networks.md"


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(3)
    return build_network(SMALL, 4)


def below(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def lightning(state: State) -> dict[str, Any]:
    """What Lightning writes for a module with save_hyperparameters, an Adam and a checkpoint."""
    given = {
        "config": OmegaConf.create({"a": {"b": [1, 2.5, None]}}), "scale": np.float64(2),
        "arguments": argparse.Namespace(lr=1), "out": Path("runs"), "mean": np.ones(3),
    }  # fmt: skip
    adam = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]}
    return {"state_dict": below("model.", state), "hyper_parameters": given, "epoch": 1,
            "callbacks": {"ModelCheckpoint": {"best": torch.ones(())}},
            "optimizer_states": [adam]}  # fmt: skip


EMA = 0.5
FORMS: dict[str, tuple[str, Callable[[State], Any], str]] = {
    "Lightning's": ("w.ckpt", lightning, "under 'state_dict'\n.*prefix 'model.' is taken off"),
    "compiled": ("w.pth.tar", lambda s: below("_orig_mod.", s), "prefix '_orig_mod.' is taken off"),
    "nested": ("w", lambda s: below("module._orig_mod.", s), "prefix 'module._orig_mod.' is"),
    "two wrappers": ("w.BIN", lambda s: {"net": {"state_dict": below("net.", s)}},
                     "under 'net'\n.*under 'state_dict'\n.*prefix 'net.' is taken off"),
    "others beside": ("w.pt", lambda s: {"student": s, "averages": s, "optimizer": {"lr": 1}},
                      "under 'student'; tensors lie under averages too: .*w.pt@averages"),
    "an auxiliary head": (
        "w.pth", lambda s: below("model.", s) | {"aux_classifier.0.weight": torch.ones(2)},
        "prefix 'model.'"),
    "a loss beside": (
        "w.pth", lambda s: below("model.", s) | {"criterion.weight": torch.ones(4)},
        "criterion.weight, beside the network 'model.', left aside\n.*prefix 'model.'"),
    "half": ("w.pt", lambda s: {k: v.half() for k, v in s.items()}, "float16 is brought to float3"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_networks_own_weights(
    form: str, net: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, make, said = FORMS[form]
    file, own = tmp_path / name, net.state_dict()
    if form == "half":
        own = {k: v.half().float() for k, v in own.items()}
    torch.save(make(own), file)
    assert is_file(str(file))
    found = load_complete(str(file), SMALL, (), "teacher", (64, 64))
    assert len(found.classes) == 4
    assert all(torch.equal(v, own[k]) for k, v in found.net.state_dict().items())
    assert re.search(said, capsys.readouterr().out)


def test_a_key_chooses_and_a_file_without_a_suffix_may_be_safetensors(
    net: nn.Module, tmp_path: Path
) -> None:
    state, file = net.state_dict(), tmp_path / "both.pth"
    torch.save({"model": state, "ema": {k: v * EMA for k, v in state.items()}}, file)
    with pytest.raises(InputError, match=r"weights lie under ema, model; name one.*pth@"):
        load_complete(str(file), SMALL, (), "start", (64, 64))
    chosen = load_complete(f"{file}@ema", SMALL, (), "start", (64, 64)).net.state_dict()
    assert all(torch.equal(v, state[k] * EMA) for k, v in chosen.items())
    with pytest.raises(InputError, match=r"both\.pth@emma: 'emma'.*Did you mean 'ema'"):
        load_complete(f"{file}@emma", SMALL, (), "start", (64, 64))
    torch.save(below("a.", state) | below("b.", {k: v * EMA for k, v in state.items()}), file)
    with pytest.raises(InputError, match=r"under a\., b\.; network\.keys=\{b: ''\} takes one"):
        load_complete(str(file), SMALL, (), "start", (64, 64))
    by_key = load_complete(str(file), replace(SMALL, keys={"b": ""}), (), "start", (64, 64))
    assert all(torch.equal(v, state[k] * EMA) for k, v in by_key.net.state_dict().items())
    save_file(state, tmp_path / "model@best")
    assert is_file(str(tmp_path / "model@best")) and not is_file(str(tmp_path))
    whole = str(tmp_path / "model@best")
    bare = load_complete(whole, SMALL, (), "start", (64, 64)).net.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in bare.items())


def test_an_old_file_may_lack_batch_norms_counters_and_nothing_else(tmp_path: Path) -> None:
    normed = NetworkConfig(width=1 / 32, batch_norm=True)
    state = build_network(normed, 4).state_dict()
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    found = load_complete(str(tmp_path / "old.pth"), normed, (), "teacher", (64, 64))
    assert len(old) < len(state)
    assert all(torch.equal(v, state[k]) for k, v in found.net.state_dict().items())
    torch.save({k: v for k, v in old.items() if "running_mean" not in k}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"missing: conv1\.1\.running_mean"):
        load_complete(str(tmp_path / "w.pth"), normed, (), "teacher", (64, 64))


class Parallel(nn.Module):
    """Its own names begin with what DataParallel puts before all names."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 2, 1))


def test_a_prefix_that_is_the_networks_own_stays(tmp_path: Path) -> None:
    state = Parallel().state_dict()
    torch.save(state, tmp_path / "own.pth")
    torch.save(below("module.", state), tmp_path / "once_more.pth")
    for name in ("own.pth", "once_more.pth"):
        found, _ = read_named(str(tmp_path / name), {}, state)
        assert found.keys() == state.keys()


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a whole network": (
        lambda p: torch.save(nn.Linear(2, 2), p),
        r"it holds torch\.nn\.modules\.linear\.Linear, and no code.*state_dict\(\)"),
    "a function": (
        lambda p: torch.save({"w": torch.ones(1), "f": print}, p), "it holds print, and no code"),
    "TorchScript": (lambda p: torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), p),
                    "a TorchScript archive"),
    "another pickle": (lambda p: p.write_bytes(pickle.dumps([1], 4)), "of another format"),
    "arrays": (lambda p: torch.save({"w": np.ones(2)}, p), "no tensors under w"),
    "a mapping in itself": (lambda p: torch.save(endless(), p), "not a state_dict"),
}  # fmt: skip


def endless() -> dict[str, Any]:
    found: dict[str, Any] = {"w": torch.ones(1)}
    found["model"] = found
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_said_in_one_line_of_ours(what: str, tmp_path: Path) -> None:
    make, words = REFUSED[what]
    make(tmp_path / "w.pth")
    with pytest.raises(InputError, match=words) as error:
        read_tensors(tmp_path / "w.pth")
    assert str(error.value).isprintable() and "weights_only" not in str(error.value)


@pytest.mark.parametrize("name", ["deeplab_vgg16", "fcn8s_vgg16"])
def test_convolutions_alone_are_a_backbone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In VGG's order, under torchvision's names, with DataParallel's prefix and in half precision;
    without one of them it is none."""
    config = NetworkConfig(name=name, width=1 / 32)
    net, places = build_network(config, 3), (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    own = {k: v.half() for k, v in net.state_dict().items() if k.startswith(("conv", "features."))}
    keys = [f"module.features.{n}.{what}" for n in places for what in ("weight", "bias")]
    stored = dict(zip(keys, own.values(), strict=True))
    save_file(stored, tmp_path / "features.safetensors")
    found, _ = pretrained(f"backbone:{tmp_path / 'features.safetensors'}", config, net)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[k], v.float()) for k, v in own.items())
    assert "no weights for fc6, fc7: they are initialised anew" in capsys.readouterr().out
    del stored[keys[2]]
    save_file(stored, tmp_path / "fewer.safetensors")
    with pytest.raises(InputError, match=r"fewer\.safetensors does not fit"):
        pretrained(f"backbone:{tmp_path / 'fewer.safetensors'}", config, net)


def documented(network: str) -> dict[str, str]:
    """The map for a network that stands in docs/networks.md."""
    blocks = re.findall(r"```yaml\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    return next(yaml.safe_load(b)["network"]["keys"] for b in blocks if network in b)


SEGFORMER = {
    f"segformer.encoder.{theirs}.bias": f"segformer.stages.{ours}.bias"
    for theirs, ours in (
        ("patch_embeddings.1.proj", "1.patch_embeddings.proj"),
        ("patch_embeddings.1.layer_norm", "1.patch_embeddings.layer_norm"),
        ("block.2.1.layer_norm_1", "2.blocks.1.layernorm_before"),
        ("block.2.1.layer_norm_2", "2.blocks.1.layernorm_after"),
        ("block.2.1.attention.self.query", "2.blocks.1.attention.q_proj"),
        ("block.2.1.attention.self.key", "2.blocks.1.attention.k_proj"),
        ("block.0.1.attention.self.value", "0.blocks.1.attention.v_proj"),
        ("block.0.1.attention.self.sr",
         "0.blocks.1.attention.sequence_reduction.sequence_reduction"),
        ("block.0.1.attention.self.layer_norm",
         "0.blocks.1.attention.sequence_reduction.layer_norm"),
        ("block.0.1.attention.output.dense", "0.blocks.1.attention.o_proj"),
        ("block.3.0.mlp.dense1", "3.blocks.0.mlp.fc1"),
        ("block.3.0.mlp.dense2", "3.blocks.0.mlp.fc2"),
        ("block.3.0.mlp.dwconv.dwconv", "3.blocks.0.mlp.dwconv.dwconv"),
        ("layer_norm.0", "0.layer_norm"),
    )
} | {
    "decode_head.linear_c.2.proj.weight": "decode_head.linear_projections.2.proj.weight",
    "decode_head.linear_fuse.weight": "decode_head.linear_fuse.weight",
}  # fmt: skip
FCN = {
    "backbone.layer1.0.conv1.weight": "backbone.layer1.0.conv1.weight",
    "decode_head.convs.0.conv.weight": "classifier.0.weight",
    "decode_head.convs.0.bn.running_var": "classifier.1.running_var",
    "decode_head.conv_seg.bias": "classifier.4.bias",
}


@pytest.mark.parametrize(("network", "pairs"), [("segformer", SEGFORMER), ("fcn", FCN)])
def test_the_documented_maps_lead_to_the_networks_names(network: str, pairs: State) -> None:
    """transformers' files -> its version 5 (SegFormer), mmseg -> torchvision (FCN on ResNet)."""
    keys = NetworkConfig(keys=documented(network)).keys
    assert {name: renamed(name, keys) for name in pairs} == pairs


def test_whole_parts_of_names_are_replaced_and_no_two_become_one(tmp_path: Path) -> None:
    assert renamed("layer10.w", {"layer1": "a"}) == "layer10.w"
    assert renamed("model.a.w", {"model.": ""}) == "a.w"
    assert renamed("a.w", {"": "encoder"}) == "encoder.a.w"
    assert renamed("a.b.w", {"a": "x", "a.b": "y"}) == "y.w"
    torch.save({"a.w": torch.ones(1), "b.w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"network\.keys: of .*w\.pth several tensors become b\.w"):
        read_named(str(tmp_path / "w.pth"), {"a": "b"}, ["b.w"])
    with pytest.raises(InputError, match=r"network\.keys\.a\.\* is 'b'; give each side as many"):
        NetworkConfig(keys={"a.*": "b"})


def test_a_module_under_two_names_is_saved_under_both(net: nn.Module, tmp_path: Path) -> None:
    net.get_submodule("conv3")[4].weight = net.get_submodule("conv3")[2].weight
    save_model(tmp_path, net, SMALL, ("a", "b", "c", "d"))
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["conv3.4.weight"], stored["conv3.2.weight"])
    loaded = load_model(tmp_path).net.state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in net.state_dict().items())


@pytest.mark.system
def test_the_command_adapts_from_a_renamed_average_as_from_the_run(
    world: Path, tmp_path: Path
) -> None:
    """`teacher=FILE@ema` with network.keys, which its evaluation then reads it by as well."""
    state = weights(world / "teacher")
    theirs = {
        f"decode.head.{k[11:]}" if k.startswith("classifier.") else k: v for k, v in state.items()
    }
    torch.save({"net": theirs, "ema": below("module.", theirs)}, tmp_path / "foreign.pth.tar")
    data = (f"data.root={world / 'd1'}", f"data.target={world / 'd2'}")
    given = (*TRAINED, *data, "objective=pool3", "steps=1", "domain=d2")
    by_run = settings_of("train", *given, f"teacher={world / 'teacher'}", f"run={tmp_path / 'a'}")
    teacher = tmp_path / "foreign.pth.tar@ema"
    file = (f"teacher={teacher}", "+network.keys={decode.head: classifier}")
    done = run("train.py", *given, *file, "run=b", cwd=tmp_path)
    assert same(train(by_run), tmp_path / "b")
    for words in ("takes what lies under 'ema'", "the prefix 'module.' is taken off the names"):
        assert words in done.stdout
    scores = evaluate(EvaluateConfig(run=str(tmp_path / "b"), domain="d2", device="cpu"))
    assert read_mapping(scores)["agreement"]["miou"] > 0
    done = run("train.py", *given, f"teacher={world / 'teacher'}", file[1], cwd=tmp_path, status=2)
    assert "network.keys renames tensors of a weights file" in done.stderr

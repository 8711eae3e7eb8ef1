"""A student of another network than its teacher: what trains, is kept, compared and refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from tiny import adapting, curve, interrupted, refused, same, teaching, weights

from adapt.analysis.analyse import networks_of
from adapt.disk import checkpoint
from adapt.disk.files import read_json
from adapt.disk.runs import read_config, read_metrics
from adapt.errors import InputError
from adapt.evaluation.evaluate import evaluate
from adapt.export.files import description
from adapt.export.recipe import recipe_of, signature_of
from adapt.networks import build_network
from adapt.networks.preprocessing import normalise
from adapt.networks.saved import load_model, load_teacher
from adapt.settings.commands import AnalyseConfig, EvaluateConfig
from adapt.settings.groups import (
    DataConfig,
    NetworkConfig,
    PenaltyConfig,
    ScheduleConfig,
    TeacherNetworkConfig,
)
from adapt.settings.objective import KDConfig, ObjectiveConfig, RegressionConfig
from adapt.settings.training import TrainConfig
from adapt.settings.viz import InvertConfig
from adapt.training.adapt import adapt
from adapt.training.setup import prepare, resolve
from adapt.training.train import batches_from, one_step, train
from adapt.training.verdict import read_verdict
from viz.inversion.command import invert
from viz.report.gallery import gallery

WHOLE, HALF = (NetworkConfig(width=w, batch_norm=True) for w in (1 / 32, 1 / 64))
MOBILE = NetworkConfig(name="lraspp_mobilenet_v3_large")
NO_PULL, PULL = PenaltyConfig("none"), PenaltyConfig("l2_sp", 0.1, 0.1)
BOTH = ObjectiveConfig(
    "both", RegressionConfig(1.0, {"pool3": 1.0, "pool4": 0.5}, student={"pool4": "pool5"}),
    kd=KDConfig(1.0),
)  # fmt: skip
"""pool4 of the teacher has a partner of another name, and both have other channels."""


def smaller(world: Path, run: Path, **changes: Any) -> TrainConfig:
    """A student of half the teacher's width, from new weights."""
    new = {"network": HALF, "start": "none", "penalty": NO_PULL, "objective": BOTH}
    return adapting(world, run, **(new | changes))


def test_a_student_of_half_width_learns_and_only_it_is_kept(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = ScheduleConfig(lr=0.05)
    run = train(smaller(world, tmp_path / "run", steps=30, batch=4, schedule=schedule))
    said = capsys.readouterr().out
    assert "pool3 4 -> pool3 8, pool5 8 -> pool4 16" in said and "not part of it" in said
    losses = [line["loss"] for line in read_metrics(run)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    parts = read_metrics(run)[-1]["parts"]
    assert parts.keys() == {"regression/pool3", "regression/pool4", "kd/divergence"}
    plain = build_network(HALF, 11).state_dict()
    assert {k: v.shape for k, v in weights(run).items()} == {k: v.shape for k, v in plain.items()}
    assert read_config(run)["teacher_network"]["width"] == 1 / 32


def test_a_resumed_run_has_its_projectors_again(world: Path, tmp_path: Path) -> None:
    """Bit for bit, with AdamW's moments of them; their rate is that of new parameters."""
    schedule = ScheduleConfig(optimizer="adamw", lr=0.01, new_multiplier=2.0)
    how = {"steps": 5, "checkpoint_every": 2, "schedule": schedule}
    straight = train(smaller(world, tmp_path / "straight", **how))
    config = smaller(world, tmp_path / "stopped", **how)
    interrupted(config, 3)
    found, _ = checkpoint.newest(tmp_path / "stopped/checkpoints")
    assert found and found.step == 2 and len(found.state["projectors"]) == 4
    train(config)
    assert same(tmp_path / "stopped", straight) and curve(tmp_path / "stopped") == curve(straight)
    last, _ = checkpoint.newest(straight / "checkpoints")
    assert last and len(last.state["optimizer"]["param_groups"][-1]["params"]) > 4
    assert last.state["optimizer"]["param_groups"][-1]["multiplier"] == 2.0
    apart = [found.state["projectors"][k] - v for k, v in last.state["projectors"].items()]
    assert all(difference.abs().max() > 0 for difference in apart)


def test_two_networks_of_one_shape_train_as_one(world: Path, tmp_path: Path) -> None:
    """No projector, no interpolation: a further alias of the teacher, which makes it another
    network, changes no bit; and the verdict has the teacher and the start apart."""
    one = adapt(adapting(world, tmp_path / "one"))
    config = adapting(
        world, tmp_path / "two", teacher=str(world / "teacher/model.safetensors"),
        start=str(world / "teacher"), taps={"third": "pool3"},
        teacher_network=TeacherNetworkConfig(aliases={"third": "pool3"}),
    )  # fmt: skip
    two = adapt(config)
    assert same(one, two)
    assert [line["loss"] for line in curve(one)] == [line["loss"] for line in curve(two)]
    found, wanted = read_verdict(two), read_verdict(one)
    assert found and wanted and wanted.teacher is None and not wanted.start
    assert found.start == "start" and found.before == found.teacher == wanted.before
    assert (found.adabn, found.after) == (wanted.adabn, wanted.after)


def test_each_network_sees_its_own_normalisation(world: Path, tmp_path: Path) -> None:
    """A teacher that is a file with `teacher_network.std` is the run of that network, in training
    and in every comparison; the student keeps its own."""
    file, std = str(world / "teacher/model.safetensors"), [0.1, 0.4, 0.2]
    own = replace(WHOLE, std=std)
    made = train(teaching(world, run=str(tmp_path / "made"), start=file, network=own, steps=0))
    how = {"network": replace(HALF, std=[0.3, 0.3, 0.3]), "steps": 4, "eval_every": 2}
    by_run = smaller(world, tmp_path / "by_run", teacher=str(made), **how)
    by_file = replace(
        by_run,
        run=str(tmp_path / "by_file"),
        data=of(world),
        teacher=file,
        teacher_network=TeacherNetworkConfig(width=1 / 32, std=std),
    )
    setup, seen = prepare(*resolve(by_file)), dict[str, torch.Tensor]()
    batch = next(iter(batches_from(setup, 0)))
    for key, net in (("x1", setup.teacher), ("x2", setup.student)):
        assert net is not None
        net.register_forward_pre_hook(lambda _, args, key=key: seen.update({key: args[0]}))
    one_step(setup, batch, 0)
    for key, deviation in (("x1", std), ("x2", [0.3, 0.3, 0.3])):
        assert torch.equal(seen[key], normalise(batch[key], NetworkConfig(std=list(deviation))))
    a, b = adapt(by_run), adapt(by_file)
    assert same(a, b) and curve(a) == curve(b)
    found, last = read_verdict(a), curve(a)[-1]["evaluation"]
    assert found and found == read_verdict(b)
    assert isinstance(last, dict) and last["agreement_miou"] == pytest.approx(found.after)
    target = DataConfig(target=str(world / "d2"))
    for what, agreement in (
        ({"run": str(a)}, found.after),
        ({"run": str(b)}, found.after),
        ({"teacher": str(made), "data": target, "domain": "d2"}, found.teacher),
    ):
        scores = read_json(evaluate(EvaluateConfig(**what, device="cpu", precision="fp32")))
        assert scores["agreement"]["miou"] == pytest.approx(agreement, abs=1e-9)


@pytest.mark.parametrize("kind", ["run", "file"])
def test_a_teachers_defaults_are_not_the_students_values(
    world: Path, tmp_path: Path, kind: str
) -> None:
    """A teacher of ImageNet's mean keeps it beside a student of another one."""
    apart = replace(HALF, mean=[0.5] * 3, range=255)
    given: dict[str, Any] = {}
    if kind == "file":
        given = {"data": of(world), "teacher": str(world / "teacher/model.safetensors"),
                 "teacher_network": replace(TeacherNetworkConfig(), name="deeplab_vgg16",
                                            batch_norm=True, width=1 / 32,
                                            explicit=["name", "mean", "range"])}  # fmt: skip
    config = smaller(world, tmp_path / "run", network=apart, **given)
    networks = prepare(*resolve(config)).networks
    assert networks["x1"].mean == NetworkConfig().mean != networks["x2"].mean == [0.5] * 3
    assert (networks["x1"].range, networks["x2"].range) == (1, 255)
    assert (networks["x1"].width, networks["x2"].width) == (1 / 32, 1 / 64)
    train(config)
    student = load_model(tmp_path / "run")
    judge = load_teacher(config.teacher, read_config(tmp_path / "run"), student)
    assert judge.network.mean == NetworkConfig().mean and judge.network.range == 1


def of(world: Path) -> DataConfig:
    """The pairs, which a teacher that is a file does not name."""
    return DataConfig("camvid", str(world / "d1"), str(world / "d2"), crop=[32, 40])


def test_before_is_what_the_student_started_from(world: Path, tmp_path: Path) -> None:
    """As evaluate scores it: a run of the smaller network; and new weights, which are nobody's
    alternative. A comparison with the network before is one with the start too."""
    own = train(teaching(world, run=str(tmp_path / "own"), network=HALF))
    started = {"start": str(own), "network": NetworkConfig(), "penalty": PULL}
    for kind, given in (("start", started), ("untrained", {})):
        run = adapt(smaller(world, tmp_path / kind, **given))
        still = train(smaller(world, tmp_path / f"{kind}_0", steps=0, **given))
        scores = evaluate(EvaluateConfig(run=str(still), device="cpu", precision="fp32"))
        found = read_verdict(run)
        assert found and found.start == kind and found.teacher is not None
        assert found.before == pytest.approx(read_json(scores)["agreement"]["miou"], abs=1e-9)
        assert (found.adabn is None) == (kind == "untrained")
        assert ("over the teacher itself" in found.facts) == (kind == "untrained")
    with pytest.raises(InputError, match="untrained was not trained from the network of a run"):
        networks_of(AnalyseConfig(run=str(tmp_path / "untrained")))
    before = networks_of(AnalyseConfig(run=str(tmp_path / "start"))).before
    assert before.digest == load_model(own).digest


def test_other_commands_know_two_networks(world: Path, tmp_path: Path) -> None:
    run = train(
        smaller(
            world, tmp_path / "run", data=of(world), steps=1,
            teacher=str(world / "teacher/model.safetensors"),
            teacher_network=TeacherNetworkConfig(width=1 / 32),
        )
    )  # fmt: skip
    image = str(world / "d1/val/val_000.png")
    config = InvertConfig(run=str(run), image=image, steps=1, device="cpu", taps={"pool3": 1.0})
    assert {"teacher.png", "student.png"} <= {p.name for p in invert(config).iterdir()}
    with pytest.raises(InputError, match="maps=teacher: teacher and student are two networks"):
        invert(replace(config, maps="teacher"))
    found = gallery("d2", run, {}, "val", 1)
    assert not found["features"] and len(found["predictions"]) == 1
    model = load_model(run)
    about = description(
        model, recipe_of(model.network, model.net, 11), signature_of(model.net, (32, 40)),
        {"type": "uint8"}, "", {"settings": read_config(run)},
    )  # fmt: skip
    assert about["taps"]["regressed"] == {"pool3": 1.0, "pool5": 0.5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": ""}, r"width: 0.03125 -> 0.015625; a student of another network needs start="),
        ({"penalty": PULL}, "penalty l2_sp: there is no start to pull to; give start=RUN"),
        ({"start": "{world}/teacher"}, "network differs from the one in .*width: 0.03125 -> 0.0"),
        (
            {"teacher_network": TeacherNetworkConfig(width=2)},
            r"teacher_network differs from the one in .*width: 0\.03125 -> 2",
        ),
        ({"teacher_network": TeacherNetworkConfig(keys={"a": "b"})}, "teacher_network.keys renam"),
        ({"teacher": "", "teacher_network": TeacherNetworkConfig(width=2)}, "there is no teacher"),
        (
            {"network": MOBILE, "objective": ObjectiveConfig("x", RegressionConfig(1, {"fc7": 1}))},
            r"objective, on the student: layer: 'fc7' is not known.*'taps=\{LAYER_OF_THE_TEACHER",
        ),
        ({"network": MOBILE, "taps": {"fc7": "fc8"}}, "taps, of the student: layer: 'fc8' is not"),
        (
            {"network": replace(HALF, void=True)},
            "student has 12 outputs, the teacher 11, of which one is void; give both",
        ),
        ({"freeze": "pool1"}, "freeze=pool1: there is no start whose layers to keep"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    world: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    given = {k: v.format(world=world) if isinstance(v, str) else v for k, v in changes.items()}
    refused(smaller(world, tmp_path / "run", **given), message)


def test_teacher_and_student_have_the_same_classes_in_the_same_order(
    world: Path, tmp_path: Path
) -> None:
    names = list(read_json(world / "teacher/model.json")["classes"])
    pairs = DataConfig(
        "pairs", str(world / "d1/train"), str(world / "d2/train"), crop=[32, 40],
        classes=names[::-1], explicit=["name", "root"],
    )  # fmt: skip
    message = "teacher has 11 classes: sky, .*; the data has 11 classes: bicyclist, "
    refused(smaller(world, tmp_path / "run", data=pairs), message)
    torch.manual_seed(0)
    torch.save(build_network(HALF, 5).state_dict(), tmp_path / "five.pth")
    config = smaller(
        world, tmp_path / "run", data=replace(pairs, classes=[]), start=str(tmp_path / "five.pth")
    )
    refused(config, "five.pth has 5 classes: class 0, .*; teacher: .* has 11 classes: sky, ")


def test_one_logit_teaches_two(world: Path, tmp_path: Path) -> None:
    """A teacher's file tells that it has one logit, and its student has it too; one of another
    network has an output for each class, and both are compared as two logits."""
    one, two = (str(tmp_path / name) for name in ("one.pth", "two.pth"))
    torch.save(build_network(replace(WHOLE, one_logit=True), 2).state_dict(), one)
    torch.save(build_network(HALF, 2).state_dict(), two)
    how = {"data": replace(of(world), name="pairs", classes=["a", "b"]), "teacher": one, "steps": 1}
    how["data"].root, how["data"].target = (str(world / d / "train") for d in ("d1", "d2"))
    same_network = train(adapting(world, tmp_path / "same", network=WHOLE, **how))
    assert weights(same_network)["classifier.weight"].shape[0] == 1
    given = TeacherNetworkConfig(width=1 / 32)
    logits = {"taps": {"logits": "logits"}, "teacher_network": given, "start": two}
    run = train(smaller(world, tmp_path / "two", **logits, **how))
    assert weights(run)["classifier.weight"].shape[0] == 2
    assert "projectors" not in checkpoint.newest(run / "checkpoints")[0].state  # type: ignore


def test_auto_pairs_layers_of_one_stride_and_the_last_ones(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The teacher's first map has a stride that MobileNet does not; a network without pool5 is
    paired so without being asked."""
    run = train(smaller(world, tmp_path / "run", network=MOBILE, taps="auto", steps=0))
    pairs = "of the student {conv2: backbone.1, conv3: backbone.3, fc7.2: classifier.cbr}"
    assert f"{pairs}; the student has no map of the stride of conv1" in capsys.readouterr().out
    regression = read_config(run)["objective"]["regression"]
    weights = {"conv2": 1 / 6, "conv3": 2 / 6, "fc7.2": 3 / 6}
    assert regression["taps"] == pytest.approx(weights)
    assert read_config(run)["objective"]["name"] == "auto_kd"


@pytest.mark.system
def test_the_command_takes_two_networks_and_trusts_what_it_is_told(
    world: Path, tmp_path: Path
) -> None:
    """`network=NAME` is another network even where it is the default one."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, classes, 1))\n"
    )
    small = ("batch=2", "device=cpu", "steps=1", "data.crop=[32,40]")
    data = ("data=camvid", f"data.root={world / 'd1'}", *small)
    run("train.py", *data, "network.factory=mine:net", "run=teacher", cwd=tmp_path)
    command = ("adapt.py", "teacher=teacher", f"data.target={world / 'd2'}", *small, "run=student")
    vgg = ("network=deeplab_vgg16", "network.width=0.03125", "network.batch_norm=true")
    done = run(*command, *vgg, cwd=tmp_path, status=2)
    assert "teacher_network.factory, where it is a teacher's of another network" in done.stderr
    trusted = (*command, *vgg, "teacher_network.factory=mine:net")
    done = run(*trusted, cwd=tmp_path, status=2)
    assert "'mine:net' -> 'deeplab_vgg16'" in done.stderr
    assert "a student of another network needs start=" in done.stderr
    new = ("start=none", "penalty=none", "taps=auto")
    done = run(*trusted, *new, cwd=tmp_path)
    assert "taps=auto takes {1: 1}, of the student {1: fc7.2}" in done.stdout
    assert "warning: objective 'auto' does not reach classifier.bias, classifier.weight" in (
        done.stdout
    )
    assert "before (a start without training)" in done.stdout

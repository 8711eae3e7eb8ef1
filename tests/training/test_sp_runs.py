"""Whole runs with every penalty: what is recorded, resuming, what is refused."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import adapting, curve, edit_record, interrupted, refused, same, teaching, weights

from adapt.disk.files import read_json
from adapt.disk.runs import open_run
from adapt.errors import InputError
from adapt.penalties import PENALTIES
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.settings.training import TrainConfig
from adapt.training.setup import prepare, resolve
from adapt.training.train import restore, train

SP = [name for name in PENALTIES if "_sp" in name]


@pytest.fixture(scope="module")
def fisher(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fisher information of the teacher, as a file: every parameter, far from constant."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("fisher") / "fisher.safetensors"
    save_file({k: torch.rand(v.shape) ** 3 + 1e-3 for k, v in weights(world / "teacher").items()
               if "running" not in k and "num_batches" not in k}, path)  # fmt: skip
    return path


def penalty(name: str, fisher: Path, alpha: float = 0.3, **more: object) -> PenaltyConfig:
    if name == "none":
        return PenaltyConfig()
    file = str(fisher) if name.endswith("fisher") else ""
    return PenaltyConfig(name, alpha, 0.1, fisher=file, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "ema"), [*((name, 0.0) for name in PENALTIES), ("l1_sp", 0.9)])
def test_every_penalty_is_counted_and_recorded(
    world: Path,
    tmp_path: Path,
    fisher: Path,
    name: str,
    ema: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the network that is saved, which with `ema` is the average."""
    proximal = {"apply": "proximal"} if name.startswith(("l1", "gl")) else {}
    run = train(
        adapting(
            world, tmp_path / "s", steps=3, penalty=penalty(name, fisher, 1e-3, **proximal), ema=ema
        )
    )
    left_out = "left out, never reached by the objective: " in capsys.readouterr().out
    assert left_out == (name != "none")
    start, found = weights(world / "teacher"), weights(run)
    summary = read_json(run / "summary.json")
    assert not torch.equal(found["conv1.0.weight"], start["conv1.0.weight"])
    split = summary["parameters"]
    trained = [
        k for k in start if k.startswith(("conv1.", "conv2.", "conv3.")) and start[k].ndim == 4
    ]
    count = sum(start[k].numel() for k in trained)
    assert split["to_start"] == (count if name in SP else 0)
    assert split["to_zero"] == (0 if name in ("none", *SP) else count)
    assert split["shared"] == split["parameters"] and split["new_percent"] == 0
    pulled = {"w0"} if name in SP else set()
    weighted = {"fisher"} if name.endswith("fisher") else set()
    assert set(summary["inputs"]) == {"start", "teacher", "samples"} | pulled | weighted
    if name in SP:
        equal = sum(int((found[k] == start[k]).sum()) for k in trained)
        assert split["equal_to_start"] == pytest.approx(100 * equal / count)


@pytest.mark.parametrize("name", ["gl_sp", "l2_sp_fisher"])
def test_a_resumed_run_is_still_pulled_to_the_original(
    world: Path, tmp_path: Path, fisher: Path, name: str
) -> None:
    """Not to the checkpoint that it resumes from: bit for bit the straight run, same w0."""
    straight = adapting(
        world, tmp_path / "a", steps=6, checkpoint_every=2, penalty=penalty(name, fisher)
    )
    broken = replace(straight, run=str(tmp_path / "b"))
    train(straight)
    interrupted(broken, 5)
    resolved, *models = resolve(broken)
    setup = prepare(resolved, *models)
    with open_run(tmp_path / "b", asdict(resolved)) as folder:
        assert restore(setup, folder)[0] == 4
    start, now = weights(world / "teacher"), setup.student.state_dict()
    assert not torch.equal(now["conv1.0.weight"], start["conv1.0.weight"])
    w0 = setup.penalty.digests()["w0"]
    train(broken)
    assert same(tmp_path / "a", tmp_path / "b")
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    for run in ("a", "b"):
        assert read_json(tmp_path / run / "summary.json")["inputs"]["w0"] == w0


@pytest.mark.parametrize("name", SP)
def test_alpha_to_infinity_gives_the_teacher_bit_for_bit(
    world: Path, tmp_path: Path, fisher: Path, name: str
) -> None:
    """Frozen statistics, all kinds of parameters: the adapted run is the teacher."""
    strong = penalty(name, fisher, 1e30, kinds="all", apply="proximal")
    schedule = ScheduleConfig(lr=0.05)
    run = train(adapting(world, tmp_path / "s", bn="affine", penalty=strong, schedule=schedule))
    assert same(run, world / "teacher")
    assert read_json(run / "summary.json")["parameters"]["equal_to_start"] == 100


@pytest.mark.parametrize(("name", "optimizer"), [("l1_sp", "sgd"), ("gl_sp", "adamw")])
def test_a_stronger_proximal_pull_leaves_more_weights_on_their_start(
    world: Path, tmp_path: Path, fisher: Path, name: str, optimizer: str
) -> None:
    """AdamW's first steps move every weight by about lr: there the threshold is an alpha of 1."""
    shares = []
    for alpha in (1e-4, 0.1, 0.8, 1.2) if optimizer == "adamw" else (1e-4, 0.01, 0.1, 1.0):
        run = adapting(
            world, tmp_path / f"{alpha}", penalty=penalty(name, fisher, alpha, apply="proximal"),
            schedule=ScheduleConfig(lr=0.02, optimizer=optimizer),
        )  # fmt: skip
        shares.append(read_json(train(run) / "summary.json")["parameters"]["equal_to_start"])
    assert shares == sorted(shares) and shares[0] < 5 < 95 < shares[-1], shares
    assert any(5 < share < 95 for share in shares), shares


def test_a_checkpoint_of_an_earlier_version_still_resumes(world: Path, tmp_path: Path) -> None:
    """It had a seal of its own entries, and neither the settings nor a digest of them."""
    config = adapting(world, tmp_path / "s", steps=4, checkpoint_every=1)
    interrupted(config, 2)
    for meta in (tmp_path / "s" / "checkpoints").glob("*/meta.json"):
        edit_record(meta, settings=None, curve=None, seal="0" * 64)
    train(config)
    assert read_json(tmp_path / "s" / "summary.json")["steps"] == 4


def test_a_fisher_file_that_does_not_fit_leaves_no_run(
    world: Path, tmp_path: Path, fisher: Path
) -> None:
    def config(file: object) -> TrainConfig:
        made = PenaltyConfig("l2_sp_fisher", 0.1, 0.1, fisher=str(file))
        return adapting(world, tmp_path / "s", penalty=made)

    refused(config(""), "l2_sp_fisher needs penalty.fisher=FILE")
    refused(config(tmp_path / "no.safetensors"), r"penalty.fisher: .*no\.safetensors: no such file")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(fisher.read_bytes()[:100])
    refused(config(broken), r"penalty.fisher: .*not a readable safetensors file")
    save_file({"fc.weight": torch.ones(3)}, broken)
    refused(config(broken), r"penalty.fisher does not fit .*missing: conv1\.0")
    given = PenaltyConfig("l2_sp", 0.1, 0.1, fisher=str(fisher))
    refused(adapting(world, tmp_path / "s", penalty=given), "penalty=l2_sp does not use it")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("apply", "prox", "penalty.apply.*Choices: gradient, decoupled, proximal"),
        ("kinds", "convs", "penalty.kinds.*'conv'.*Choices: weights, conv, all"),
        ("groups", "kernel", "penalty.groups.*Choices: channel, layer"),
        ("epsilon", 0.0, "penalty.epsilon is 0.0; it must be above 0"),
        ("fisher_scale", "max", "penalty.fisher_scale.*Choices: mean, raw"),
    ],
)
def test_wrong_settings_are_named(field: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PenaltyConfig("gl_sp", 0.1, 0.1, **{field: value})  # type: ignore[arg-type]


def test_a_supervised_run_from_scratch_has_no_start_to_be_pulled_to(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strong = PenaltyConfig("l2", 0.5, 5e-4)
    run = train(teaching(world, run=str(tmp_path / "b1"), steps=1, penalty=strong))
    assert "penalty.alpha=0.5 acts on nothing" in capsys.readouterr().out
    split = read_json(run / "summary.json")["parameters"]
    assert split["shared"] == split["to_start"] == 0 and split["new_percent"] == 100
    assert split["equal_to_start"] is None
    config = teaching(world, run=str(tmp_path / "none"), penalty=PenaltyConfig("l1_sp", 0.1))
    refused(config, "penalty l1_sp: there is no start to pull to")

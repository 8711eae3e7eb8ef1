"""What a user reads before anything is computed: explanations and one-line refusals."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from adapt.cli import fra
from adapt.cli.commands import COMMANDS
from adapt.cli.help import first_sentence, sections
from adapt.cli.main import main
from docs.make_settings import page

ROOT = Path(__file__).resolve().parents[2]
LATE = {"torchvision", "matplotlib", "albumentations", "kornia", "numba", "scipy", "tensorboard"}
"""What no command imports before it needs it."""
HEAVY = LATE | {"torch", "numpy", "cv2", "PIL", "submitit"}


class Told(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def tell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., Told]]:
    """A script in this process: command and its arguments -> status and what it printed."""
    handler = signal.getsignal(signal.SIGTERM)
    for name in ("PYTHONPATH", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)

    def call(command: str, *given: str) -> Told:
        monkeypatch.setattr(sys, "argv", [f"{command}.py", *given])
        try:
            main(command)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return Told(status, *capsys.readouterr())

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.system
def test_commands_import_what_they_need_and_when_they_need_it() -> None:
    """Every command is asked for help and told something wrong, then its function is imported, and
    a network is made that needs no torchvision, traced and trained for a step, uncompiled."""
    code = f"""
import sys
from adapt.cli import fra
from adapt.cli.commands import COMMANDS
from adapt.cli.main import main
import adapt
for name, command in COMMANDS.items():
    for given in (["--help"], ["device=[1]"]):
        sys.argv = [name, *given]
        try:
            main(name)
        except SystemExit as end:
            assert end.code == 2, (name, given)
        assert not {HEAVY} & {{*sys.modules}}, (name, given, {HEAVY} & {{*sys.modules}})
for name, command in COMMANDS.items():
    assert command.function()
    assert not {LATE} & {{*sys.modules}}, (name, {LATE} & {{*sys.modules}})
import torch
from adapt.networks.layers import trace
from adapt.networks.saved import NetworkConfig, build_network
from adapt.settings.groups import ScheduleConfig
from adapt.training.schedules import make_optimizer
net = build_network(NetworkConfig(name="fcn8s_vgg16", width=0.01), 2)
assert trace(net, (32, 32))
for kind in ("sgd", "adamw"):
    optimizer = make_optimizer(net, [], ScheduleConfig(optimizer=kind))
    optimizer.zero_grad()
    net(torch.zeros(1, 3, 32, 32)).sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
late = {LATE | {"torch._dynamo", "sympy"}}
assert not late & {{*sys.modules}}, late & {{*sys.modules}}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "device" in done.stderr and "Traceback" not in done.stderr


def test_the_list_of_commands_has_a_whole_sentence_of_each() -> None:
    *_, last = fra.help_page().split("\n\n")
    for line in last.splitlines():
        assert re.fullmatch(r"  \w+ +[A-Z][^()]+(\(.+\))?\.", line) and len(line) < 108, line


def test_the_page_says_what_the_settings_say() -> None:
    assert (ROOT / "docs/settings.md").read_text() == page(), "make settings"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_setting_of_a_command(name: str, tell: Callable[..., Told]) -> None:
    """With a sentence, on the page as well, and only those of groups that the command has."""
    every = [setting for _, part in sections(COMMANDS[name].settings()) for setting in part]
    said = tell(name, "--help").out
    told, text = " ".join(said.split()), page().replace("\\|", "|")
    for setting in every:
        sentence = first_sentence(setting.meaning)
        assert 10 < len(sentence) < 170, setting
        assert f"{sentence} <{setting.kind}>" in told and sentence in text, setting
    shown = set(re.findall(r"^  ([\w.]+)=", said, re.MULTILINE))
    assert shown == {s.name for s in every} | set(COMMANDS[name].groups)


def test_help_shows_the_values_that_the_command_line_gives(tell: Callable[..., Told]) -> None:
    said = tell("adapt", "penalty=l1_sp", "--help", "penalty.beta=7").out
    assert "penalty=l1_sp " in said and "penalty.beta=7.0 " in said
    assert "penalty.apply=proximal " in said and "domain=d2 " in said


@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        ("train", ["penality=l2"], "penality: .* Did you mean 'penalty'"),
        ("train", ["penalty.alhpa=1"], r"penalty\.alhpa: .* Did you mean 'alpha'"),
        ("train", ["+penalty.alhpa=1"], r"penalty\.alhpa: .* Did you mean 'alpha'"),
        ("train", ["~steeps"], "steeps: .* Did you mean 'steps'"),
        ("train", ["objective=pol5"], "objective: .* Did you mean 'pool5'"),
        ("train", ["precision=fp23"], "precision: .* Did you mean 'fp32'"),
        ("train", ["network.name=resnet81"], r"network\.name: .* Did you mean 'resnet18'"),
        ("train", ["penalty=null"], "penalty=null: penalty takes the name of a choice"),
        ("train", ["steps=abc"], "steps: .*'abc'.* whole number at least 0"),
        ("train", ["data.flip=maybe"], r"data\.flip: .*'maybe'.* true \| false"),
        ("train", ["data.crop=abc"], r"data\.crop: .* \[height, width\] in pixels"),
        ("train", ["steps=-1"], "steps is -1; it must be at least 0"),
        ("train", ["data.root"], r"data\.root: give a value, data\.root=VALUE"),
        ("train", ["=3"], "'=3': give SETTING=VALUE"),
        ("train", ["a b=3"], "'a b=3': give SETTING=VALUE"),
        ("train", ["data.crop=[1,2"], r"data\.crop=\[1,2: .* brackets and quotes"),
        ("train", ["data.parts={a: 1}"], r"data\.parts\.a: .* takes a \+: '\+data\.parts={a: 1}'"),
        ("train", ["run=${oc.env:NO_SUCH}"], "run: .*'NO_SUCH' not found"),
        ("train", ["seed=1,2"], r"seed=1,2: give -m .* or seed=\[1,2\]"),
        ("train", ["--multi-run"], "unrecognized arguments: --multi-run; see train --help"),
        ("train", ["--experimental-rerun=a.pickle"], "unrecognized arguments"),
        ("train", ["hydra.verbos=1"], r"hydra\.verbos: .* Did you mean 'verbose'"),
        ("train", ["seed=1,2", "objective=pool3,pol5", "-m"], "Did you mean 'pool5'"),
        ("train", ["--config-dir=.", "+experiment=key"], "experiment/key: .* mean 'penalty'"),
        ("train", ["--config-dir=.", "+experiment=value"], r"/value: penalty\.alpha: .*'x'"),
        ("train", ["--config-dir=.", "+experiment=choice"], "Did you mean 'pool5'"),
        ("train", ["--config-dir=.", "+experiment=broken"], r"broken\.yaml.*line 2"),
        ("fisher", ["checkpoint_everi=5"], "checkpoint_everi: 'checkpoint_everi' is not known"),
        ("adapt", ["lr=0.1"], r"lr: no such setting; there is schedule\.lr"),
        ("study", ["experiment=demo", "~shifts.fog"], r"shifts\.fog: shifts has nothing of"),
        ("study", ["experiment=demo", "shifts.ripple=null"], r"null is no .*'~shifts\.ripple'"),
        ("scan", ["data.root=.", "--dry-run"], "data is not set: of two folders data=pairs"),
        ("study", ["experiment=demoo"], "experiment: .* Did you mean 'demo'"),
        ("study", ["supervised.penalty.aplha=1"], r"supervised\.penalty\.aplha: .*'alpha'"),
        ("study", ["penality=l2"], "penality: .* Did you mean 'penalties'"),
        ("predict", ["penalty=l2"], "penalty: 'penalty' is not known"),
        ("train", ["data.root='${NOPE}/x'"], r"data\.root: Interpolation key 'NOPE' not found"),
        ("train", ["data.root='${oc.env:NO_PE}'"], r"data\.root: Environment variable 'NO_PE'"),
        ("train", ["data.classes=['a${','b']"], r"data\.classes\[0\]: .*; \$\{ begins a reference"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(
    command: str, given: list[str], words: str, tell: Callable[..., Told], tmp_path: Path
) -> None:
    """Hydra's own messages included; with the nearest name, status 2, and nothing written."""
    (tmp_path / "experiment").mkdir()
    for name, text in {
        "key": "penality: {alpha: 1}", "value": "penalty: {alpha: x}", "broken": "steps: [1",
        "choice": "defaults: [override /objective: pol5]",
    }.items():  # fmt: skip
        (tmp_path / f"experiment/{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    told = tell(command, *given)
    assert told.status == 2 and not told.out
    assert re.fullmatch(f"error: .*{words}.*\n", told.err), told.err
    assert {p.name for p in tmp_path.iterdir()} <= {"experiment", "runs"}


def test_of_several_processes_the_first_says_it(
    tell: Callable[..., Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert tell("train", "steps=-1") == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    assert tell("train", "steps=-1") == (2, "", "error: steps is -1; it must be at least 0\n")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_m_stands_anywhere_on_the_line(place: int, tell: Callable[..., Told]) -> None:
    given = ["run=${seed}", "seed=-1,-2"]
    told = tell("train", *given[:place], "-m", *given[place:])
    assert told.status == 1
    assert told.err.splitlines() == [
        f"error: seed is {n}; it must be at least 0 (in the sweep: seed={n})" for n in (-1, -2)
    ]

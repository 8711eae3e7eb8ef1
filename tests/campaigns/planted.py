"""Adaptations that must fail: how often does the verdict say "worth using" of one that is not?

    python tests/campaigns/planted.py --data CAMVID --unrelated FOLDER [FOLDER ...] [--count 21]

Each kind of failure is planted `--count` times, over three teachers (deeplab_vgg16 of width 1/8
with batch norm on CamVid's training frames at 160x120) and the shifts of SHIFTS; `right` pairs are
the control. Every adaptation has `--steps` steps of 8 and holds out a tenth of its pairs. The
verdict is drawn twice, from held-out pairs that are spoilt as the others are, as a user's would be,
and from right ones. An adaptation has truly helped where the student's mIoU by the labels of
CamVid's val split, on right new images, is above those of the right teacher, of the teacher that
was given, and of both with AdaBN (Li et al. 2016).

Rounds that are in `--out` already are not done again.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from copy import deepcopy
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from scipy.stats import beta
from torch import nn
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]

import adapt
from adapt.disk.files import read_json, write_json
from adapt.disk.runs import revision
from adapt.evaluation.metrics import tally
from adapt.machine.runtime import processor
from adapt.settings.groups import IMAGENET_MEAN, IMAGENET_STD
from adapt.training.resampling import mious
from adapt.training.verdict import ADABN, AFTER, BEFORE, WORTH, conclude

SIZE = (160, 120)
"""Width and height of all images, pixels."""
SHIFTS = {
    "photocopy": ["shift.parameters.mask_radius=15.0", "shift.parameters.sharpness=0.95"],
    "ripple": ["shift.parameters.amplitude=74.6897", "shift.parameters.period=43.5403"],
    "cubism": ["shift.parameters.tile_size=40.0"],
}
TEACHERS = 3
OFFSET = 32 * SIZE[0] / 480
"""Of 32 px of the files, which are 480 wide."""
CLASSES = 11

Images = list[np.ndarray]
Pairs = list[tuple[np.ndarray, np.ndarray]]


class Planted(NamedTuple):
    """What an adaptation is made from."""

    net: nn.Module
    pairs: Pairs
    settings: dict[str, Any]
    """Of adapt.fit."""


class Scene(NamedTuple):
    """One round: a shift, a teacher's network and what can be planted."""

    net: nn.Module
    old: Images
    new: Images
    unrelated: list[Path]
    number: int
    rng: np.random.Generator


def exchanged(pairs: Pairs, chosen: np.ndarray) -> Pairs:
    """The chosen pairs have the new image of another chosen one."""
    other = dict(zip(chosen, np.roll(chosen, 1), strict=True))
    return [(x1, pairs[other.get(i, i)][1]) for i, (x1, _) in enumerate(pairs)]


def right(scene: Scene) -> Planted:
    return Planted(scene.net, list(zip(scene.old, scene.new, strict=True)), {})


def shuffled(scene: Scene) -> Planted:
    """Every new image shows another scene."""
    net, pairs, how = right(scene)
    return Planted(net, exchanged(pairs, scene.rng.permutation(len(pairs))), how)


def half_wrong(scene: Scene) -> Planted:
    """Half of them do."""
    net, pairs, how = right(scene)
    return Planted(net, exchanged(pairs, scene.rng.permutation(len(pairs))[::2]), how)


def moved(scene: Scene) -> Planted:
    """All new images are moved by 32 of the files' pixels in one direction."""
    net, pairs, how = right(scene)
    angle = scene.rng.uniform(0, 2 * np.pi)
    by = np.float32([[1, 0, OFFSET * np.cos(angle)], [0, 1, OFFSET * np.sin(angle)]])
    off = [cv2.warpAffine(x2, by, SIZE, borderMode=cv2.BORDER_REFLECT) for _, x2 in pairs]
    return Planted(net, [(x1, x2) for (x1, _), x2 in zip(pairs, off, strict=True)], how)


def wrong_teacher(scene: Scene) -> Planted:
    """In turn: classes in another order, a last layer of noise, BGR images, no normalisation."""
    net, pairs, how = right(scene)
    last = net.classifier
    if scene.number % 4 == 0:
        order = torch.from_numpy(scene.rng.permutation(CLASSES))
        last.weight.data, last.bias.data = last.weight.data[order], last.bias.data[order]
    elif scene.number % 4 == 1:
        last.reset_parameters()
    elif scene.number % 4 == 2:
        how = {"order": "bgr"}
    else:
        how = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return Planted(net, pairs, how)


def unrelated(scene: Scene) -> Planted:
    """The new images are other photographs, one folder of them after the other."""
    net, pairs, how = right(scene)
    files = sorted(p for p in scene.unrelated[scene.number % len(scene.unrelated)].iterdir())
    others = [read(files[i % len(files)]) for i in scene.rng.permutation(len(pairs))]
    return Planted(net, [(x1, x2) for (x1, _), x2 in zip(pairs, others, strict=True)], how)


KINDS: dict[str, Callable[[Scene], Planted]] = {
    "right": right, "shuffled": shuffled, "half_wrong": half_wrong, "moved": moved,
    "wrong_teacher": wrong_teacher, "unrelated": unrelated,
}  # fmt: skip


def read(path: Path) -> np.ndarray:
    """An image, RGB uint8 (H, W, 3) of SIZE."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)


def folder(root: Path, split: str) -> Images:
    return [read(path) for path in sorted((root / split).glob("*.png"))]


def labels(root: Path) -> Images:
    """Masks uint8 (H, W) of SIZE of the val split."""
    masks = (
        cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted((root / "valannot").iterdir())
    )
    return [cv2.resize(mask, SIZE, interpolation=cv2.INTER_NEAREST) for mask in masks]


def batches(images: Images, how: dict[str, Any]) -> list[torch.Tensor]:
    """Normalised as `adapt.fit` is told to, in groups of 32."""
    stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    if how.get("order") == "bgr":
        stack = stack.flip(1)
    mean, std = (torch.tensor(how.get(k, d))[:, None, None] for k, d in DEFAULTS.items())
    return list(((stack - mean) / std).split(32))


DEFAULTS = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


@torch.no_grad()
def predictions(net: nn.Module, images: Images, how: dict[str, Any]) -> Images:
    net.eval()
    logits = torch.cat([net(batch) for batch in batches(images, how)])
    logits = nn.functional.interpolate(logits, SIZE[::-1], mode="bilinear", align_corners=False)
    return list(logits.argmax(dim=1).numpy().astype(np.uint8))


def adabn(net: nn.Module, images: Images, how: dict[str, Any]) -> nn.Module:
    """A copy with the batch-norm statistics of these images."""
    made = deepcopy(net)
    torch.optim.swa_utils.update_bn(batches(images, how), made)
    return made


def counts(truth: Images, found: list[Images]) -> np.ndarray:
    """(N, networks, 3, C) as the verdict has them."""
    rows = zip(truth, *found, strict=True)
    return np.stack([[tally(wanted, one, CLASSES) for one in row] for wanted, *row in rows])


def scripted(name: str, *given: str) -> None:
    subprocess.run([sys.executable, f"scripts/{name}.py", *given], cwd=HERE.parents[1], check=True)


def prepare(data: Path, work: Path) -> None:
    """The teachers and the twins."""
    common = ["data=camvid", f"data.root={data}", "data.follow_links=true"]
    for seed in range(TEACHERS):
        scripted(
            "train", f"run={work / f'teacher{seed}'}", *common, "network=deeplab_vgg16",
            "network.width=0.125", "network.batch_norm=true", "data.resize=[120,160]",
            "data.cache=true", "steps=1500", "batch=8", "schedule.lr=0.05", f"seed={seed}",
            "device=cpu",
        )  # fmt: skip
    for name, parameters in SHIFTS.items():
        scripted(
            "make_distorted_voc", *common, f"shift={name}", *parameters, f"out={work / name}",
        )  # fmt: skip


def one_round(
    kind: str, number: int, data: Path, work: Path, others: list[Path], steps: int
) -> Any:
    """One adaptation and what became of it."""
    shift, seed = list(SHIFTS)[number % len(SHIFTS)], number // len(SHIFTS) % TEACHERS
    teacher = adapt.load(work / f"teacher{seed}").network.eval()
    old, new = folder(data, "train"), folder(work / shift, "train")
    rng = np.random.default_rng([list(KINDS).index(kind), number])
    correct = list(zip(old, new, strict=True))
    scene = Scene(deepcopy(teacher), old, new, others, number, rng)
    planted = KINDS[kind](scene)
    held = rng.permutation(len(old))[: len(old) // 10]
    kept = [i for i in range(len(old)) if i not in set(held)]
    with redirect_stdout(StringIO()):
        result = adapt.fit(
            deepcopy(planted.net), [planted.pairs[i] for i in kept], steps=steps, lr=0.05,
            held_out=[planted.pairs[i] for i in held], seed=number, device="cpu",
            **planted.settings,
        )  # fmt: skip
    student, how = result.network.eval(), planted.settings
    spoilt = result.verdict
    networks = {BEFORE: planted.net, ADABN: adabn(planted.net, [x for _, x in planted.pairs], how)}
    networks[AFTER] = student
    x1, x2 = zip(*(correct[i] for i in held), strict=True)
    truth = predictions(planted.net, list(x1), how)
    found = [predictions(net, list(x2), how) for net in networks.values()]
    names = tuple(map(str, range(CLASSES)))
    clean = conclude(counts(truth, found), list(networks), names, steps)
    val = folder(work / shift, "val")
    compared = {
        "right_B0": (teacher, {}), "right_AdaBN": (adabn(teacher, new, {}), {}),
        "B0": (planted.net, how), "AdaBN": (adabn(planted.net, new, how), how),
        "student": (student, how),
    }  # fmt: skip
    seen = [predictions(net, val, own) for net, own in compared.values()]
    score = mious(counts(labels(data), seen).sum(axis=0)).round(2).tolist()
    return {
        "kind": kind, "number": number, "shift": shift, "teacher": seed,
        "verdict": spoilt.conclusion, "adabn_is_as_good": spoilt.adabn_is_as_good,
        "verdict_on_right_pairs": clean.conclusion,
        **dict(zip(compared, score, strict=True)),
        "helped": score[-1] > max(score[:-1]), "better_than_given": score[-1] > max(score[2:-1]),
    }  # fmt: skip


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """For each kind: how often the verdict was `worth using`, with held-out pairs that are spoilt
    and with right ones; of these, how often wrongly, with the upper end of the one-sided 95 %
    interval (Clopper & Pearson 1934); and how often it truly helped."""
    made = {}
    for kind in KINDS:
        own = [r for r in rounds if r["kind"] == kind]
        found: dict[str, Any] = {"rounds": len(own), "helped": sum(r["helped"] for r in own)}
        for key in ("verdict", "verdict_on_right_pairs"):
            said = [r for r in own if r[key] == WORTH]
            wrong = sum(not r["helped"] for r in said)
            most = beta.ppf(0.95, wrong + 1, len(own) - wrong) if wrong < len(own) else 1.0
            found[key] = {"worth": len(said), "wrongly": wrong, "at_most": round(float(most), 3)}
        made[kind] = found
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unrelated", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=21)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--work", type=Path, default=Path("runs/planted"))
    parser.add_argument("--out", type=Path, default=Path("results/campaign_planted.json"))
    given = parser.parse_args()
    data, work = given.data.resolve(), given.work.resolve()
    prepare(data, work)
    rounds = read_json(given.out)["rounds"] if given.out.is_file() else []
    done = {(r["kind"], r["number"]) for r in rounds}
    wanted = [(k, n) for n in range(given.count) for k in KINDS if (k, n) not in done]
    for kind, number in tqdm(wanted, disable=not sys.stderr.isatty()):
        rounds.append(one_round(kind, number, data, work, given.unrelated, given.steps))
        about = {
            "command": f"python tests/campaigns/planted.py --count {given.count} --steps "
            f"{given.steps}",
            "date": date.today().isoformat(),
            "cpu": processor(),
            "commit": revision(HERE),
        }
        write_json(given.out, about | {"summary": summary(rounds), "rounds": rounds})
    for kind, found in summary(rounds).items():
        print(f"{kind:14}", found)


if __name__ == "__main__":
    main()

"""Adaptation by this project and by others' tools, each as its own users run it: CPU seconds of a
step and of all else, memory, and lines of code.

    pip install lightly-train ultralytics torchdistill
    python benchmarks/peers.py [--rounds 3]

Every tool is a process with the script below it, on one core, with its own defaults for precision
and augmentation; those that take turns have the same backbone, images of 224x224 and batches of 8.
What is not the same is what the tools are for: all but this one show one image to teacher and
student, LightlyTrain trains two projections besides and updates a queue, Ultralytics also learns
from labelled boxes. A step is the difference between 5 epochs and 1, divided by the steps between
them; the rest of the shorter run are imports, the data set's check, what is written at the end and
validation. Networks start at random: nothing is downloaded. What is not installed is left out.
"""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from adapt.data.scenes import draw_scene
from benchmarks.measure import Seconds, append, medians, report, settings
from transforms import photocopy

IMAGES, BATCH, SIDE, EPOCHS = 48, 8, 224, (1, 5)
STEPS = IMAGES // BATCH
SCRIPTS = {
    "ours, ResNet-18": """
import adapt
from adapt.networks.fcn import FCN32s
teacher = FCN32s(11, backbone="resnet18")
adapt.fit(teacher, ("photos/old", "new"), taps=["pool5"], steps={steps}, run="{run}")
""",
    "LightlyTrain, ResNet-18": """
import lightly_train
lightly_train.pretrain(
    data="photos", out="{run}", model="torchvision/resnet18", method="distillation",
    method_args={{"teacher": "torchvision/resnet18", "teacher_args": {{"weights": None}}}},
    epochs={epochs}, batch_size=8, num_workers=0,
)
""",
    "torchdistill, ResNet-18": """
import torch, torchvision
from torch.utils.data import DataLoader
from torchdistill.core.distillation import get_distillation_box
from torchvision.transforms import v2
seen = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, True),
                   v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
images = torchvision.datasets.ImageFolder("photos", seen)
loader = DataLoader(images, 8, shuffle=True)
maps = {{"forward_hook": {{"output": ["layer4"]}}, "forward_proc": "forward_batch_only"}}
found = {{"is_from_teacher": False, "module_path": "layer4", "io": "output"}}
term = {{
    "criterion": {{"key": "MSELoss", "kwargs": {{}}}}, "weight": 1.0,
    "criterion_wrapper": {{"key": "SimpleLossWrapper", "kwargs": {{
        "input": found, "target": {{**found, "is_from_teacher": True}}}}}},
}}
config = {{
    "num_epochs": {epochs}, "teacher": {{**maps, "requires_grad": False}}, "student": {{**maps}},
    "criterion": {{"key": "WeightedSumLoss", "kwargs": {{"sub_terms": {{"layer4": term}}}}}},
    "optimizer": {{"key": "SGD", "kwargs": {{"lr": 0.01, "momentum": 0.9}}}},
}}
teacher, student = torchvision.models.resnet18(), torchvision.models.resnet18()
box = get_distillation_box(teacher, student, {{}}, config, torch.device("cpu"), None, False, 1)
for epoch in range({epochs}):
    box.pre_epoch_process(epoch=epoch)
    for batch, _ in loader:
        box.post_forward_process(box.forward_process(batch, None, {{}}))
    box.post_epoch_process()
torch.save(student.state_dict(), "{run}.pt")
""",
    "ours, YOLO26n": """
import adapt
from ultralytics import YOLO
teacher = YOLO("yolo26n-sem.yaml").model
adapt.fit(teacher, ("photos/old", "new"), taps=["model.16"], steps={steps}, run="{run}",
          settings={{"objective.regression.distance": "mean"}})
""",
    "Ultralytics, YOLO26n": """
from ultralytics import YOLO
YOLO("yolo26n.yaml").save("{run}.pt")
YOLO("yolo26n.yaml").train(
    data="boxes.yaml", distill_model="{run}.pt", epochs={epochs}, batch=8, imgsz=224, workers=0,
    project="{run}",
)
""",
}
NEEDS = {"LightlyTrain": "lightly_train", "torchdistill": "torchdistill", "YOLO": "ultralytics"}
OURS = {name: f"ours, {name.split(', ')[1]}" for name in SCRIPTS if not name.startswith("ours")}


def images() -> None:
    """`photos/old` and `new`, and boxes for those that want labels, in the working folder."""
    for number in range(IMAGES):
        image = draw_scene(0, number, (SIDE, SIDE))[0]
        for folder, shown in (("photos/old", image), ("new", photocopy(image)), ("images", image)):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(Path(folder, f"{number:02}.jpg"), quality=95)
        Path("labels").mkdir(exist_ok=True)
        Path("labels", f"{number:02}.txt").write_text("0 0.5 0.5 0.3 0.3\n")
    Path("boxes.yaml").write_text("path: .\ntrain: images\nval: images\nnames: {0: thing}\n")


def spent(script: str, epochs: int) -> tuple[float, int]:
    """CPU seconds and peak memory in bytes (Linux) of a script's process.

    Raises:
        RuntimeError: the script fails; its last words are said.
    """
    run = tempfile.mkdtemp(dir=".")
    text = script.format(epochs=epochs, steps=epochs * STEPS, run=f"{run}/run")
    with Path(run, "said").open("w+") as said:
        process = subprocess.Popen([sys.executable, "-c", text], stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        said.seek(0)
        if status:
            raise RuntimeError(said.read()[-2000:])
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main() -> None:
    given = settings(__doc__, rounds=3)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    missing = [word for word, module in NEEDS.items() if find_spec(module) is None]
    names = [name for name in SCRIPTS if not any(word in name for word in missing)]
    step: Seconds = {name: [] for name in names}
    rest: Seconds = {name: [] for name in names}
    memory: Seconds = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        images()
        for _ in range(given.rounds):
            for name in names:
                (short, _), (long, peak) = (spent(SCRIPTS[name], epochs) for epochs in EPOCHS)
                step[name].append((long - short) / (EPOCHS[1] - EPOCHS[0]) / STEPS)
                rest[name].append(short - EPOCHS[0] * STEPS * step[name][-1])
                memory[name].append(peak / 2**20)
    lines = {name: len(SCRIPTS[name].strip().splitlines()) for name in names}
    print(f"{'':<26}{'s a step':>9}{'the rest':>10}{'MiB':>8}{'lines':>7}")
    for name in names:
        cells = [medians(found)[name] for found in (step, rest, memory)]
        print(f"{name:<26}{cells[0]:>9.2f}{cells[1]:>10.1f}{cells[2]:>8.0f}{lines[name]:>7}")
    pairs = [(name, ours) for name, ours in OURS.items() if name in names and ours in names]
    found = {}
    for what, values in (("step", step), ("the rest", rest), ("memory", memory)):
        print(f"--- {what}")
        found[what] = report(values, pairs)
    append(given.out, **{"lines": lines, **found})


if __name__ == "__main__":
    main()

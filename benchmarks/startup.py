"""How long commands take to their first output, and `adapt` to its first step: CPU seconds.

    python benchmarks/startup.py [--rounds 3]

Each is a new process, that takes turns with the others and is ended when it has said the line that
is waited for: of commands on 40 small pairs the first, which `filters`, `fisher`, `invert` and
`report` say at their end. `import torch` is what any of them needs that computes, `import torch,
SGD` what a training written with torch does: the first optimiser imports torch._dynamo. Files are
in the disk's cache after the first round, which is dropped. CPU time, user and system, says the
same on a busy machine.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from adapt.cli.commands import COMMANDS
from adapt.data.images import write_png
from adapt.data.scenes import draw_scene
from benchmarks.measure import Variant, conclude, measure, settings
from transforms import photocopy

SGD = "import torch; torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0); print()"
FRA = "from adapt.cli.fra import main; main()"
WORK = {
    "analyse": "run=student images=2",
    "align": "{pairs} workers=1 out={new}",
    "calibrate": "teacher=teacher images=2 out={new}.json",
    "drift": "{pairs} teacher=teacher images=4 out={new}",
    "evaluate": "run=teacher",
    "export": "run=student images=1 formats=[safetensors] out={new}",
    "filters": "image=old/000.png out={new}",
    "fisher": "run=teacher images=2 out={new}.safetensors",
    "invert": "run=teacher image=old/000.png steps=1 out={new}",
    "layers": "network.width=0.125 size=[80,112]",
    "make_distorted_voc": "{pairs} workers=1 out={new}",
    "merge": "runs=[student,student2] run={new}",
    "predict": "run=teacher images=old out={new}",
    "report": "runs=. out={new}.html",
    "scan": "{pairs} workers=1 out={new}.json",
    "study": "experiment=demo runs={new}",
}
"""Commands and their settings; `new` is a path that is not there."""
TICKS = os.sysconf("SC_CLK_TCK")


def until(line: str, *command: str) -> float:
    """CPU seconds of a Python process up to the first line with a text in it."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        said = any(line in text and not text.startswith("error") for text in lines)
        found = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        process.kill()
    if not said:
        raise RuntimeError(f"{' '.join(command)} never says {line!r}")
    return (int(found[11]) + int(found[12])) / TICKS


def main() -> None:
    given = settings(__doc__, rounds=3)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number in range(40):
            image = draw_scene(0, number, (96, 128))[0]
            for name, shown in (("old", image), ("new", photocopy(image))):
                Path(name).mkdir(exist_ok=True)
                write_png(Path(name, f"{number:03}.png"), shown)
        script = partial(str.format, str(ROOT / "scripts/{}.py"))
        small = ["steps=1", "batch=4", "workers=0", "data.crop=[80,112]"]
        pairs = ["data=pairs", "data.root=old", "data.target=new"]
        network = ["network.width=0.125", "network.batch_norm=true"]
        train = [script("train"), "data=scenes", *network, *small]
        adapt = [script("adapt"), *pairs, "teacher=teacher", *small]
        for made in (*train, "run=teacher"), (*adapt, "run=student"), (*adapt, "run=student2"):
            subprocess.run([sys.executable, *made], check=True)

        def new() -> str:
            return f"{tempfile.mkdtemp(dir=folder)}/new"

        def first_step() -> float:
            return until("finished", *adapt, f"run={new()}")

        def first_line(name: str) -> float:
            settings = WORK[name].format(pairs=" ".join(pairs), new=new())
            return until("", script(name), *settings.split())

        variants: dict[str, Variant] = {
            "import torch": partial(until, "", "-c", "import torch; print()"),
            "import torch, SGD": partial(until, "", "-c", SGD),
            "fra --help": partial(until, "", "-c", FRA, "--help"),
            "adapt, first step": first_step,
            "train, first step": lambda: until("finished", *train, f"run={new()}"),
            **{name: partial(first_line, name) for name in WORK},
        }
        for name in COMMANDS:
            variants[f"{name} --help"] = partial(until, "", script(name), "--help")
        pairs_of = [(name, "import torch") for name in variants if name != "import torch"]
        pairs_of.append(("adapt, first step", "import torch, SGD"))
        conclude(given.out, measure(variants, given.rounds), pairs_of)


if __name__ == "__main__":
    main()

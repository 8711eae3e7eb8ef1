"""How long commands take to their first output, and `adapt` to its first step: CPU seconds.

    python benchmarks/startup.py [--rounds 3]

Each is a new process, that takes turns with the others and is ended when it has said the line that
is waited for. `import torch` is what any of them needs that computes, `import torch, SGD` what a
training does: the first optimiser imports torch._dynamo. Files are in the disk's cache after the
first round, which is dropped. CPU time, user and system, says the same on a busy machine.
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
TICKS = os.sysconf("SC_CLK_TCK")


def until(line: str, *command: str) -> float:
    """CPU seconds of a Python process up to the first line with a text in it."""
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = any(line in text for text in iter(process.stdout.readline, ""))
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
        train = [script("train"), "data=scenes", "network.width=0.125", "network.batch_norm=true"]
        small = ["steps=1", "batch=4", "workers=0", "data.crop=[80,112]"]
        subprocess.run([sys.executable, *train, *small, "run=teacher"], check=True)
        pairs = ["data=pairs", "data.root=old", "data.target=new", "teacher=teacher"]

        def first_step() -> float:
            run = tempfile.mkdtemp(dir=folder)
            return until("finished", script("adapt"), *pairs, *small, f"run={run}/student")

        variants: dict[str, Variant] = {
            "import torch": partial(until, "", "-c", "import torch; print()"),
            "import torch, SGD": partial(until, "", "-c", SGD),
            "fra --help": partial(until, "", "-c", FRA, "--help"),
            "adapt, first step": first_step,
        }
        for name in COMMANDS:
            variants[f"{name} --help"] = partial(until, "", script(name), "--help")
        pairs_of = [(name, "import torch") for name in variants if name != "import torch"]
        pairs_of.append(("adapt, first step", "import torch, SGD"))
        conclude(given.out, measure(variants, given.rounds), pairs_of)


if __name__ == "__main__":
    main()

"""Run a script of the product with something going wrong in it.

    driver.py FAULT[:ARGUMENT] SCRIPT.py OVERRIDES...

FAULT is a function of faults.py, which changes a thing inside this process before the script runs;
the product itself has no switch for it. `none` changes nothing.
"""

import runpy
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SCRIPTS = TESTS.parents[1] / "scripts"

if __name__ == "__main__":
    fault, script = sys.argv[1:3]
    sys.path[0] = str(TESTS.parents[1])  # what the scripts put there
    sys.path.append(str(TESTS))
    import faults

    name, _, argument = fault.partition(":")
    getattr(faults, name)(*([argument] if argument else []))
    sys.argv = [str(SCRIPTS / script), *sys.argv[3:]]
    sys.path.insert(0, str(SCRIPTS))  # as python does; the script replaces it
    runpy.run_path(sys.argv[0], run_name="__main__")

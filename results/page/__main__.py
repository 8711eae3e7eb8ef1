"""Studies' runs -> committed records -> docs/results.md, the pages that it names and their figures,
or with --contest the end of docs/contest.md (`make results`)."""

import argparse
import sys
from pathlib import Path

from adapt.errors import InputError
from results.page.contest import contest
from results.page.page import results

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m results.page", description=__doc__)
    parser.add_argument("--runs", nargs="+", type=Path, default=[], help="studies to record first")
    parser.add_argument("--judge", type=Path, help="a run, such as another seed's teacher, whose "
                        "network measures the style of the first study's inversions")  # fmt: skip
    parser.add_argument("--records", type=Path, default=Path("results/evidence"))
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--readme", type=Path, help="README whose front table and picture are made")
    parser.add_argument("--contest", nargs="*", type=Path, metavar="RUNS", help="instead: studies "
                        "of the contest to record before docs/contest.md is written")  # fmt: skip
    given = vars(parser.parse_args())
    studies = given.pop("contest")
    try:
        results(**given) if studies is None else contest(studies)
    except InputError as error:
        sys.exit(f"error: {error}")

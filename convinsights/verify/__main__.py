"""Cases for kernels in C, Verilog or on a board: write them, judge the results beside them."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from convinsights.verify._calls import NAMED
from convinsights.verify._folder import FORMATS, judge, write_cases
from convinsights.verify._plan import FORMS
from convinsights.verify._precision import ALGORITHMS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status.

    0, 1 where results are wrong or none is there, 2 for bad input.
    """
    parser = argparse.ArgumentParser(prog="python -m convinsights.verify", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser("write", help="write the cases of a module into an empty folder")
    writes.add_argument("folder")
    writes.add_argument("module", choices=sorted(NAMED))
    writes.add_argument("--rank", type=int, action="append", metavar="N", help="1, 2 or 3")
    for name, what in (
        ("dtype", "of the arrays"),
        ("operands", "to what operands are rounded"),
        ("accumulate", "in which products are summed"),
    ):
        writes.add_argument(f"--{name}", help=f"a NumPy dtype or {', '.join(FORMATS)}: {what}")
    writes.add_argument("--algorithm", choices=ALGORITHMS, default="direct")
    writes.add_argument("--supports", nargs="*", help="hyperparameters to vary; all unless given")
    writes.add_argument("--thorough", action="store_true", help="all triples of settings")
    writes.add_argument("--forms", choices=FORMS, default="canonical")
    writes.add_argument("--seed", type=int, default=0)
    judges = commands.add_parser("judge", help="judge the results that stand beside the cases")
    judges.add_argument("folder")
    given = vars(parser.parse_args(arguments))
    try:
        if given.pop("command") == "judge":
            report = judge(given["folder"])
            print(report)
            return 0 if report.passed else 1
        print(_write(given), "cases")
        return 0
    except (ValueError, TypeError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2


def _write(given: dict[str, Any]) -> int:
    folder, module = given.pop("folder"), NAMED[given.pop("module")]
    ranks = given.pop("rank") or (2,)
    kinds = {name: given.pop(name) for name in ("dtype", "operands", "accumulate")}
    kinds["dtype"] = kinds["dtype"] or "float32"
    named = {name: FORMATS.get(kind, kind) for name, kind in kinds.items()}
    return write_cases(folder, module, ranks=ranks, **named, **given)


if __name__ == "__main__":
    sys.exit(main())

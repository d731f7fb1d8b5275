"""The proof: a person's judgements become a better served model, through HTTP and `align round`.

`make loop` runs every case of the table; `make loop ARGS="list 0"` runs one. Finished steps are
kept under `loop-results/`, so an interrupted run goes on where it was; what a case found is written
to `docs/loop/`.
"""

import json
import sys

from tests.e2e.product import ROOT
from tests.ending import leave_nothing_running
from tests.loop.case import Case
from tests.loop.report import table

STEPS = ROOT / "loop-results"
FOUND = ROOT / "docs/loop"
CASES = [("list", 0), ("list", 1), ("list", 2), ("brief", 0), ("you", 0), ("random", 0)]


def main() -> None:
    """Run the cases asked for, and print what all finished ones found."""
    leave_nothing_running()
    asked = [(sys.argv[1], int(sys.argv[2]))] if len(sys.argv) == 3 else CASES
    for rule, seed in asked:
        found = Case(rule, seed, STEPS / f"{rule}-{seed}").run()
        FOUND.mkdir(exist_ok=True)
        (FOUND / f"{rule}-{seed}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(table([json.loads(file.read_text()) for file in sorted(FOUND.glob("*-*.json"))]))


if __name__ == "__main__":
    main()

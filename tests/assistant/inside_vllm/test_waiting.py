"""How threads wait: the trick that makes libgomp wait briefly, and when it is played."""

import json
import os
import subprocess
import sys
import time

import pytest

from assistant.inside_vllm import waiting
from tests.assistant.inside_vllm.conftest import InVllm
from tests.e2e.product import ROOT

pytestmark = pytest.mark.long

# A thread of libgomp that waits awake uses its core while this process sleeps.
BURNT = """
import json, time
import torch
from assistant.inside_vllm.waiting import ENOUGH, IdleTeam

def burnt():
    torch.ones(ENOUGH).sum()
    before = time.process_time()
    time.sleep(0.5)
    return time.process_time() - before

def eventually(there):  # others may keep threads from coming and going
    return any(there(burnt()) for _ in range(10))

found = [eventually(lambda seconds: seconds > 0.25)]
team = IdleTeam()
found.append(eventually(lambda seconds: seconds < 0.1))
found.append(burnt() < 0.1)
team.leave()
found.append(eventually(lambda seconds: seconds > 0.25))
print(json.dumps(found))
"""


def test_an_idle_team_lets_threads_wait_asleep():
    two = sorted(os.sched_getaffinity(0))[:2]
    assert len(two) == 2, "engines need two cores, and so does this test"
    environment = os.environ | {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "30000000000"}
    script = [sys.executable, "-c", BURNT]
    run = subprocess.run(
        script, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: os.sched_setaffinity(0, two),  # a team of two fills them
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    awake, asleep, still_asleep, awake_again = json.loads(run.stdout.splitlines()[-1])
    assert (awake, asleep, still_asleep, awake_again) == (True, True, True, True)


class Team:
    """Counts instead of waiting."""

    made = left = 0

    def __init__(self) -> None:
        Team.made += 1

    def leave(self) -> None:
        Team.left += 1


def test_threads_sleep_while_others_want_the_cores_and_not_for_one_look(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(waiting, "IdleTeam", Team)
    watch = waiting.Watch()
    watch.see(0.9)
    assert Team.made == 0
    for _ in range(10):
        watch.see(0.5)
    assert (Team.made, Team.left) == (1, 0)
    for _ in range(20):
        watch.see(0.25)  # between both limits nothing changes
    assert (Team.made, Team.left) == (1, 0)
    for _ in range(20):
        watch.see(0.1)
    assert (Team.made, Team.left) == (1, 1)


def test_the_time_that_threads_run_is_counted():
    before, _ = waiting.times()
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass
    ran, waited = waiting.times()
    assert 0.15 < ran - before < 1
    assert waited >= 0


def test_vllm_still_has_the_seam(in_vllm: InVllm):
    assert in_vllm("patched_vllm", "waits")

"""What we leave out of vLLM's start: each test also says when vLLM leaves it out itself."""

import json
import subprocess
import sys

import pytest

from tests.e2e.product import ROOT

LOOK = """
import inspect, json
from vllm.platforms.cpu import CpuPlatform
from vllm.model_executor.models import registry
from vllm.v1.engine import utils
from assistant.inside_vllm import start

lazy = inspect.getsource(registry._LazyRegisteredModel.inspect_model_cls)
found = {
    "spawns": 'METHOD"] = "spawn"' in inspect.getsource(CpuPlatform.check_and_update_config),
    "asks": "get_mp_context()" in inspect.getsource(utils.CoreEngineProcManager.__init__),
    "looks elsewhere": "_run_in_subprocess(" in lazy,
}
start.install()
found["forks"] = utils.get_mp_context().get_start_method()
found["looks here"] = registry._run_in_subprocess(lambda: "here")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    script = [sys.executable, "-c", LOOK]
    run = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_vllm_still_spawns_its_core_on_a_cpu(found):
    assert found["spawns"], "vLLM may fork its core now: drop our patch"
    assert found["asks"]
    assert found["forks"] == "fork"


def test_vllm_still_looks_at_models_in_a_process_of_its_own(found):
    assert found["looks elsewhere"], "vLLM looks at models itself now: drop our patch"
    assert found["looks here"] == "here"

"""Machine: an engine's settings follow from what the machine has."""

from dataclasses import replace
from pathlib import Path

import pytest

from assistant.errors import EngineError
from assistant.machine import Machine, plan_engine

PLAIN = Machine(
    cores=2,
    memory_gib=24.0,
    gpu=False,
    tcmalloc="/lib/t.so",
    compiler=True,
    numa=True,
    gomp="/lib/gomp.so",
)
CACHE = Path("/cache")


def test_this_machine_is_looked_at():
    machine = Machine.this()
    assert machine.cores >= 1
    assert machine.memory_gib > 0.5
    assert Path(machine.gomp).is_file()


def test_a_cpu_uses_all_cores_and_compiles():
    plan = plan_engine(PLAIN, "auto", CACHE)
    assert plan.environment["OMP_NUM_THREADS"] == "2"
    assert plan.environment["LD_PRELOAD"] == "/lib/t.so:/lib/gomp.so"
    assert plan.environment["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] == "1"  # the core is forked
    assert plan.environment["GOMP_SPINCOUNT"] == "10000"
    assert plan.environment["VLLM_CACHE_ROOT"] == "/cache"
    assert plan.environment["TORCHINDUCTOR_CACHE_DIR"] == "/cache/compiled"
    assert int(plan.environment["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > 15  # as aiohttp keeps its side
    assert plan.twice
    assert not plan_engine(replace(PLAIN, memory_gib=6), "auto", CACHE).twice
    assert "--enforce-eager" not in plan.flags
    assert "--enforce-eager" in plan.eager().flags
    assert not plan.eager().twice
    assert "2 threads of 24 GiB" in plan.summary
    assert "compiled, tcmalloc" in plan.summary


def test_a_processor_that_multiplies_no_16_bits_does_so_in_32():
    assert plan_engine(PLAIN, "auto", CACHE).flags[:2] == ("--dtype", "bfloat16")
    plan = plan_engine(replace(PLAIN, bf16=False), "auto", CACHE)
    assert plan.flags[:2] == ("--dtype", "float32")
    assert "in 32 bits (this processor" in plan.summary


def test_the_operator_may_choose_how_long_threads_spin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert plan_engine(PLAIN, "auto", CACHE).environment["GOMP_SPINCOUNT"] == "7"


@pytest.mark.parametrize(
    ("compiler", "wanted", "eager"),
    [
        *((True, "auto", False), (True, "off", True), (True, "on", False)),
        *((False, "auto", True), (False, "off", True), (False, "on", False)),
    ],
)
def test_compiling_follows_the_compiler_unless_told(compiler: bool, wanted, eager: bool):
    plan = plan_engine(replace(PLAIN, compiler=compiler), wanted, CACHE)
    assert ("--enforce-eager" in plan.flags) == eager
    assert ("g++" in plan.summary) == (eager and wanted == "auto")


def test_what_is_missing_is_named_with_its_package():
    plan = plan_engine(replace(PLAIN, tcmalloc=None, gomp=None), "auto", CACHE)
    assert "LD_PRELOAD" not in plan.environment
    assert "libtcmalloc-minimal4" in plan.summary
    with pytest.raises(EngineError, match="apt-get install libnuma1"):
        plan_engine(replace(PLAIN, numa=False), "auto", CACHE)


def test_a_gpu_serves_a_family_as_adapters():
    plan = plan_engine(replace(PLAIN, gpu=True, numa=False), "auto", CACHE)
    assert plan.adapters
    assert "--enable-lora" in plan.flags
    assert "--enforce-eager" not in plan.flags
    assert plan.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "OMP_NUM_THREADS" not in plan.environment


def test_no_engine_reports_home():
    for gpu in (True, False):
        environment = plan_engine(replace(PLAIN, gpu=gpu), "auto", CACHE).environment
        assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"

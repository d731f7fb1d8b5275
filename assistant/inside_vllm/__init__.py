"""What we change inside vLLM, loaded by vLLM itself in every process of an engine.

`install` is named in `pyproject.toml` under `vllm.general_plugins`. Each change says what it is for
and does nothing where vLLM is no longer as it expects; a test tells when it is no longer needed.
"""


def install() -> None:
    """Make every change; called by vLLM, more than once in some processes."""
    from assistant.inside_vllm import (  # noqa: PLC0415 - not in ours
        drawing,
        gemm,
        groups,
        seeds,
        threads,
        waiting,
    )

    for change in (seeds, drawing, gemm, groups, threads, waiting):
        change.install()

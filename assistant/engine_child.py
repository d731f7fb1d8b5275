"""The first thing an engine's process runs: tie its life to its parent, then become vLLM."""

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask Linux for SIGTERM when the parent dies, so that no engine outlives a killed app."""
    parent = int(sys.argv.pop(1))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    runpy.run_module("vllm.entrypoints.launchers.api_server.entry", run_name="__main__")


if __name__ == "__main__":
    main()

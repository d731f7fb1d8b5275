"""A scripted engine as a child process: told vLLM's flags, it dies when its model's folder says so.

Told to end, it drops what it was answering at once: waiting for answers is up to its parent.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import uvicorn

from assistant.engine_child import follow
from tests.upstream import Upstream


def main() -> None:
    """Serve on the socket.

    The model's folder may hold `die-at-start`, `die-compiled`, `never-ready`, `never-compiled` and
    `die-now`.
    """
    parent = int(sys.argv[1])
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    orders = json.loads(line)
    follow(orders)
    flags = dict(zip(orders["flags"], orders["flags"][1:], strict=False))
    folder = Path(flags["--model"])
    (folder / "environment").write_text(json.dumps(dict(os.environ)))
    compiled = "--enforce-eager" not in orders["flags"]
    if (folder / "die-at-start").exists() or (compiled and (folder / "die-compiled").exists()):
        print("INFO all is well\nValueError: the weights are odd", flush=True)
        os._exit(3)

    def watch() -> None:
        while not (folder / "die-now").exists():
            if os.getppid() != parent:  # a killed test leaves no engine behind
                os._exit(1)
            time.sleep(0.01)
        (folder / "die-now").unlink()
        os._exit(4)

    threading.Thread(target=watch, daemon=True).start()
    if (folder / "never-ready").exists() or (compiled and (folder / "never-compiled").exists()):
        threading.Event().wait()
    app = Upstream(flags["--served-model-name"]).app
    uvicorn.run(app, uds=flags["--uds"], log_level="error", timeout_graceful_shutdown=0)


if __name__ == "__main__":
    main()

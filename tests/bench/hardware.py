"""What a benchmark ran on, as its first line."""

import importlib.metadata
import os
import platform

from assistant import processor


def hardware(*packages: str) -> str:
    """Cores, processor, Python and the versions of some packages."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    known = [
        f"{os.cpu_count()} cores",
        processor.described(),
        f"Python {platform.python_version()}",
    ]
    return ", ".join(known + versions)

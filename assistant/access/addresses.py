"""Which addresses are the API's, however a client joins them."""

import re

API = "/v1/"
SLASHES = re.compile("/{2,}")


def mended(path: str) -> str:
    """A path without doubled slashes, which clients make of a base address that ends in one."""
    return SLASHES.sub("/", path)

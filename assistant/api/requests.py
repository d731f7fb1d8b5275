"""A request's body: one JSON object, of bounded size and depth."""

import asyncio
import json
from typing import Any

from fastapi import Request

from assistant.bodies import at_most
from assistant.errors import Invalid, TooSlow

BODY_BYTES = 4 * 2**20
BODY_SECONDS = 60


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of a request's body; Invalid says what is wrong with it."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        # Also keeps other sites' pages out: browsers ask first before sending them JSON.
        raise Invalid("Send the body as JSON, with the header Content-Type: application/json.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await at_most(BODY_BYTES, request.stream())
    except TimeoutError:
        raise TooSlow(f"The request did not arrive within {BODY_SECONDS} s.") from None
    try:
        body = json.loads(raw)
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except ValueError as error:
        raise Invalid(f"The body is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    return body

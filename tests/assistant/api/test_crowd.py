"""Many streaming clients at once: answers or honest refusals, no leak; the soak in small."""

import asyncio
from pathlib import Path

from tests.assistant.api.conftest import gateway_over
from tests.serving import eventually, served
from tests.soak import crowd
from tests.upstream import Upstream


def test_three_hundred_clients_get_answers_or_honest_refusals(tmp_path: Path):
    upstream = Upstream()
    with served(upstream.app) as engine, gateway_over(tmp_path, upstream, engine) as api:
        assert eventually(lambda: api.get("/readyz").status_code == 200)
        turnstile = api.fleet.engine().turnstile
        turnstile.places, turnstile._waiting = 8, 100
        outcomes, _, slowest = asyncio.run(crowd.crowd(api.url, 300, "/healthz"))
        assert set(outcomes) <= crowd.HONEST, outcomes
        assert outcomes["200"] >= 108
        assert outcomes["503"] > 0
        assert slowest < 2
        assert eventually(lambda: (turnstile.inside, turnstile.queued) == (0, 0))
        assert eventually(lambda: api.fleet.engine().in_flight == 0)
        assert upstream.running == 0

"""A full disk: said to whoever wanted something kept, and to nobody else."""

from pathlib import Path

import sqlalchemy as sa

from tests.assistant.api.conftest import gateway_over
from tests.serving import eventually, served
from tests.upstream import Upstream

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
ASKED = {"messages": [{"role": "user", "content": "hi"}]}
ROOM = 1_000_000  # pages


def test_what_cannot_be_kept_is_refused_and_the_rest_goes_on(tmp_path: Path):
    upstream = Upstream()
    with (
        served(upstream.app) as engine,
        gateway_over(tmp_path / "home", upstream, engine) as api,
    ):
        assert eventually(lambda: api.get("/readyz").status_code == 200)
        made = api.post(CHAT, ASKED | {"store": True}).json()["id"]
        vote = {"completion_id": made, "rating": "up"}
        judged = api.post(FEEDBACK, vote).json()["id"]
        with api.store.engine.connect() as connection:
            full = connection.exec_driver_sql("PRAGMA page_count").scalar()
        pages = [full]
        sa.event.listen(
            api.store._engine,
            "begin",
            lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages[0]}"),
        )
        correction = {"completion_id": made, "correction": "x" * 30_000}
        refused = api.post(FEEDBACK, correction)
        assert refused.status_code == 503
        assert "its disk is full; nothing of this was stored" in refused.json()["error"]["message"]
        assert api.post(CHAT, ASKED).status_code == 200  # nothing of it is to be kept
        assert [one["id"] for one in api.get(FEEDBACK).json()["data"]] == [judged]
        pages[0] = ROOM
        assert api.post(FEEDBACK, correction).status_code == 201

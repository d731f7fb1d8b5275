"""How much has been said, and what training could use of it."""

from collections import Counter
from typing import Any

from assistant.feedback.judgements import in_effect
from assistant.feedback.rows import SHAPES, build
from assistant.feedback.store import FeedbackStore


def count(store: FeedbackStore) -> dict[str, Any]:
    """Conversations, judgements in effect by kind and choice, and rows by shape."""
    snapshot = store.snapshot()
    kinds = Counter(
        f"{j.kind} {j.choice}" if j.choice else j.kind for j in in_effect(snapshot.judgements)
    )
    rows = {shape: build(shape, snapshot) for shape in SHAPES}
    return {
        "conversations": len({m.conversation_id for m in snapshot.messages.values()}),
        "consented": len(snapshot.consented),
        "judgements": dict(sorted(kinds.items())),
        "rows": {
            shape: {"rows": len(made.rows), "left_out": dict(made.left_out)}
            for shape, made in rows.items()
        },
    }

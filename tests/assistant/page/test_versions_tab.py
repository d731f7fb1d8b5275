"""The card of a version shows how its trainings went."""

import base64
from pathlib import Path

from assistant.page.versions_tab import LARGEST, curves_of


def test_each_training_has_its_curve_and_nothing_else_is_shown(tmp_path: Path):
    for place, text in (
        ("made/dpo-0/curve.svg", "<svg>a</svg>"),
        ("made/<b>/curve.svg", "<svg>b</svg>"),
        ("made/kto-0/curve.svg", "x" * (LARGEST + 1)),
        ("made/dpo-0/other.svg", "<svg>c</svg>"),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    shown = curves_of(tmp_path)
    assert shown.count("<img") == 2
    for text in ("<svg>a</svg>", "<svg>b</svg>"):
        assert base64.b64encode(text.encode()).decode() in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert curves_of(tmp_path / "none") == ""

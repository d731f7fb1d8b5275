"""Settings: the environment, the flags over it, and what is refused."""

from pathlib import Path

import pytest

from assistant.errors import Invalid
from assistant.settings import Settings, check, from_environment, parse


def test_defaults_are_what_the_readme_says():
    assert from_environment({}) == Settings()
    assert Settings().database == f"sqlite:///{Path('data').resolve() / 'feedback.db'}"


def test_the_environment_is_read_by_exact_name_and_empty_means_unset():
    settings = from_environment(
        {
            "ASSISTANT_PORT": "8000",
            "ASSISTANT_HOME": "/elsewhere",
            "ASSISTANT_MODEL": "",
            "ASSISTANT_ENGINE_URL": "http://a:1, http://b:2",
            "ASSISTANT_COMPILE": "off",
            "ASSISTANT_CONTEXT": "2048",
            "ASSISTANT_DATABASE_URL": "postgresql://h/d",
            "assistant_host": "ignored",
        }
    )
    assert settings == Settings(
        port=8000,
        home=Path("/elsewhere"),
        engine_url=("http://a:1", "http://b:2"),
        compile="off",
        context=2048,
        database_url="postgresql://h/d",
    )
    assert settings.database == "postgresql://h/d"


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSISTANT_PORT", "8000")
    monkeypatch.setenv("ASSISTANT_COMPILE", "off")
    monkeypatch.setenv("ASSISTANT_ENGINE_URL", "http://elsewhere")
    assert parse(["--port", "9000"]).engine_url == ("http://elsewhere",)
    engines = ["--engine-url", "http://a", "--engine-url", "http://b"]
    settings = parse(["--port", "9000", *engines])
    assert (settings.port, settings.compile) == (9000, "off")
    assert settings.engine_url == ("http://a", "http://b")


def test_the_key_of_engines_is_read_from_the_environment_and_shown_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ASSISTANT_ENGINE_KEY", "k-1")
    settings = parse([])
    assert settings.engine_key == "k-1"
    assert "k-1" not in repr(settings)
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert "k-1" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "variable",
    [("PORT", "http"), ("PORT", "-1"), ("CONTEXT", "long"), ("COMPILE", "maybe")],
)
def test_nonsense_is_refused(variable: tuple[str, str]):
    with pytest.raises(Invalid, match=f"ASSISTANT_{variable[0]}"):
        from_environment({f"ASSISTANT_{variable[0]}": variable[1]})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(port=0), "1 to 65535"),
        (Settings(port=70000), "1 to 65535"),
        (Settings(engine_url=("http://a",), candidate="v2"), "second engine's URL"),
    ],
)
def test_what_would_fail_or_expose_is_refused(settings: Settings, words: str):
    with pytest.raises(Invalid, match=words):
        check(settings)

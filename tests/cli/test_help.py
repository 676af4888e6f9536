"""What `--help` teaches: examples that are right, readable in any terminal."""

from __future__ import annotations

import json
import re

import pytest

from nersemble_cli.cli.completion import TABLE
from tests.conftest import Run


def commands(node: dict, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = [found for name, sub in node["commands"].items() for found in commands(sub, (*words, name))]
    return [words, *below] if words else below


COMMANDS = commands(json.loads(TABLE.read_text())["command"])


def examples_of(text: str, words: tuple[str, ...]) -> list[str]:
    """The commands in the text that stand below "Example"."""
    _, _, below = text.partition("Example")
    start = re.escape(" ".join(["nersemble", *words]))
    return re.findall(rf"^ *({start}.*?) *$", below, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_examples_and_panels(words: tuple[str, ...], run: Run) -> None:
    result = run(*words, "--help")
    assert result.status == 0
    assert "╭─ Options" in result.out or "╭─ Commands" in result.out
    assert examples_of(result.out, words)


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
def test_help_is_readable_at_60_columns(words: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    result = run(*words, "--help")
    assert max(map(len, result.out.splitlines())) <= 60
    assert "…" not in result.out and not re.search(r"\w\.\.\.", result.out)  # nothing cut off
    assert "\x1b" not in result.out


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_examples_of_the_help_are_right(words: tuple[str, ...], run: Run) -> None:
    for example in examples_of(run(*words, "--help").out, words):
        # Without data and URL most of them end with an error, but none because it is written wrongly.
        result = run(*example.split()[1:], *(["--help"] if words == ("demo",) else []))
        assert "Usage:" not in result.err and "Unknown" not in result.err

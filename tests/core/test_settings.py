"""The benchmark folder, the URL, the FLAME model."""

from __future__ import annotations

from pathlib import Path

import pytest

from nersemble_cli.core import settings as project_settings


def test_url_comes_from_the_official_toolkit_s_file() -> None:
    path = Path.home() / ".config" / "nersemble_benchmark" / ".env"
    path.parent.mkdir(parents=True)
    path.write_text('NERSEMBLE_BENCHMARK_URL = "https://example.org/key/"\n')
    assert project_settings.find_url() == "https://example.org/key"


def test_working_directory_s_file_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    test_url_comes_from_the_official_toolkit_s_file()
    Path(".env").write_text("NERSEMBLE_BENCHMARK_URL=https://example.org/here")
    assert project_settings.find_url() == "https://example.org/here"
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", "https://example.org/environment")
    assert project_settings.find_url() == "https://example.org/environment"


def test_placeholder_of_the_instructions_is_no_url() -> None:
    Path(".env").write_text('NERSEMBLE_BENCHMARK_URL = "<<<URL YOU GOT WHEN REQUESTING ACCESS TO NERSEMBLE>>>"')
    assert project_settings.find_url() is None

"""The benchmark folder, the URL, the FLAME model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nersemble_cli.core import settings as project_settings
from nersemble_cli.core.errors import UsageError


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_env_files_of_other_encodings_are_read(encoding: str) -> None:
    Path(".env").write_bytes("# Schlüssel\r\nNERSEMBLE_BENCHMARK_URL=https://example.org/key\r\n".encode(encoding))
    assert project_settings.find_url() == "https://example.org/key"


@pytest.mark.parametrize(
    "line",
    [
        "export {}={}",
        "set {}={}\r",
        'setx {} "{}"\r',
        '$env:{} = "{}"\r',
        "{}: '{}'",
        "  {}   =   {}   # mine",
        'A=1\rexport {}="{}"',
    ],
)
def test_lines_of_other_shells_are_read(line: str) -> None:
    Path(".env").write_text(line.format("NERSEMBLE_BENCHMARK_URL", "https://example.org/key") + "\n", newline="")
    assert project_settings.find_url() == "https://example.org/key"
    assert project_settings.env_problems() == []


def test_an_env_file_that_cannot_be_read_is_named() -> None:
    os.mkfifo(".env")
    with pytest.raises(UsageError, match=r"\.env cannot be read: it is not a regular file"):
        project_settings.require_url()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"NERSEMBLE_BENCHMARK_URL: str = 'https://x.org/s3cret'", "is not understood"),
        (b"NERSEMBLE_BENCHMARK_URL='https://x.org/s3cret", "is not understood"),
        (b'{"NERSEMBLE_BENCHMARK_URL": "https://x.org/s3cret"}', "is not understood"),
        (b"https://x.org/s3cret", "is a URL without a name"),
        (b"NERSEMBLE_BENCHMARK_URL=https://x.org/s3cret/\xe9", "has bytes that are not UTF-8"),
    ],
)
def test_a_line_that_sets_nothing_is_named(line: bytes, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    Path(".env").write_bytes(b"# mine\n" + line + b"\n")
    assert project_settings.find_url() is None
    assert project_settings.env_problems() == [f"Line 2 of .env {problem}. Write: NERSEMBLE_BENCHMARK_URL=…"]
    assert caplog.records == []  # python-dotenv would log it, without the file


def test_other_lines_of_an_env_file_are_nobody_s_business() -> None:
    Path(".env").write_text("this is: no assignment\nPASSWORD='open\n# NERSEMBLE_BENCHMARK_URL=\n")
    assert project_settings.env_problems() == []


@pytest.mark.parametrize("text", ['{} = "{url}"', "export {}={url}", "{}: {url}", "$env:{} = '{url}'", "“{url}”"])
def test_the_line_of_the_access_mail_is_taken(text: str) -> None:
    line = text.format("NERSEMBLE_BENCHMARK_URL", url="https://example.org/key/")
    assert project_settings.clean_url(line) == "https://example.org/key"


def test_a_folder_inside_the_benchmark_folder_is_answered_with_the_right_line(tmp_path: Path) -> None:
    inside = tmp_path / "nersemble_benchmark" / "nvs"
    (inside / "388").mkdir(parents=True)
    for folder in (inside, inside / "388"):
        with pytest.raises(UsageError) as error:
            project_settings.find_folder(folder)
        assert str(error.value.hint).endswith(f"-f {inside.parent}")
    assert project_settings.find_folder(inside.parent) == inside.parent


def test_a_folder_above_the_benchmark_folder_is_answered_with_the_right_line(tmp_path: Path) -> None:
    below = tmp_path / "nersemble_benchmark"
    (below / "nvs" / "388").mkdir(parents=True)
    with pytest.raises(UsageError) as error:
        project_settings.find_folder(tmp_path)
    assert str(error.value.hint).endswith(f"-f {below}")
    (tmp_path / "nvs").mkdir()
    assert project_settings.find_folder(tmp_path) == tmp_path


def test_home_is_expanded() -> None:
    assert project_settings.find_folder(Path("~/data")) == Path.home() / "data"

"""`nersemble doctor`: true about this machine, and silent about the URL."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.inspect import machine as diagnosis
from tests.conftest import Run


def test_doctor_says_what_is_there(
    run: Run, tmp_path: Path, flame_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    found = json.loads(run("doctor", "-f", tmp_path, "--json").out)
    assert found["schema_version"] == 1
    assert found["libraries"]["numpy"] == np.__version__
    assert found["ffmpeg"]["libx264"]
    assert found["flame_model"]["found"] and found["flame_model"]["missing_embeddings"] == []
    assert found["folder"]["exists"]
    assert found["folder"]["free_bytes"] > 0
    assert not found["url_configured"]


def test_doctor_never_shows_the_url(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_URL", "https://user:pass@s3cret.example/s3cret")
    for options in ([], ["--json"]):
        result = run("doctor", *options)
        assert result.status == 0
        assert "s3cret" not in result.out + result.err
    assert json.loads(result.out)["url_configured"]


def test_doctor_without_a_model_says_where_to_get_it(run: Run) -> None:
    out = run("doctor").out
    assert "~/.cache/FLAME/flame2023.pkl" in out and "flame.is.tue.mpg.de" in out
    assert "flame_static_embedding.pkl and flame_dynamic_embedding.npy" in out and "RingNet" in out


def test_doctor_without_torch_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_version", lambda name: "1.0" if name == "numpy" else None)
    monkeypatch.setattr(diagnosis, "LIBRARIES", ("numpy", "torch", "trimesh"))
    out = run("doctor").out
    assert re.search(r"pip install .*\[flame\]", out)
    assert "missing: trimesh" in out


@pytest.mark.parametrize(("surface", "told"), [("egl", "files only"), ("nothing", "apt-get install libgl1")])
def test_doctor_says_whether_pictures_can_be_drawn(
    surface: str, told: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnosis, "find_surface", lambda: surface)
    assert told in run("doctor").out
    assert json.loads(run("doctor", "--json").out)["drawing_on"] == surface


def test_doctor_shows_settings_that_cannot_be_read(run: Run) -> None:
    os.mkfifo(".env")
    assert ".env cannot be read: it is not a regular file." in run("doctor").out
    assert json.loads(run("doctor", "--json").out)["env_problems"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_doctor_reads_settings_in_other_encodings(encoding: str, run: Run) -> None:
    Path(".env").write_bytes("# Schl\u00fcssel\r\nNERSEMBLE_BENCHMARK_URL=https://x.org/k\r\n".encode(encoding))
    found = json.loads(run("doctor", "--json").out)
    assert (found["url_configured"], found["env_problems"]) == (True, [])


@pytest.mark.parametrize("command", [["inspect"], ["download", "svfr"], ["visualize", "cameras", "388"]])
def test_every_command_says_once_what_it_could_not_read(command: list[str], run: Run) -> None:
    Path(".env").write_text("NERSEMBLE_BENCHMARK_FOLDER: str = '/data'\n")
    assert run(*command).err.count("Line 1 of .env is not understood") == 1

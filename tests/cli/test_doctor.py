"""`nersemble doctor`: true about this machine, and silent about the URL."""

from __future__ import annotations

import json
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
    assert found["flame_model"]["found"]
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

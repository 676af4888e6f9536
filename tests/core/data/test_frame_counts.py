"""Frame counts and where they come from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import requests

from nersemble_cli.core.benchmarks import MONO, NVS
from nersemble_cli.core.data.frame_counts import frame_counts
from tests import made_up


def write_tracking(folder: Path, participant: int, sequence: str, n: int) -> None:
    path = folder / f"mono_flame_avatar/{participant:03d}/sequences/{sequence}/tracking/flame2023_tracking_v2.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, frames=np.arange(n), jaw=np.zeros((n, 3)))


def test_tracking_files_give_counts_where_metadata_does_not(tmp_path: Path) -> None:
    write_tracking(tmp_path, 393, "FREE", 204)
    counts = frame_counts(MONO, tmp_path)
    assert counts.get(393, "FREE") == 204
    assert counts.get(393, "EMO-1-shout+laugh") is None
    assert counts.totals[393] == 816
    assert counts.sources[0].startswith("the FLAME tracking files in")


def test_metadata_comes_before_tracking(folder: Path, tmp_path: Path) -> None:
    write_tracking(tmp_path, 393, "FREE", 204)
    (tmp_path / "mono_flame_avatar" / "metadata.json").write_bytes(
        (folder / "mono_flame_avatar" / "metadata.json").read_bytes()
    )
    assert frame_counts(MONO, tmp_path).get(393, "FREE") == made_up.N_FRAMES


def test_server_is_asked_only_for_what_is_not_at_hand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "get", lambda *_, **__: pytest.fail("asked the server"))
    assert frame_counts(NVS, folder, "https://secret.example/key").get(388, "GLASSES") == made_up.N_FRAMES


def test_server_s_counts_come_before_the_built_in_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    response = requests.Response()
    response.status_code = 200
    response.raw = io.BytesIO((folder / "nvs" / "metadata.json").read_bytes())
    monkeypatch.setattr(requests, "get", lambda *_, **__: response)
    counts = frame_counts(NVS, None, "https://secret.example/key")
    assert (counts.get(388, "GLASSES"), counts.sources) == (made_up.N_FRAMES, ("the server's metadata.json",))


def test_unreachable_server_is_noted_without_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, **_: object) -> None:
        raise requests.ConnectionError(f"no route to {url}")

    monkeypatch.setattr(requests, "get", fail)
    counts = frame_counts(NVS, None, "https://secret.example/key")
    assert counts.get(388, "GLASSES") == 1118
    assert "ConnectionError" in counts.notes[0]
    assert "secret" not in counts.notes[0]

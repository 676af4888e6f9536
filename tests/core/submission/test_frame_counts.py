"""Frame counts and where they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.benchmarks import MONO, NVS
from nersemble_cli.core.download import http
from nersemble_cli.core.submission.frame_counts import frame_counts
from tests import made_up
from tests.fault_server import Fault, FaultServer


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


@pytest.fixture
def server() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.close()


def test_server_is_asked_only_for_what_is_not_at_hand(folder: Path, server: FaultServer) -> None:
    assert frame_counts(NVS, folder, server.url).get(388, "GLASSES") == made_up.N_FRAMES
    assert server.log == []


def test_server_s_counts_come_before_the_built_in_ones(folder: Path, server: FaultServer) -> None:
    server.served["nvs/metadata.json"] = (folder / "nvs" / "metadata.json").read_bytes()
    counts = frame_counts(NVS, None, server.url)
    assert (counts.get(388, "GLASSES"), counts.sources) == (made_up.N_FRAMES, ("the server's metadata.json",))


def noted(server: FaultServer) -> str:
    """What is noted of a server whose answer cannot be used. The built-in counts serve instead."""
    counts = frame_counts(NVS, None, server.url)
    assert counts.get(388, "GLASSES") == 1118
    (note,) = counts.notes
    assert "s3cret" not in note
    return note


def test_unreachable_server_is_noted_without_its_url(server: FaultServer) -> None:
    server.close()
    assert "refuses the connection" in noted(server)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>login</html>", "web page"),
        (b'{"error": "quota exceeded"}', "not the metadata.json of nvs"),
        (b"[" * 100_000, "deeply"),
        (b'{"sequences": {"388": {"sequence_name": "GLASSES", "timesteps": [1e999]}}}', "expected a number"),
        (b'{"participants_metadata": {"388": {"sequences_metadata": {"GLASSES": {"n_frames": 1%s}}}}}' % (b"0" * 30),
         "expected a number"),
        (b'{"participants_metadata": {"388": {"sequences_metadata": {"GLASSES": {"n_frames": -1}}}}}', "number"),
        (b'{"participants_metadata": {"388": {"sequences_metadata": {"GLASSES": {"n_frames": 1.5}}}}}', "whole"),
        (b'{"participants_metadata": {"388": {"sequences_metadata": {"GLASSES": {"n_frames": NaN}}}}}', "number"),
        (b'{"sequences": {"388": {"sequence_name": "GLASSES", "timesteps": "123"}}}', "expected a list"),
        (b'{"sequences": {"388": {"sequence_name": "GLASSES", "timesteps": [1, 1]}}}', "twice"),
        (rb'{"sequences": {"\u00b2": {"sequence_name": "GLASSES", "timesteps": [0]}}}', "ValueError"),
        (b'{"sequences": [%s' % (b"9" * 5000), "not JSON"),
        (b"\xff\xfe", "begins with"),
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_noted(content: bytes, reason: str, server: FaultServer) -> None:
    server.served["nvs/metadata.json"] = content
    assert reason in noted(server)


def test_json_may_have_a_byte_order_mark(folder: Path, server: FaultServer) -> None:
    server.served["nvs/metadata.json"] = b"\xef\xbb\xbf" + (folder / "nvs" / "metadata.json").read_bytes()
    assert frame_counts(NVS, None, server.url).get(388, "GLASSES") == made_up.N_FRAMES


def test_a_server_that_sends_byte_by_byte_is_given_up(
    folder: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SMALL_SECONDS", 0.2)
    server.served["nvs/metadata.json"] = (folder / "nvs" / "metadata.json").read_bytes()
    server.always["*"] = Fault(stall_after=100)
    assert "0.2 s" in noted(server)


def test_a_body_that_is_far_too_large_is_not_read(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SMALL_SIZE", 1000)
    server.served["nvs/metadata.json"] = b"{" + b" " * 1_000_000
    assert "more than 1,000 bytes" in noted(server)


def test_certificates_that_are_missing_end_no_offline_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    counts = frame_counts(NVS, None, "https://127.0.0.1:9/s3cret")
    assert counts.get(388, "GLASSES") == 1118
    assert "The CA bundle in REQUESTS_CA_BUNDLE does not exist" in counts.notes[0]


def test_metadata_that_contradicts_the_benchmark_is_used_with_a_warning(tmp_path: Path) -> None:
    counts = frame_counts(NVS, made_up.write_metadata(tmp_path, 12))
    assert counts.get(388, "GLASSES") == 12
    (note,) = counts.notes
    assert note.startswith("Warning") and "388 GLASSES has 12 frames there, 1118 in the benchmark" in note


def test_metadata_that_agrees_with_the_benchmark_needs_no_warning(tmp_path: Path) -> None:
    document = {
        "sequences": {
            str(p): {"sequence_name": s, "timesteps": list(range(n))} for (p, s), n in NVS.n_frames.items()
        }
    }
    (tmp_path / "nvs").mkdir()
    (tmp_path / "nvs" / "metadata.json").write_text(json.dumps(document))
    assert frame_counts(NVS, tmp_path).notes == ()

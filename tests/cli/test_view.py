"""`nersemble view`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Run


def test_unknown_participant_lists_the_valid_ones(run: Run, synthetic: Path) -> None:
    result = run("view", "999", "-f", synthetic)
    assert result.status == 2
    assert "388, 422" in result.err


def test_without_data_the_download_is_named(run: Run) -> None:
    result = run("view", "388")
    assert result.status == 1
    assert "nersemble download nvs" in result.err
    assert result.out == ""


def test_unknown_sequence(run: Run, synthetic: Path) -> None:
    result = run("view", "388", "-s", "NOSE", "-f", synthetic)
    assert result.status == 2
    assert "GLASSES" in result.err


def test_missing_renders(run: Run, synthetic: Path) -> None:
    result = run("view", "-f", synthetic, "--renders", "nowhere")
    assert result.status == 2
    assert "nowhere does not exist" in result.err


def test_without_viser_the_install_line_is_named(
    run: Run, synthetic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    monkeypatch.delitem(sys.modules, "nersemble_cli.core.viewer.server", raising=False)
    result = run("view", "-f", synthetic)
    assert result.status == 2
    assert "[view]" in result.err


@pytest.mark.slow
def test_the_address_is_printed_and_ctrl_c_ends_it(synthetic: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nersemble_cli", "view", "-f", str(synthetic), "--port", "18200", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:182")
    notes = [process.stderr.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert notes[1].startswith("  ssh -L 182")
    assert err == "\nInterrupted.\n"

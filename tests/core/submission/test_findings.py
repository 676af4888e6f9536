"""Every finding code: a broken submission has it, the tool finds it, and the user is told what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nersemble_cli.core.submission.findings import CODES, COMPARISON_CODES
from tests import made_up
from tests.broken import FLAWS
from tests.conftest import Run

pytestmark = pytest.mark.slow


def test_every_code_has_a_flaw_to_show() -> None:
    # What a comparison finds needs more than a small file: see the tests of compare/.
    assert FLAWS.keys() == CODES.keys() - COMPARISON_CODES.keys()


@pytest.mark.parametrize("code", FLAWS)
def test_code_is_found_where_it_is(code: str, run: Run, folder: Path, tmp_path: Path) -> None:
    flaw = FLAWS[code]
    target = tmp_path / "broken"
    flaw.make(target)
    if code == "frozen_video":  # shorter videos may stand still
        folder = made_up.write_metadata(tmp_path / "longer", 8)
    if flaw.is_renders:
        result = run("pack", "nvs", target, tmp_path / "out.zip", "-f", folder, "--dry-run", "--json")
    else:
        task = () if code == "unknown_benchmark" else ("--benchmark", flaw.benchmark)
        result = run("validate", target, "-f", folder, "--json", *task)
    document = json.loads(result.out)
    found = [f for f in document["findings"] if f["code"] == code]
    assert found, document["findings"]
    assert flaw.path in [f["path"] for f in found]
    assert all(f["severity"] == CODES[code].severity for f in found)
    assert all(f["hint"] and f["message"] for f in found)
    # What is missing has no actual value, what is too much no expected one.
    assert all(f["actual"] is not None for f in found) or code.startswith("missing_")
    assert all(f["expected"] is not None for f in found) or code in {"junk_file", "unexpected_file"}
    assert result.status == (1 if any(f["severity"] == "error" for f in document["findings"]) else 0)
    assert result.err == "" or "Frame counts" in result.err


@pytest.mark.parametrize("name", made_up.SUBMISSIONS)
def test_right_submission_has_no_findings(name: str, run: Run, folder: Path, tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "right.zip", made_up.SUBMISSIONS[name]())
    result = run("validate", path, "-f", folder, "--json", "--strict")
    assert json.loads(result.out)["findings"] == []
    assert json.loads(result.out)["benchmark"] == name
    assert result.status == 0

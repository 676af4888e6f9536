"""Names in a submission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nersemble_cli.core.benchmarks import BENCHMARKS
from nersemble_cli.core.submission import names


@given(
    st.sampled_from([n for b in BENCHMARKS.values() for n in names.expected_names(b)]),
    st.booleans(),
    st.booleans(),
)
def test_canonical_name_is_the_same_however_it_is_written(name: str, backslashes: bool, unpadded: bool) -> None:
    written = name.replace("cam_", "").upper().replace(".MP4", ".mp4")
    written = written.replace("/", "\\") if backslashes else written
    written = written.lstrip("0") if unpadded else f"0{written}"
    assert names.canonical(written) == names.canonical(name)


def test_canonical_names_are_distinct() -> None:
    for benchmark in BENCHMARKS.values():
        expected = names.expected_names(benchmark)
        assert len({names.canonical(name) for name in expected}) == len(expected)
        assert len({names._loose(name) for name in expected}) == len(expected)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_is_recognised_by_a_single_file(name: str) -> None:
    benchmark = BENCHMARKS[name]
    assert names.recognise(names.expected_names(benchmark)[3:4]) is benchmark


@pytest.mark.parametrize(
    ("task", "name", "meant", "is_checked"),
    [
        ("nvs", "422/EXP2-eyes/cam_222200037.mp4", "422/EXP-2-eyes/cam_222200037.mp4", True),
        ("nvs", "388/glasses/222200037.MP4", "388/GLASSES/cam_222200037.mp4", True),
        ("mono", "393/EMO-1-shout_laugh/cam_222200037.mp4", "393/EMO-1-shout+laugh/cam_222200037.mp4", True),
        ("nvs", "388/GLASSES/cam_222200037.mov", "388/GLASSES/cam_222200037.mp4", False),
        ("nvs", "388/GLASSES/cam_222200037/00000.jpg", "388/GLASSES/cam_222200037.mp4", False),
        ("svfr", "017/EMO-1-shout+laugh_45_222200037/mesh_posed.obj", None, False),
    ],
)
def test_what_is_meant_is_said(task: str, name: str, meant: str | None, is_checked: bool) -> None:
    if meant is None:
        slot = BENCHMARKS[task].slots[0]
        name, meant = slot.path.replace(".ply", ".obj"), slot.path
    assert names.recognise([name]) is BENCHMARKS[task]
    matching = names.match(BENCHMARKS[task], [name], "")
    missing = next(f for f in matching.findings if f.code.startswith("missing"))
    assert (missing.path, missing.actual, meant in matching.found) == (meant, name, is_checked)
    assert missing.hint.startswith(("Rename", "Encode", "Export"))


@pytest.mark.parametrize("name", ["posed.ply", "mesh-posed.ply", "Mesh_Posed.PLY"])
def test_mesh_under_a_near_name_is_checked(name: str) -> None:
    slot = BENCHMARKS["svfr"].slots[0]
    matching = names.match(BENCHMARKS["svfr"], [f"{slot.folder}/{name}"], "")
    assert matching.found == {slot.path: f"{slot.folder}/{name}"}
    (missing,) = [finding for finding in matching.findings if finding.code == "missing_mesh"]
    assert missing.hint.startswith(f"Rename it to {slot.path} (") and "videos" not in missing.hint


def test_entry_without_a_name_is_no_obstacle() -> None:
    assert not names.is_junk("")

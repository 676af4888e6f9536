"""Meshes under other names, in other layouts and other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.benchmarks import SVFR
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply
from nersemble_cli.core.submission.conversion import FROM_OBJ, FROM_POLYGONS, FROM_TEXTURED, convert_mesh
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.frame_counts import FrameCounts
from nersemble_cli.core.submission.renders import Renders, scan
from tests import made_up

SLOT = next(slot for slot in SVFR.slots if slot.key == ("EMO-1-shout+laugh", 156, "221501007"))  # posed
NEUTRAL = SLOT.path.replace("posed", "neutral")
IMAGE = "EMO-1-shout+laugh_156_221501007"
PLY = mesh_to_ply(made_up.face_vertices(), made_up.face_triangles())


def write(folder: Path, *names: str, data: bytes = PLY) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def scan_meshes(folder: Path, pattern: str | None = None) -> Renders:
    return scan(SVFR, folder, FrameCounts({}, {}, ()), pattern=pattern)


def findings_about(renders: Renders, *names: str) -> list[Finding]:
    return [finding for finding in renders.report.findings if finding.path in names]


@pytest.mark.parametrize(
    ("name", "template"),
    [
        (f"017/{IMAGE}/mesh_posed.ply", None),
        (f"17/{IMAGE}/mesh_posed.ply", None),
        (f"out/run7/017/{IMAGE}/mesh_posed.ply", "out/run*/{participant}/{sequence}_{timestep}_{serial}/mesh_{kind}.ply"),
        (f"017_{IMAGE}/posed.ply", "{participant}_{sequence}_{timestep}_{serial}/{kind}.ply"),
        (f"017_{IMAGE}_posed.ply", "{participant}_{sequence}_{timestep}_{serial}_{kind}.ply"),
        (f"posed/017/{IMAGE}.ply", "{kind}/{participant}/{sequence}_{timestep}_{serial}.ply"),
        ("17/EMO-1-shout+laugh/00156/cam_221501007/Posed.PLY",
         "{participant}/{sequence}/{timestep}/cam_{serial}/{kind}.PLY"),
        ("17/EMO-1-shout+laugh/221501007/frame_00156/mesh_v2_posed.ply",
         "{participant}/{sequence}/{serial}/frame_{timestep}/mesh_v*_{kind}.ply"),
        ("017/EMO-1-shout+laugh_156/posed.ply", "{participant}/{sequence}_{timestep}/{kind}.ply"),
    ],
)  # fmt: skip
def test_layout_is_recognized(name: str, template: str | None, tmp_path: Path) -> None:
    renders = scan_meshes(write(tmp_path, name))
    assert renders.files == {SLOT.path: tmp_path / name}
    told = [note for note in renders.report.notes if "is read as" in note]
    assert told == ([f"{tmp_path} is read as {template}; if that is wrong, use --pattern"] if template else [])


@pytest.mark.parametrize(
    "name",
    [
        "017/EMO-1-shout+laugh_157_221501007/posed.ply",  # no such image
        f"018/{IMAGE}/posed.ply",
        f"{IMAGE}/posed.ply",  # whose?
        f"017/{IMAGE}/vertices_posed.npy",
        f"017/{IMAGE}/posed_neutral.ply",
    ],
)
def test_what_is_not_certain_is_not_taken(name: str, tmp_path: Path) -> None:
    assert scan_meshes(write(tmp_path, name, NEUTRAL)).files == {NEUTRAL: tmp_path / NEUTRAL}


def test_other_names_in_the_right_folders_are_taken_with_a_note(tmp_path: Path) -> None:
    names = [f"{SLOT.folder}/posed.ply", f"{SLOT.folder}/neutral.ply", f"{SLOT.folder}/now_landmarks_posed.npy"]
    renders = scan_meshes(write(tmp_path, *names))
    assert renders.files == {
        SLOT.path: tmp_path / names[0],
        NEUTRAL: tmp_path / names[1],
        SLOT.landmarks_path: tmp_path / names[2],
    }
    assert "posed.ply is taken for mesh_posed.ply (1 file)" in renders.report.notes


def test_right_name_wins(tmp_path: Path) -> None:
    copies = [f"{SLOT.folder}/posed.ply", f"{SLOT.folder}/mesh_posed.obj", f"backup/{SLOT.path}"]
    renders = scan_meshes(write(tmp_path, SLOT.path, *copies))
    assert renders.files == {SLOT.path: tmp_path / SLOT.path}
    (note,) = [note for note in renders.report.notes if note.startswith("left out")]
    assert all(name in note for name in copies)


def test_copy_elsewhere_does_not_fill_a_gap(tmp_path: Path) -> None:
    other = SVFR.slots[2]
    renders = scan_meshes(write(tmp_path, other.path, f"old/{SLOT.path}"))
    assert renders.files == {other.path: tmp_path / other.path}
    assert [f.code for f in findings_about(renders, SLOT.path)] == ["missing_mesh"]


def test_two_candidates_among_right_names_are_a_finding(tmp_path: Path) -> None:
    write(tmp_path, NEUTRAL, f"{SLOT.folder}/posed.ply", f"{SLOT.folder}/mesh_posed.obj")
    renders = scan_meshes(tmp_path)
    assert [f.code for f in findings_about(renders, SLOT.path)] == ["duplicate_file"]


@pytest.mark.parametrize(
    "names",
    [
        [f"coarse/017/{IMAGE}_posed.ply", f"fine/017/{IMAGE}_posed.ply"],
        [f"{SLOT.folder}/posed.ply", f"{SLOT.folder}/posed_smooth.ply"],
    ],
)
def test_two_layouts_are_refused_with_patterns_that_work(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        scan_meshes(write(tmp_path, *names))
    patterns = [line.split("'")[1] for line in (error.value.hint or "").splitlines()[1:]]
    assert [scan_meshes(tmp_path, pattern).files[SLOT.path] for pattern in patterns] == [
        tmp_path / name for name in names
    ]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{participant}/{sequence}_{timestep}_{serial}/", f"017/{IMAGE}/my_posed_mesh.ply"),
        ("a/{participant}-{timestep}-{serial}-{kind}.*", "a/17-0156-221501007-posed.obj"),
        ("**/{sequence}/{serial}/{kind}_{timestep}.ply", "x/y/EMO-1-shout+laugh/221501007/posed_156.ply"),
    ],
)
def test_pattern_reads_any_layout(pattern: str, name: str, tmp_path: Path) -> None:
    data = made_up.obj(12) if name.endswith("obj") else PLY
    renders = scan_meshes(write(tmp_path, name, data=data), pattern)
    assert renders.files == {SLOT.path: tmp_path / name}


@pytest.mark.parametrize("landmarks", ["landmarks_posed.npy", "mesh_a_posed.npy"])
def test_landmarks_beside_a_mesh_belong_to_its_pattern(landmarks: str, tmp_path: Path) -> None:
    write(tmp_path, f"r/017_{IMAGE}/mesh_a_posed.ply", f"r/017_{IMAGE}/{landmarks}")
    renders = scan_meshes(tmp_path, "r/{participant}_{sequence}_{timestep}_{serial}/mesh_a_{kind}.ply")
    assert renders.files[SLOT.landmarks_path] == tmp_path / f"r/017_{IMAGE}/{landmarks}"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{frame}.ply", "Unknown field {frame}"),
        ("{participant}/{sequence}/*_{kind}.ply", "does not tell the meshes apart"),
        ("{participant}/{sequence}/{timestep}_{serial}_*.ply", "No file in"),
    ],
)
def test_wrong_pattern_says_what_is_wrong(pattern: str, says: str, tmp_path: Path) -> None:
    write(tmp_path, "017/EMO-1-shout+laugh/156_221501007.ply", "017/EMO-1-shout+laugh/1_posed.ply")
    with pytest.raises(UsageError) as error:
        scan_meshes(tmp_path, pattern)
    assert says in error.value.message


def test_mesh_that_says_neither_posed_nor_neutral_is_asked_about(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="posed or neutral") as error:
        scan_meshes(write(tmp_path, f"017/{IMAGE}/mesh.ply"))
    assert "mesh_posed.ply" in (error.value.hint or "")


@pytest.mark.parametrize("place", ["017", f"017/{IMAGE}"])
def test_folder_too_deep_is_said_with_the_right_one(place: str, tmp_path: Path) -> None:
    write(tmp_path, SLOT.path)
    with pytest.raises(UsageError) as error:
        scan_meshes(tmp_path / place)
    assert error.value.hint == f"Use {tmp_path} instead."


def test_wrong_task_is_said(tmp_path: Path) -> None:
    picture = made_up.png(np.zeros((8, 8, 3), np.uint8))
    write(tmp_path, "388/GLASSES/cam_222200037/0.png", data=picture)
    with pytest.raises(UsageError, match="holds renders for nvs, not for svfr"):
        scan_meshes(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["017/EMO1-shout_laugh_156_221501007/mesh_posed.ply", "017/EMO-1-shout+lauh_156_221501007/mesh_posed.ply"],
)
def test_misspelled_folder_is_pointed_out(name: str, tmp_path: Path) -> None:
    (finding,) = findings_about(scan_meshes(write(tmp_path, name, NEUTRAL)), SLOT.path)
    assert (finding.code, finding.hint) == ("missing_mesh", f"Did you mean {SLOT.path}? Rename it.")


def test_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"1 mesh_posed.stl"):
        scan_meshes(write(tmp_path, SLOT.path.replace(".ply", ".stl")))
    (finding,) = findings_about(scan_meshes(write(tmp_path, NEUTRAL)), SLOT.path)
    assert "there is" in finding.message and "PLY or OBJ" in finding.hint


def texture_seam_ply() -> bytes:
    vertices, faces = made_up.face_vertices(), made_up.face_triangles()
    table = np.zeros(len(faces), [("n", "u1"), ("i", "<i4", 3), ("k", "u1"), ("t", "<f4", 6)])
    table["n"], table["i"], table["k"] = 3, faces, 6
    table["t"] = np.random.default_rng(0).random((len(faces), 6))
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment TextureFile tex.png\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\n"
        "property list uchar float texcoord\nend_header\n"
    )
    return header.encode() + vertices.astype("<f4").tobytes() + table.tobytes()


def mixed_ply(encoding: str) -> bytes:
    n = len(made_up.face_vertices())
    polygons = [[(i + k) % n for k in range(3 + i % 3)] for i in range(n)]
    return made_up.polygons_ply(made_up.face_vertices(), polygons, encoding)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "data", "how"),
    [
        (".obj", made_up.obj(), FROM_OBJ),
        (".ply", mixed_ply("ascii"), FROM_POLYGONS),
        (".ply", mixed_ply("binary_little_endian"), FROM_POLYGONS),
        (".ply", mixed_ply("binary_big_endian"), FROM_POLYGONS),
        (".ply", texture_seam_ply(), FROM_TEXTURED),
    ],
)
def test_other_mesh_is_converted_and_keeps_its_vertices(
    suffix: str, data: bytes, how: str, tmp_path: Path
) -> None:
    path = tmp_path / SLOT.path.replace(".ply", suffix)
    renders = scan_meshes(write(tmp_path, SLOT.path.replace(".ply", suffix), data=data))
    assert renders.conversions == {SLOT.path: how}
    assert f"1 mesh: {how}" in renders.report.notes
    assert findings_about(renders, SLOT.path, SLOT.landmarks_path) == []
    converted = read_ply(convert_mesh(path)[0])
    assert np.array_equal(converted.vertices.astype(np.float32), made_up.face_vertices())
    assert (converted.has_polygons, converted.n_seam_vertices) == (False, 0)


def test_right_mesh_is_not_converted(tmp_path: Path) -> None:
    write(tmp_path, SLOT.path)
    assert convert_mesh(tmp_path / SLOT.path) == (PLY, "")


@pytest.mark.parametrize("data", [b"v 0 0\n", made_up.obj(12) + b"\nf 1 2 99\n", b""])
def test_damaged_obj_is_a_finding(data: bytes, tmp_path: Path) -> None:
    renders = scan_meshes(write(tmp_path, SLOT.path.replace(".ply", ".obj"), data=data))
    assert [f.code for f in findings_about(renders, SLOT.path)] == ["unreadable_mesh"]

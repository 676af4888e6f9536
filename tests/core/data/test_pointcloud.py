"""Point clouds: every encoding that a PCD file may have, damage, and the PLY that is written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from nersemble_cli.core.data.pointcloud import export_pointcloud, load_pointcloud
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.synthetic.benchmark import write_pcd

# As PCL's PCDWriter::writeASCII writes it: colours as an unsigned integer, although they are a float in memory.
BY_PCL = """\
# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z normal_x normal_y normal_z rgb
SIZE 4 4 4 4 4 4 4
TYPE F F F F F F U
COUNT 1 1 1 1 1 1 1
WIDTH 3
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS 3
DATA ascii
0.93773001 0.33763 -0.125 0 0 1 16711680
nan nan nan nan nan nan 65280
-1.5 2.25 3 0.60000002 0.80000001 0 4278190335
"""
ENCODINGS = ["ascii", "binary", "binary_compressed"]


def _cloud(n: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    # Few different values, so that they compress.
    points, normals = (rng.integers(-50, 50, (n, 3)) / np.float32(8) for _ in range(2))
    return points.astype(np.float32), rng.integers(0, 256, (n, 3)) / np.float32(255), normals.astype(np.float32)


def _write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "frame_00000.pcd"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_written_by_pcl_is_read(tmp_path: Path) -> None:
    points, colors, normals = load_pointcloud(_write(tmp_path, BY_PCL))
    expected = np.float32([[0.93773001, 0.33763, -0.125], [np.nan] * 3, [-1.5, 2.25, 3]])
    assert np.array_equal(points, expected, equal_nan=True)
    # The fourth byte is not a colour, whatever is in it.
    assert np.array_equal(colors, np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    assert np.array_equal(normals[[0, 2]], np.float32([[0, 0, 1], [0.6, 0.8, 0]]))
    assert points.dtype == colors.dtype == normals.dtype == np.float32


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(n=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(encoding: Any, n: int, seed: int) -> None:
    cloud = _cloud(n, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.pcd"
        write_pcd(path, *cloud, encoding=encoding)
        for loaded, written in zip(load_pointcloud(path), cloud, strict=True):
            assert np.allclose(loaded, written, atol=1e-7)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_is_the_one_that_was_asked_for(tmp_path: Path, encoding: Any) -> None:
    path = tmp_path / "cloud.pcd"
    write_pcd(path, *_cloud(1000), encoding=encoding)
    assert f"\nDATA {encoding}\n".encode() in path.read_bytes()


def test_colours_packed_in_a_float_and_in_an_integer_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cloud.pcd"
    write_pcd(path, *_cloud(50))
    as_float = load_pointcloud(path).colors
    path.write_bytes(path.read_bytes().replace(b"TYPE F F F F F F F", b"TYPE F F F F F F U"))
    assert np.array_equal(load_pointcloud(path).colors, as_float)


def test_nan_points_stay_where_they_are(tmp_path: Path) -> None:
    points, colors, normals = _cloud(5)
    points[2] = np.nan
    path = tmp_path / "cloud.pcd"
    write_pcd(path, points, colors, normals)
    assert np.array_equal(load_pointcloud(path).points, points, equal_nan=True)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_absent_colours_and_normals_are_empty(tmp_path: Path, encoding: Any) -> None:
    path = tmp_path / "cloud.pcd"
    write_pcd(path, _cloud(5)[0], None, None, encoding)
    cloud = load_pointcloud(path)
    assert cloud.points.shape == (5, 3)
    assert cloud.colors.shape == cloud.normals.shape == (0, 3)


def _binary(n: int = 200, encoding: Any = "binary") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.pcd"
        write_pcd(path, *_cloud(n), encoding=encoding)
        return path.read_bytes()


def test_an_organized_cloud_has_all_its_points(tmp_path: Path) -> None:
    data = _binary().replace(b"WIDTH 200\nHEIGHT 1\n", b"WIDTH 50\nHEIGHT 4\n")
    assert load_pointcloud(_write(tmp_path, data)).points.shape == (200, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (b"<html>404 not found</html>\n" * 3, "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (BY_PCL[:-20], "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (BY_PCL[: BY_PCL.index("-1.5")], "points|cut short"),
        (BY_PCL.replace("POINTS 3", "POINTS 4"), "POINTS 4"),
        (BY_PCL.replace("WIDTH 3", "WIDTH 7"), "POINTS 3 in its header, but 7 × 1"),
        (BY_PCL.replace("FIELDS x y z", "FIELDS a b c"), "expected x, y, z"),
        (_binary()[:-100], "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (_binary(1000, "binary_compressed")[:-100], "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (
            _binary().replace(b"POINTS 200", b"POINTS 900").replace(b"WIDTH 200", b"WIDTH 900"),
            "cut short",
        ),
        (_binary().replace(b"POINTS 200", b"POINTS -5"), "PCD header|cut short|is damaged|POINTS|points|numbers"),
        (_binary().replace(b"POINTS 200", b"POINTS 99999999999999"), r"POINTS|cut short"),
        (_binary(1000, "binary_compressed").replace(b"POINTS 1000", b"POINTS 1001"), r"POINTS|cut short"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, data: str | bytes, message: str) -> None:
    path = _write(tmp_path, data)
    with pytest.raises(InvalidInputError, match=message) as error:
        load_pointcloud(path)
    assert str(path) in str(error.value) and "inspect --verify" in str(error.value)


def test_the_exported_ply_has_points_normals_and_colours(tmp_path: Path) -> None:
    points, colors, normals = _cloud(30)
    path = tmp_path / "cloud.ply"
    export_pointcloud(path, points, colors, normals)
    data = trimesh.load(path).metadata["_ply_raw"]["vertex"]["data"]  # an independent reader
    assert data.dtype.names == ("x", "y", "z", "nx", "ny", "nz", "red", "green", "blue")
    assert np.array_equal(np.stack([data["x"], data["y"], data["z"]], 1), points)
    assert np.array_equal(np.stack([data["nx"], data["ny"], data["nz"]], 1), normals)
    assert np.array_equal(np.stack([data["red"], data["green"], data["blue"]], 1), (colors * 255).round())


def test_a_ply_without_colours_is_white(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    export_pointcloud(path, _cloud(3)[0], np.empty((0, 3)), None)
    assert path.read_bytes().endswith(b"\0" * 12 + b"\xff\xff\xff")


def test_rows_that_do_not_belong_together_are_not_exported(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    points, colors, _ = _cloud(4)
    with pytest.raises(InvalidInputError, match=r"come as \(3, 3\), expected \(4, 3\)"):
        export_pointcloud(path, points, colors[:3])
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (" rgb\n", " rgba\n"),
        ("COUNT 1 1 1 1 1 1 1\n", ""),
        ("FIELDS x y z normal_x", "FIELDS\tx  y\tz   normal_x"),
        ("0.93773001 0.33763", "0.93773001\t0.33763 "),
        ("\n", "\r\n"),
    ],
)
def test_what_pcl_reads_is_read(tmp_path: Path, old: str, new: str) -> None:
    expected = load_pointcloud(_write(tmp_path, BY_PCL))
    for found, right in zip(load_pointcloud(_write(tmp_path, BY_PCL.replace(old, new))), expected, strict=True):
        assert np.array_equal(found, right, equal_nan=True)

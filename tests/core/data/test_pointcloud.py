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


@pytest.mark.slow
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
        (b"", "no complete PCD header"),
        (b"<html>404 not found</html>\n" * 3, "no complete PCD header"),
        (BY_PCL[:-20], "points that cannot be read"),
        (BY_PCL[: BY_PCL.index("-1.5")], "has 2 points, its header promises 3"),
        (BY_PCL.replace("POINTS 3", "POINTS 4"), "POINTS 4 in its header, but 3 × 1 points"),
        (BY_PCL.replace("WIDTH 3", "WIDTH 7"), "POINTS 3 in its header, but 7 × 1 points"),
        (BY_PCL.replace("FIELDS x y z", "FIELDS a b c"), "expected x, y, z"),
        (_binary()[:-100], "is cut short: 5,500 bytes of points, 5,600 expected"),
        (_binary(1000, "binary_compressed")[:-100], "is cut short"),
        (
            _binary().replace(b"POINTS 200", b"POINTS 900").replace(b"WIDTH 200", b"WIDTH 900"),
            "is cut short: 5,600 bytes of points, 25,200 expected",
        ),
        (_binary().replace(b"POINTS 200", b"POINTS -5"), "negative numbers"),
        (_binary().replace(b"POINTS 200", b"POINTS 99999999999999"), "is cut short"),
        (
            _binary(1000, "binary_compressed").replace(b"POINTS 1000", b"POINTS 1001"),
            "POINTS 1001 in its header, but 1000 × 1 points",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, data: str | bytes, message: str) -> None:
    path = _write(tmp_path, data)
    with pytest.raises(InvalidInputError, match=message) as error:
        load_pointcloud(path)
    assert str(path) in str(error.value) and "nersemble inspect --verify" in str(error.value)


HEADER = (
    "VERSION .7\nFIELDS {}\nSIZE {}\nTYPE {}\n{}WIDTH 4\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 4\nDATA {}\n"
)
XYZ = np.arange(12, dtype="<f4").reshape(4, 3)
RED = np.full((4, 1), 0xFFFF0000, "<u4")
WITH_RED = np.hstack([XYZ.view("<u4"), RED]).tobytes()


@pytest.mark.parametrize(
    "data",
    [
        HEADER.format("x y z rgba", "4 4 4 4", "F F F U", "COUNT 1 1 1 1\n", "binary").encode() + WITH_RED,
        HEADER.format("x y z rgb", "4 4 4 4", "F F F U", "", "binary").encode() + WITH_RED,
        HEADER.format("x y z _ rgb", "4 4 4 1 4", "F F F U U", "COUNT 1 1 1 0 1\n", "binary").encode() + WITH_RED,
        HEADER.format("_ x y z _ rgb", "1 4 4 4 2 4", "U F F F U U", "COUNT 2 1 1 1 3 1\n", "binary").encode()
        + b"".join(b"ab" + row.tobytes() + b"padded" + RED[0].tobytes() for row in XYZ),
    ],
    ids=["rgba", "no COUNT", "COUNT 0", "padding"],
)
def test_variants_that_pcl_reads_have_points_and_colours(tmp_path: Path, data: bytes) -> None:
    cloud = load_pointcloud(_write(tmp_path, data))
    assert np.array_equal(cloud.points, XYZ)
    assert cloud.colors.tolist() == [[1, 0, 0]] * 4


@pytest.mark.parametrize("row", ["0\t1\t2\n", "0  1  2\n", "0 1 2 \n", " 0 1 2\r\n"])
def test_any_white_space_separates(tmp_path: Path, row: str) -> None:
    data = HEADER.format("x y z", "4 4 4", "F F F", "COUNT 1 1 1\n", "ascii") + row * 4
    assert load_pointcloud(_write(tmp_path, data)).points.tolist() == [[0, 1, 2]] * 4


def test_a_huge_count_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    count = f"COUNT 1 1 {10**12}\n"
    data = HEADER.format("x y z", "4 4 4", "F F F", count, "binary").encode() + XYZ.tobytes()
    with pytest.raises(InvalidInputError, match="is cut short"):
        load_pointcloud(_write(tmp_path, data))


def test_a_compressed_cloud_that_promises_gigabytes_is_refused(tmp_path: Path) -> None:
    header = HEADER.format("x y z", "4 4 4", "F F F", "", "binary_compressed").replace(
        "4\nHEIGHT", "300000000\nHEIGHT"
    )
    header = header.replace("POINTS 4", "POINTS 300000000")
    data = header.encode() + (8).to_bytes(4, "little") + (3_600_000_000).to_bytes(4, "little") + bytes(8)
    with pytest.raises(InvalidInputError, match="unpacks to 3,600,000,000 bytes"):
        load_pointcloud(_write(tmp_path, data))


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

"""Made-up submissions and renders, written by real encoders, small enough for quick tests."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from nersemble_cli.core.benchmarks import BENCHMARKS, MONO, NVS, SVFR, Benchmark
from nersemble_cli.core.formats.ply import mesh_to_ply
from nersemble_cli.core.synthetic import Recipe
from nersemble_cli.core.video.encode import encode_command, encode_video, find_ffmpeg

N_FRAMES = 3  # of every sequence of the made-up benchmark
RECIPE = Recipe(n_frames=N_FRAMES + 3, scale=0.1, n_points=2000)  # of the made-up benchmark with pictures

Files = dict[str, bytes]


def head_frame(benchmark: Benchmark, t: int) -> NDArray[np.uint8]:
    """A shaded ellipse on white, which moves with `t`: (H, W, 3) uint8."""
    h, w = benchmark.height, benchmark.width
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    distance = ((x - w / 2 - 12 * t) / (0.3 * w)) ** 2 + ((y - 0.55 * h) / (0.35 * h)) ** 2
    shade = np.clip(1 - distance, 0, 1)[..., None]
    skin = np.array([120, 80, 60], np.float32) + 100 * shade
    return np.where(distance[..., None] < 1, skin, 255).astype(np.uint8)


def head_frames(benchmark: Benchmark, n: int = N_FRAMES) -> list[NDArray[np.uint8]]:
    return [head_frame(benchmark, t) for t in range(n)]


def png(pixels: NDArray[np.uint8 | np.uint16], interlaced: bool = False) -> bytes:
    """An image of 1 to 4 channels as PNG, by ffmpeg's encoder."""
    import av
    from av.codec.context import Flags

    formats = {(2, 1): "gray", (3, 1): "rgb24", (4, 1): "rgba", (2, 2): "gray16be", (3, 2): "rgb48be"}
    channels = 2 if pixels.ndim == 2 else pixels.shape[2]
    name = formats[channels, pixels.dtype.itemsize]
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=name)
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, name
    encoder.time_base = 1
    if interlaced:
        encoder.flags |= Flags.interlaced_dct  # what FFmpeg calls it in a PNG too
    return b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])


@functools.lru_cache
def video(benchmark_name: str, n: int = N_FRAMES) -> bytes:
    """A right video, encoded as packing does it."""
    benchmark = BENCHMARKS[benchmark_name]
    return encode(benchmark, head_frames(benchmark, n))


def encode(benchmark: Benchmark, frames: Iterable[NDArray[np.uint8]], **size: int) -> bytes:
    assert benchmark.fps is not None
    width, height = size.get("width", benchmark.width), size.get("height", benchmark.height)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        encode_video(frames, path, width, height, benchmark.fps)
        return path.read_bytes()


def encode_with(*options: str, benchmark: Benchmark = NVS, before: tuple[str, ...] = ()) -> bytes:
    """A video with other ffmpeg options than the right ones; `before` go before the output's."""
    assert benchmark.fps is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        right = encode_command(path, benchmark.width, benchmark.height, benchmark.fps)
        source = right[: right.index("-an")]
        command = [*source, *before, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "14", *options]
        raw = b"".join(frame.tobytes() for frame in head_frames(benchmark))
        subprocess.run([*command, "-y", "-v", "error", str(path)], input=raw, check=True)
        return path.read_bytes()


def remux(data: bytes, *options: str, before: tuple[str, ...] = ()) -> bytes:
    """The same video data in a new container."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        source.write_bytes(data)
        command = [find_ffmpeg(), "-v", "error", *before, "-i", str(source), "-c", "copy", *options, str(target)]
        subprocess.run(command, check=True)
        return target.read_bytes()


def nvs() -> Files:
    return {slot.path: video("nvs") for slot in NVS.slots}


def mono() -> Files:
    return {slot.path: video("mono") for slot in MONO.slots}


@functools.lru_cache
def face_vertices(n: int = 5023) -> NDArray[np.float32]:
    """Vertices (n, 3) in metres of a bulging surface that looks along +z, none at the place of another."""
    i = np.arange(n)
    angle, radius = i * 2.399963, np.sqrt((i + 0.5) / n)  # a sunflower's spiral
    x, y = 0.08 * radius * np.cos(angle), 0.11 * radius * np.sin(angle)
    return np.stack([x, y, 0.09 * np.sqrt(np.maximum(0, 1 - radius**2))], axis=1).astype(np.float32)


@functools.lru_cache
def face_triangles(n: int = 5023) -> NDArray[np.int32]:
    """Triangles, nearly 2 n, that make a surface of n vertices and use every one of them."""
    return Delaunay(face_vertices(n)[:, :2]).simplices.astype(np.int32)


def ply(n: int = 5023) -> bytes:
    return mesh_to_ply(face_vertices(n), face_triangles(n))


def polygons_ply(
    vertices: NDArray[np.float32],
    polygons: list[list[int]],
    encoding: str,
    length_type: str = "uchar",
    extra: str = "",
) -> bytes:
    """A PLY file of float vertices and polygons, written by hand: trimesh writes triangles only.

    `extra` is the line of a further property of faces: an uchar, or a list of one float per corner.
    """
    header = (
        f"ply\nformat {encoding} 1.0\ncomment made up\nelement vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        f"element face {len(polygons)}\nproperty list {length_type} int vertex_indices\n{extra}end_header\n"
    )
    if encoding == "ascii":
        rows = [" ".join(map(repr, row)) + " 7" for row in vertices.tolist()]
        rows += [" ".join(map(str, [len(corners), *corners])) for corners in polygons]
        return (header + "\n".join(rows) + "\n").encode()
    order = "<" if encoding == "binary_little_endian" else ">"
    data = header.encode()
    for row in vertices:
        data += row.astype(f"{order}f4").tobytes() + b"\x07"
    lengths = np.dtype(order + {"uchar": "u1", "ushort": "u2", "int": "i4"}[length_type])
    for corners in polygons:
        data += np.array(len(corners), lengths).tobytes() + np.array(corners, f"{order}i4").tobytes()
        if "list" in extra:
            data += np.uint8(len(corners)).tobytes() + np.zeros(len(corners), f"{order}f4").tobytes()
        elif extra:
            data += b"\x01"
    return data


def obj(n: int = 5023) -> bytes:
    """The mesh of `ply` as OBJ, with a texture whose seams do not follow the vertices."""
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in face_vertices(n).tolist()]
    lines += [f"vt {t / 97} 0.5" for t in range(98)]
    lines += ["usemtl skin"]
    lines += ["f " + " ".join(f"{v + 1}/{i * (k + 3) % 98 + 1}" for k, v in enumerate(face))
              for i, face in enumerate(face_triangles(n).tolist())]  # fmt: skip
    return "\n".join(lines).encode()


def now_landmarks() -> NDArray[np.float64]:
    """The 7 landmarks (7, 3) on the surface of `face_vertices`, in the right order."""
    x = np.array([-0.045, -0.02, 0.02, 0.045, 0, -0.025, 0.025])
    y = np.array([0.04, 0.04, 0.04, 0.04, -0.01, -0.05, -0.05])
    return np.stack([x, y, 0.09 * np.sqrt(1 - (x / 0.08) ** 2 - (y / 0.11) ** 2)], axis=1)


def npy(array: NDArray[np.generic], allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def svfr(*kinds: str) -> Files:
    """A mesh for each image: people differ, and a person's posed meshes differ more than the neutral ones."""
    header, _, rest = ply().partition(face_vertices().tobytes())
    x, y, z = face_vertices().T
    mouth = np.exp(-((x / 0.03) ** 2) - ((y + 0.05) / 0.02) ** 2)
    files = {}
    for number, slot in enumerate(SVFR.slots):
        if slot.kind not in (kinds or ("posed", "neutral")):
            continue
        person, image = np.random.default_rng(slot.participant), np.random.default_rng(number)
        size = 1 + 0.1 * person.normal(size=3) + 0.005 * image.normal(size=3)
        smile = 0.01 * image.normal() * mouth if slot.kind == "posed" else 0 * mouth
        moved = np.stack([x * size[0], y * size[1], z * size[2] + smile], axis=1).astype(np.float32)
        files[slot.path] = header + moved.tobytes() + rest
    return files


SUBMISSIONS = {"nvs": nvs, "mono": mono, "svfr": svfr}


def write_zip(
    path: Path, files: Files | Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> Path:
    """A zip by Python's own writer, which knows nothing of submissions."""
    items = files.items() if isinstance(files, Mapping) else files
    with zipfile.ZipFile(path, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about duplicate names
        for name, data in items:
            archive.writestr(name, data)
    return path


def write_metadata(folder: Path, n: int = N_FRAMES) -> Path:
    """The metadata.json files of a benchmark folder in which every sequence has `n` frames."""
    sequences = {
        str(p): {"sequence_name": s, "timesteps": list(range(n))} for p, (s,) in NVS.test_sequences.items()
    }
    participants = {
        str(p): {"sequences_metadata": {s: {"n_frames": n} for s in MONO.test_sequences[p]}}
        for p in MONO.participants
    }
    documents = [(NVS, {"sequences": sequences}), (MONO, {"participants_metadata": participants})]
    for benchmark, document in documents:
        path = folder / benchmark.folder / "metadata.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def write_renders(folder: Path, benchmark: Benchmark, n: int = N_FRAMES) -> Path:
    """PNG frames of every video of a submission; the files of all videos are links to one set."""
    pool = folder.parent / f"{folder.name}_pool"
    pool.mkdir(parents=True)
    for t, frame in enumerate(head_frames(benchmark, n)):
        (pool / f"{t:05d}.png").write_bytes(png(frame))
    for slot in benchmark.slots:
        target = folder / slot.path.removesuffix(".mp4")
        target.mkdir(parents=True)
        for path in pool.iterdir():
            (target / path.name).hardlink_to(path)
    return folder


def write_mesh_renders(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder

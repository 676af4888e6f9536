"""Damaged files of every kind that nersemble reads, and the readers that must refuse them in their own words.

`python -m tests.fuzzing FOLDER KIND SEED FIRST END` reads the damaged files FIRST to END - 1 of a kind in this
process; `fuzz` does so in a process of its own, so that a crash, a hang or too much memory is a result, too.
The same kind, seed and number always make the same file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nersemble_cli.core.benchmarks import MONO, NVS, SVFR
from nersemble_cli.core.data.calibration import load_calibration
from nersemble_cli.core.data.metadata import count_tracked_frames, is_made_up, load_timesteps
from nersemble_cli.core.data.pointcloud import load_pointcloud
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.flame.model import _load_embedding, unpickle
from nersemble_cli.core.flame.tracking import TRACKING_SHAPES, load_flame_tracking
from nersemble_cli.core.formats.obj import read_obj
from nersemble_cli.core.formats.ply import mesh_to_ply, read_ply
from nersemble_cli.core.formats.png import encode_png, read_rgb
from nersemble_cli.core.inspect.file import inspect_file
from nersemble_cli.core.inspect.folder import survey
from nersemble_cli.core.settings import URL_VARIABLE, clean_url, find_flame_model, find_folder, find_url
from nersemble_cli.core.submission.conversion import ConvertibleMesh, convert_mesh
from nersemble_cli.core.submission.members import FileMember
from nersemble_cli.core.submission.mesh_checks import check_mesh
from nersemble_cli.core.submission.validation import validate_submission
from nersemble_cli.core.synthetic.benchmark import write_pcd
from nersemble_cli.core.synthetic.head import _Chumpy, _pickled, _Sparse
from nersemble_cli.core.video.reader import VideoReader
from tests.made_up import (
    encode,
    face_triangles,
    face_vertices,
    head_frames,
    now_landmarks,
    npy,
    obj,
    png,
    polygons_ply,
    write_zip,
)

LIMIT_SECONDS = 10  # of computing, for one file
LIMIT_WAITING = 120  # of any kind: the machine may be busy
LIMIT_BYTES = 1_000_000_000
_LARGEST_ADDRESS_SPACE = 16 << 30
_ODD_INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_ODD_WORDS = (
    "", "0", "-1", "1", "2", "3", "4", "7", "8", "65536", "4294967295", "99999999999999999999", "1e999", "nan",
    "²", "٣", "1_0", "0x10", "x", "\x1b[31m", "é", "list", "element", "property", "vertex", "face", "float", "uchar",
    "ascii", "binary", "binary_compressed", "rgba", "F", "U", "I", "=", "'", '"', "${HOME}", "#", "\0",
)  # fmt: skip
_ODD_JSON = (
    "null", "true", "[]", "{}", '""', '"x"', '"\\ud800"', '"²"', "-1", "0", "1e308", "1e999", "NaN", "-Infinity",
    "1" + 30 * "0", "1" + 400 * "0", "1" + 5000 * "0", "[[]]", '{"a": 1}', "[1, [2]]", "[" * 5000 + "]" * 5000,
    "[" * 100_000, "0.5", "1000000000000",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A kind of file: the name it has, good ones to start from, and everything that reads it."""

    file_name: str
    make: Callable[[], Sequence[bytes]]
    read: Callable[[Path], None]
    damage: Callable[[bytes, random.Random], bytes]


# Damage


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four of the ways in which bytes go wrong."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1) if rng.random() < 0.5 else rng.randrange(min(400, len(content)) + 1)
        length = rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(7):
            case 0 if at < len(content):
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                content[at : at + length] = rng.randbytes(length)
            case 2:
                del content[at : at + length]
            case 3:
                content[at:at] = content[rng.randrange(len(content) + 1) :][:length]
            case 4:
                del content[at:]
            case 5:
                size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
                odd = rng.choice(_ODD_INTEGERS) & ((1 << (8 * size)) - 1)
                content[at : at + size] = odd.to_bytes(size, order)
            case _:
                content[at : at + length] = bytes(length)
    return bytes(content)


def damage_text(data: bytes, rng: random.Random) -> bytes:
    """Words and lines that are replaced, lost, doubled or swapped; what follows them may be binary."""
    if rng.random() < 0.25:
        return damage_bytes(data, rng)
    lines = data.split(b"\n")
    n_first = min(len(lines), 16)
    for _ in range(rng.choice((1, 1, 2, 3))):
        i, j = rng.randrange(n_first), rng.randrange(n_first)
        i, j = min(i, len(lines) - 1), min(j, len(lines) - 1)
        match rng.randrange(6):
            case 0 if len(lines) > 1:
                del lines[i]
            case 1:
                lines.insert(i, lines[j])
            case 2:
                lines[i], lines[j] = lines[j], lines[i]
            case _:
                words = lines[i].split(rng.choice((b" ", b"=")))
                words[rng.randrange(len(words))] = rng.choice(_ODD_WORDS).encode()
                lines[i] = rng.choice((b" ", b" ", b"\t", b"  ", b"=")).join(words)
    return rng.choice((b"\n", b"\n", b"\n", b"\r\n")).join(lines)


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """A value somewhere in the document, or a key, that becomes something odd."""
    if rng.random() < 0.2:
        return damage_text(data, rng)
    lines = data.split(b"\n")
    number = rng.randrange(len(lines)) if len(lines) > 1 else 0
    try:
        document = json.loads(lines[number] if len(lines) > 1 else data)
    except ValueError:
        return damage_bytes(data, rng)
    mark = "a mark that stands for something odd"
    holder: Any = {"": document}
    key: Any = ""
    while isinstance(holder[key], (dict, list)) and holder[key] and rng.random() < 0.85:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    if isinstance(holder, dict) and rng.random() < 0.2:
        holder[mark] = holder.pop(key)
    elif rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = mark
    text = json.dumps(document if key != "" else holder.get("", {}))
    odd = rng.choice(_ODD_JSON)
    text = text.replace(f'"{mark}":', f"{json.dumps(rng.choice(_ODD_WORDS))}:").replace(f'"{mark}"', odd)
    if len(lines) > 1:
        return b"\n".join([*lines[:number], text.encode(), *lines[number + 1 :]])
    return rng.choice((b"", b"", b"", b"\xef\xbb\xbf")) + text.encode()


def damage_png(data: bytes, rng: random.Random) -> bytes:
    """Chunks that are damaged, lost or doubled, with checksums that are right."""
    if rng.random() < 0.3:
        return damage_bytes(data, rng)
    chunks, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + length]))
        position += length + 12
    i = rng.randrange(len(chunks))
    match rng.randrange(5):
        case 0:
            del chunks[i]
        case 1:
            chunks.insert(i, rng.choice(chunks))
        case 2 if chunks[i][0] == b"IDAT":
            with contextlib.suppress(zlib.error):
                pixels = damage_bytes(zlib.decompress(chunks[i][1]), rng)
                chunks[i] = (b"IDAT", zlib.compress(pixels, 1))
        case _:
            kind, body = chunks[i]
            chunks[i] = (kind, damage_bytes(body, rng))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )


def _damage_npy(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4 or len(data) < 128:
        return damage_bytes(data, rng)
    header = data[10:128].decode("latin1").rstrip()
    replaced = {
        "descr": rng.choice(("|O", "<f8", ">f4", "<U9", "|V8", "<c16", "<m8[s]", "|b1", "<f2", "x", "<f999999999", "")),
        "shape": rng.choice(("()", "(0,)", "(7,)", "(-1, 3)", "(99999999999, 3)", "(7, 3", "(1e9,)", "((1,),)", "7")),
    }  # fmt: skip
    name = rng.choice(list(replaced))
    start = header.find(f"'{name}': ") + len(name) + 4
    end = header.find(")" if name == "shape" else ",", start) + (name == "shape")
    changed = (
        header[:start] + (repr(replaced[name]) if name == "descr" else replaced[name]) + header[end:]
    ).encode()
    return data[:8] + struct.pack("<H", len(changed) + 1) + changed + b"\n" + data[128:]


def _damage_zip(data: bytes, rng: random.Random) -> bytes:
    """Members that are damaged in a zip that is right, or the zip itself."""
    if rng.random() < 0.35:
        return damage_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = rng.randrange(len(members))
    name, content = members[i]
    match rng.randrange(6):
        case 0:
            del members[i]
        case 1:
            members.append(rng.choice(members))
        case 2:
            members[i] = (
                rng.choice(("x/" + name, "../" + name, name.replace("/", "\\"), "\x1b[31m" + name, "a\nb", "/")),
                content,
            )
        case _:
            damage = {".npy": _damage_npy, ".ply": damage_text}.get(Path(name).suffix, damage_bytes)
            members[i] = (name, damage(content, rng))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((0, 0, 8, 12, 14))) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that are there twice
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


# Good files


def _written(write: Callable[[Path], object], name: str = "file") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def _videos() -> list[bytes]:
    frames = [frame[:48, :64] for frame in head_frames(NVS)]
    return [encode(NVS, frames, width=64, height=48)]


def _images() -> list[bytes]:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (9, 13, 4), np.uint8)
    deep = rng.integers(0, 65536, (9, 13, 3), np.uint16)
    return [encode_png(rgba), png(rgba[..., :3], interlaced=True), png(deep), png(rgba[..., 0])]


def _polygons() -> list[bytes]:
    polygons = [[0, 1, 2], [2, 1, 3, 4], [4, 3, 5, 6, 7], [7, 5, 0]]
    lists = "property list uchar float texcoord\n"
    return [
        polygons_ply(face_vertices(8), polygons, f"binary_{order}_endian", type_, extra)
        for order, type_, extra in (("little", "uchar", ""), ("big", "int", ""), ("little", "ushort", lists))
    ]


def _ascii_mesh(n: int = 12) -> bytes:
    header = (
        f"ply\nformat ascii 1.0\ncomment made up\nelement vertex {n}\nproperty float x\nproperty float y\n"
        f"property float z\nelement face {2 * n}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = [" ".join(f"{v:.6f}" for v in vertex) for vertex in face_vertices(n)]
    rows += [f"3 {a} {b} {c}" for a, b, c in face_triangles(n)]
    return (header + "\n".join(rows) + "\n").encode()


def _binary_mesh(n: int = 12) -> bytes:
    return mesh_to_ply(face_vertices(n), face_triangles(n))


def _arrays() -> list[bytes]:
    rng = np.random.default_rng(0)
    shapes = {name: tuple(4 if n == "T" else int(n) for n in shape) for name, shape in TRACKING_SHAPES.items()}
    made = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{name: rng.random(shape, np.float32) for name, shape in shapes.items()})  # type: ignore[arg-type]
        made.append(buffer.getvalue())
    return made


def _clouds() -> list[bytes]:
    rng = np.random.default_rng(0)
    points, normals = (rng.integers(-50, 50, (40, 3)).astype(np.float32) for _ in range(2))
    colors = rng.integers(0, 256, (40, 3)) / np.float32(255)
    return [
        _written(lambda path, e=encoding: write_pcd(path, points, colors, normals, e))  # type: ignore[misc]
        for encoding in ("ascii", "binary", "binary_compressed")
    ]


def _calibration() -> list[bytes]:
    pose = np.eye(4).tolist()
    intrinsics = [[800.0, 0, 32], [0, 800.0, 24], [0, 0, 1]]
    serials = ("222200037", "222200042")
    document = {"world_2_cam": dict.fromkeys(serials, pose), "intrinsics": dict.fromkeys(serials, intrinsics)}
    return [json.dumps(document).encode()]


def _metadata() -> list[bytes]:
    sequences = {"sequences": {"475": {"sequence_name": "HAIR", "timesteps": [0, 1, 2]}}}
    frames = {"participants_metadata": {"393": {"sequences_metadata": {"EMO-1": {"n_frames": 3}}}}}
    return [json.dumps(document).encode() for document in (sequences, frames)]


def _manifest() -> list[bytes]:
    lines = [
        {"path": "475/calibration/camera_params.json", "size": 3, "etag": '"x"', "sha256": "0" * 64},
        {"part": True, "path": "475/x.mp4", "size": 3, "last_modified": "Wed, 01 May 2024 10:00:00 GMT"},
        {"path": "metadata.json", "size": 12},
    ]
    return ["".join(json.dumps(line) + "\n" for line in lines).encode()]


def _model() -> list[bytes]:
    content = {
        "v_template": _Chumpy(np.arange(12.0).reshape(4, 3)),
        "J_regressor": _Sparse(np.eye(3, 4)),
        "f": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "kintree_table": np.array([[4294967295, 0], [0, 1]]),
        "bs_style": "lbs",
        "bs_type": [1, 2.5, ("a", None)],
    }
    return [_pickled(content)]


def _embedding(shape: tuple[int, ...]) -> dict[str, Any]:
    return {"lmk_face_idx": np.zeros(shape, np.int64), "lmk_b_coords": np.full((*shape, 3), 1 / 3)}


def _submissions() -> list[bytes]:
    slot = next(slot for slot in SVFR.slots if slot.kind == "posed")
    files = {slot.path: _binary_mesh(), slot.landmarks_path: npy(now_landmarks())}
    video = next(iter(NVS.slots)).path
    return [
        _written(lambda path: write_zip(path, files), "a.zip"),
        _written(lambda path: write_zip(path, {video: _videos()[0]}), "a.zip"),
    ]


# Readers


def _read_video(path: Path) -> None:
    reader = VideoReader(path)
    try:
        for number in range(min(reader.n_frames, 4)):
            reader.rgb(number)
    finally:
        reader.close()


def _read_mesh(path: Path) -> None:
    slot = next(iter(SVFR.slots))
    check_mesh(slot, FileMember(path.name, path), None)
    read_ply(path.read_bytes())
    convert_mesh(path)


def _read_obj(path: Path) -> None:
    slot = next(iter(SVFR.slots))
    check_mesh(slot, ConvertibleMesh(path.name, path, {}), None)
    read_obj(path.read_bytes())


def _read_landmarks(path: Path) -> None:
    slot = next(iter(SVFR.slots))
    mesh = path.with_name("mesh.ply")
    mesh.write_bytes(_binary_mesh())
    check_mesh(slot, FileMember("mesh.ply", mesh), FileMember(path.name, path))


def _read_tracking(path: Path) -> None:
    count_tracked_frames(path)
    load_flame_tracking(path)


def _read_metadata(path: Path) -> None:
    for benchmark in (NVS, MONO):
        place = path.parent / benchmark.folder / "metadata.json"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(path.read_bytes())
        for read in (load_timesteps, is_made_up):
            with contextlib.suppress(NersembleError):
                read(benchmark, path.parent)
    survey(path.parent, {"nvs": [475], "mono": [393]})


def _read_manifest(path: Path) -> None:
    place = path.parent / NVS.folder / ".nersemble-manifest.jsonl"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(path.read_bytes())
    survey(path.parent, {"nvs": [475]})


def _read_settings(path: Path) -> None:
    for find in (find_folder, find_flame_model, lambda: clean_url(find_url() or "")):
        with contextlib.chdir(path.parent), contextlib.suppress(NersembleError):
            find()


def _read_model(path: Path) -> None:
    with path.open("rb") as file:
        unpickle(file, path)


_SETTINGS = (
    f'# of the benchmark\nexport {URL_VARIABLE} = "https://example.org/a b"\n'
    "NERSEMBLE_BENCHMARK_FOLDER=~/data\nNERSEMBLE_FLAME_MODEL='~/flame'\n"
)

KINDS = {
    "video": Kind("cam.mp4", _videos, _read_video, damage_bytes),
    "image": Kind("00000.png", _images, lambda path: void(read_rgb(path)), damage_png),
    "mesh": Kind("mesh.ply", lambda: [_binary_mesh(), *_polygons()], _read_mesh, damage_text),
    "obj_mesh": Kind("mesh.obj", lambda: [obj(12)], _read_obj, damage_text),
    "ascii_mesh": Kind("mesh.ply", lambda: [_ascii_mesh()], _read_mesh, damage_text),
    "landmarks": Kind("landmarks.npy", lambda: [npy(now_landmarks())], _read_landmarks, _damage_npy),
    "tracking": Kind("flame2023_tracking_v2.npz", _arrays, _read_tracking, _damage_zip),
    "pointcloud_ascii": Kind(
        "a.pcd", lambda: _clouds()[:1], lambda path: void(load_pointcloud(path)), damage_text
    ),
    "pointcloud_binary": Kind(
        "a.pcd", lambda: _clouds()[1:2], lambda path: void(load_pointcloud(path)), damage_text
    ),
    "pointcloud_packed": Kind(
        "a.pcd", lambda: _clouds()[2:], lambda path: void(load_pointcloud(path)), damage_text
    ),
    "calibration": Kind("a.json", _calibration, lambda path: void(load_calibration(path)), damage_json),
    "metadata": Kind("metadata.json", _metadata, _read_metadata, damage_json),
    "manifest": Kind("manifest.jsonl", _manifest, _read_manifest, damage_json),
    "model": Kind("flame2023.pkl", _model, _read_model, damage_bytes),
    "static_embedding": Kind(
        "a.pkl",
        lambda: [_pickled(_embedding((51,)))],
        lambda path: void(_load_embedding(path, (51,))),
        damage_bytes,
    ),
    "dynamic_embedding": Kind(
        "a.npy",
        lambda: [npy(np.array(_embedding((79, 17)), dtype=object), allow_pickle=True)],
        lambda path: void(_load_embedding(path, (79, 17))),
        damage_bytes,
    ),
    "submission": Kind("a.zip", _submissions, lambda path: void(validate_submission(path)), _damage_zip),
    "settings": Kind(".env", lambda: [_SETTINGS.encode()], _read_settings, damage_text),
}


def void(result: object) -> None:
    """What was read is of no interest, only that it was."""


# The process that reads


@functools.cache
def _good(name: str) -> list[bytes]:
    return list(KINDS[name].make())


def make_input(name: str, seed: int, number: int) -> bytes:
    rng = random.Random(f"{name} {seed} {number}")
    return KINDS[name].damage(rng.choice(_good(name)), rng)


def _is_inspected(path: Path) -> bool:
    return path.suffix in (".mp4", ".json", ".pcd", ".npz", ".ply", ".npy", ".png", ".zip")


def read_one(name: str, path: Path) -> None:
    """Raises what the readers of a kind raise beyond the project's own errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(NersembleError):
            KINDS[name].read(path)
        if _is_inspected(path):
            with contextlib.suppress(NersembleError):
                inspect_file(path)


def _run(folder: Path, name: str, seed: int, first: int, end: int) -> None:
    """Reads inputs in this process; a fault is a line of JSON on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (_LARGEST_ADDRESS_SPACE, resource.RLIM_INFINITY))
    os.environ |= {"HOME": str(folder)}
    for variable in ("NERSEMBLE_BENCHMARK_URL", "NERSEMBLE_BENCHMARK_FOLDER", "NERSEMBLE_FLAME_MODEL"):
        os.environ.pop(variable, None)
    path = folder / KINDS[name].file_name
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    good = _good(name)
    for content in good:  # imports libraries, which takes time and memory of its own
        path.write_bytes(content)
        read_one(name, path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, end):
        (folder / "number").write_text(str(number))
        path.write_bytes(make_input(name, seed, number))
        # By the kernel, whatever the code at work does: some libraries catch every exception.
        signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
        faulthandler.dump_traceback_later(LIMIT_WAITING, exit=True)
        try:
            read_one(name, path)
        except BaseException:
            print(json.dumps([number, traceback.format_exc()]), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (peak - before) * 1024 > LIMIT_BYTES:
            print(json.dumps([number, f"it took {(peak - before) / 1e6:,.1f} GB of memory"]), flush=True)
            (folder / "number").write_text(str(number))
            sys.exit(1)
    faulthandler.cancel_dump_traceback_later()


def fuzz(name: str, seed: int, first: int, end: int) -> Iterator[tuple[int, str]]:
    """The faults among inputs `first` to `end` - 1 of a kind: the input's number and what happened."""
    with tempfile.TemporaryDirectory(prefix="nersemble-fuzz-") as folder:
        while first < end:
            command = [sys.executable, "-m", "tests.fuzzing", folder, name, str(seed), str(first), str(end)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
            reported = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
            yield from ((int(number), str(what)) for number, what in reported)
            if done.returncode == 0:
                return
            if not (Path(folder) / "number").exists():
                raise RuntimeError(f"reading a good file of kind {name} failed:\n{done.stderr}{done.stdout}")
            number = int((Path(folder) / "number").read_text())
            if number not in [n for n, _ in reported]:
                what = "a hang" if done.returncode == -signal.SIGPROF else f"exit status {done.returncode}"
                yield number, f"{what}\n{done.stderr[-2000:]}"
            first = number + 1


if __name__ == "__main__":
    folder, name, *numbers = sys.argv[1:]
    _run(Path(folder), name, *map(int, numbers))

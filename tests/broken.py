"""One flaw per finding code: how to make a small submission, or renders, that have it."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nersemble_cli.core.benchmarks import NVS, SVFR
from nersemble_cli.core.formats.ply import mesh_to_ply
from tests import made_up
from tests.made_up import Files

VIDEO = "475/HAIR/cam_222200037.mp4"
OTHER_VIDEO = "475/HAIR/cam_222200039.mp4"
SLOT = SVFR.slots[0]
MESH, LANDMARKS = SLOT.path, SLOT.landmarks_path


@dataclass(frozen=True)
class Flaw:
    """`make` writes the broken thing to a path that does not exist yet. `path` is where the finding points."""

    make: Callable[[Path], object]
    path: str | None
    benchmark: str = "nvs"
    is_renders: bool = False


FLAWS: dict[str, Flaw] = {}


def flaw(
    code: str, path: str | None, benchmark: str = "nvs", is_renders: bool = False
) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def register(make: Callable[[Path], object]) -> Callable[[Path], object]:
        FLAWS[code] = Flaw(make, path, benchmark, is_renders)
        return make

    return register


def flaw_of_files(code: str, path: str | None, benchmark: str = "nvs") -> Callable[..., None]:
    """A flaw that is a change of the files of a right submission."""

    def register(change: Callable[[Files], object]) -> None:
        def make(target: Path) -> None:
            files = made_up.SUBMISSIONS[benchmark]()
            changed = change(files)
            made_up.write_zip(target, changed if isinstance(changed, dict) else files)

        FLAWS[code] = Flaw(make, path, benchmark)

    return register


def patch_headers(path: Path, name: str, offset_local: int, offset_central: int, value: int) -> None:
    """Overwrites a 16-bit field of one file in both of its headers."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        local = archive.getinfo(name).header_offset
        central = archive.start_dir
    struct.pack_into("<H", data, local + offset_local, value)
    while data[central + 46 : central + 46 + len(name)] != name.encode():
        central += 46 + sum(struct.unpack_from("<HHH", data, central + 28))
    struct.pack_into("<H", data, central + offset_central, value)
    path.write_bytes(data)


# The zip itself


@flaw("not_a_zip", None)
def _(path: Path) -> None:
    whole = made_up.write_zip(path, made_up.nvs()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@flaw_of_files("unknown_benchmark", None)
def _(files: Files) -> Files:
    return {"holiday/beach.jpg": b"sand"}


@flaw("wrong_benchmark", None)
def _(path: Path) -> None:
    made_up.write_zip(path, made_up.mono())


@flaw_of_files("wrapper_folder", "my_results/")
def _(files: Files) -> Files:
    return {f"my_results/{name}": data for name, data in files.items()}


@flaw("duplicate_file", VIDEO)
def _(path: Path) -> None:
    made_up.write_zip(path, [*made_up.nvs().items(), (VIDEO, b"")][::-1])


@flaw_of_files("unsafe_path", "../../.bashrc")
def _(files: Files) -> None:
    files["../../.bashrc"] = b"echo"


@flaw("encrypted_file", VIDEO)
def _(path: Path) -> None:
    patch_headers(made_up.write_zip(path, made_up.nvs()), VIDEO, 6, 8, 1)


@flaw("unsupported_compression", VIDEO)
def _(path: Path) -> None:
    patch_headers(made_up.write_zip(path, made_up.nvs()), VIDEO, 8, 10, 9)


@flaw("damaged_file", VIDEO)
def _(path: Path) -> None:
    data = bytearray(made_up.write_zip(path, made_up.nvs()).read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(VIDEO).header_offset
    data[start + 30 + len(VIDEO) + 2000] ^= 0xFF
    path.write_bytes(data)


@flaw("suspicious_size", VIDEO)
def _(path: Path) -> None:
    files = made_up.nvs() | {VIDEO: bytes(20_000_000)}
    made_up.write_zip(path, files, zipfile.ZIP_DEFLATED)


@flaw_of_files("junk_file", "__MACOSX/475/._HAIR")
def _(files: Files) -> None:
    files["__MACOSX/475/._HAIR"] = b"\x00\x05\x16\x07"


@flaw_of_files("unexpected_file", "475/HAIR/notes.txt")
def _(files: Files) -> None:
    files["475/HAIR/notes.txt"] = b"best run so far"


@flaw_of_files("missing_file", VIDEO)
def _(files: Files) -> None:
    del files[VIDEO]


# Videos


@flaw_of_files("unreadable_video", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = b"This is a text that somebody called mp4.\n" * 100


@flaw_of_files("damaged_video", VIDEO)
def _(files: Files) -> None:
    data = bytearray(files[VIDEO])
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    files[VIDEO] = bytes(data)


@flaw_of_files("wrong_frame_count", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.video("nvs", made_up.N_FRAMES - 1)


@flaw_of_files("wrong_resolution", VIDEO)
def _(files: Files) -> None:
    frames = [frame.swapaxes(0, 1) for frame in made_up.head_frames(NVS)]
    files[VIDEO] = made_up.encode(NVS, frames, width=NVS.height, height=NVS.width)


@flaw_of_files("blank_frames", VIDEO)
def _(files: Files) -> None:
    frames = made_up.head_frames(NVS)
    files[VIDEO] = made_up.encode(NVS, [frames[0], np.full_like(frames[1], 255), frames[2]])


@flaw_of_files("wrong_color_tags", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.encode_with("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")


@flaw_of_files("rotated_video", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.remux(files[VIDEO], before=("-display_rotation", "90"))


@flaw_of_files("wrong_fps", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.encode_with("-vf", "setpts=N/30/TB", "-r", "30")


@flaw_of_files("wrong_codec", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.encode_with("-c:v", "libx265", "-x265-params", "log-level=none")


@flaw_of_files("wrong_container", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.remux(files[VIDEO], "-f", "matroska")


@flaw_of_files("wrong_pixel_format", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.encode_with("-pix_fmt", "yuv444p")


@flaw_of_files("second_video_track", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.remux(files[VIDEO], "-map", "0:v", "-map", "0:v")


@flaw_of_files("audio_track", VIDEO)
def _(files: Files) -> None:
    silence = ("-f", "lavfi", "-t", "0.04", "-i", "anullsrc")
    files[VIDEO] = made_up.encode_with("-c:a", "aac", before=silence)


@flaw_of_files("frozen_video", VIDEO)
def _(files: Files) -> Files:
    moving, still = made_up.video("nvs", 8), made_up.encode(NVS, made_up.head_frames(NVS, 1) * 8)
    return dict.fromkeys(files, moving) | {VIDEO: still}


@flaw_of_files("background_not_white", VIDEO)
def _(files: Files) -> None:
    files[VIDEO] = made_up.encode(NVS, [np.where(f == 255, 0, f) for f in made_up.head_frames(NVS)])


# Meshes


@flaw_of_files("missing_task", None, "svfr")
def _(files: Files) -> Files:
    return {"017/readme.txt": b""}


@flaw_of_files("missing_mesh", MESH, "svfr")
def _(files: Files) -> None:
    del files[MESH]


@flaw_of_files("unreadable_mesh", MESH, "svfr")
def _(files: Files) -> None:
    files[MESH] = files[MESH][:5000]


@flaw_of_files("empty_mesh", MESH, "svfr")
def _(files: Files) -> None:
    files[MESH] = mesh_to_ply(made_up.face_vertices(), np.empty((0, 3), np.int32))


@flaw_of_files("non_finite_vertices", MESH, "svfr")
def _(files: Files) -> None:
    vertices = made_up.face_vertices().copy()
    vertices[7] = np.nan
    files[MESH] = mesh_to_ply(vertices, made_up.face_triangles())


@flaw_of_files("face_index_out_of_range", MESH, "svfr")
def _(files: Files) -> None:
    faces = made_up.face_triangles().copy()
    faces[3, 1] = 5023
    files[MESH] = mesh_to_ply(made_up.face_vertices(), faces)


def quads_ply(encoding: str = "ascii") -> bytes:
    """5023 vertices and as many quads."""
    n = len(made_up.face_vertices())
    quads = [[i, (i + 1) % n, (i + 2) % n, (i + 3) % n] for i in range(n)]
    return made_up.polygons_ply(made_up.face_vertices(), quads, encoding)


@flaw_of_files("zero_vertices", MESH, "svfr")
def _(files: Files) -> None:
    vertices = made_up.face_vertices(3000).copy()
    vertices[2000:] = 0
    files[MESH] = mesh_to_ply(vertices, made_up.face_triangles(3000))
    files[LANDMARKS] = made_up.npy(made_up.now_landmarks())


@flaw_of_files("non_triangle_faces", MESH, "svfr")
def _(files: Files) -> None:
    files[MESH] = quads_ply()


@flaw_of_files("lost_vertices", MESH, "svfr")
def _(files: Files) -> None:
    files[MESH] = made_up.ply(5009)


@flaw_of_files("missing_landmarks", LANDMARKS, "svfr")
def _(files: Files) -> None:
    files[MESH] = made_up.ply(2000)


@flaw_of_files("wrong_landmarks", LANDMARKS, "svfr")
def _(files: Files) -> None:
    files[LANDMARKS] = made_up.npy(made_up.now_landmarks()[:, :2])


@flaw_of_files("non_finite_landmarks", LANDMARKS, "svfr")
def _(files: Files) -> None:
    landmarks = made_up.now_landmarks()
    landmarks[4] = np.inf
    files[LANDMARKS] = made_up.npy(landmarks)


@flaw_of_files("landmarks_off_mesh", LANDMARKS, "svfr")
def _(files: Files) -> None:
    files[LANDMARKS] = made_up.npy(1000 * made_up.now_landmarks())  # millimetres beside metres


@flaw_of_files("landmarks_mirrored", LANDMARKS, "svfr")
def _(files: Files) -> None:
    files[LANDMARKS] = made_up.npy(made_up.now_landmarks()[[3, 2, 1, 0, 4, 6, 5]])


# Renders


def flaw_of_renders(code: str) -> Callable[[Callable[[Path], object]], None]:
    """A flaw that is a change of the frames of one video of complete renders."""

    def register(change: Callable[[Path], object]) -> None:
        def make(target: Path) -> None:
            made_up.write_renders(target, NVS)
            change(target / VIDEO.removesuffix(".mp4"))

        FLAWS[code] = Flaw(make, VIDEO, is_renders=True)

    return register


@flaw_of_renders("unreadable_image")
def _(frames: Path) -> None:
    data = (frames / "00001.png").read_bytes()
    (frames / "00001.png").unlink()
    (frames / "00001.png").write_bytes(data[:1000] + b"\0" + data[1001:])


@flaw_of_renders("frame_gap")
def _(frames: Path) -> None:
    (frames / "00002.png").rename(frames / "00003.png")


@flaw_of_renders("unnumbered_frame")
def _(frames: Path) -> None:
    (frames / "last.png").write_bytes(made_up.png(made_up.head_frame(NVS, 0)))


@flaw_of_renders("duplicate_frame")
def _(frames: Path) -> None:
    (frames / "frame_2.png").hardlink_to(frames / "00002.png")


@flaw_of_renders("ambiguous_order")
def _(frames: Path) -> None:
    for i, frame in enumerate(sorted(frames.iterdir())):
        frame.rename(frames / f"{i}_{9 - i}.png")

"""Packing and validating beside the official toolkit and plain ffmpeg, on frames made from a real photograph.

    python benchmarks/submissions.py [--official PYTHON_WITH_THE_OFFICIAL_TOOLKIT] [--pairs 1]

Needs scikit-image for the photograph (pip install '.[bench]'). Every figure is of a whole process, from its start
to its end; pairs are run in turn. The official toolkit needs ffmpeg on PATH: it gets the one that we use.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure import MEGABYTE, Run, ratio, run

from nersemble_cli.core.benchmarks import NVS, SVFR
from nersemble_cli.core.mesh import mesh_to_ply
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.video import find_ffmpeg

N_FRAMES = 259
NERSEMBLE = [sys.executable, "-m", "nersemble_cli"]
CAMERAS = ("222200037", "222200039")

OFFICIAL_PACK = """
import glob, sys
import imageio.v3 as iio
from nersemble_benchmark.data.submission_data import NVSSubmissionDataWriter
with NVSSubmissionDataWriter(sys.argv[2]) as writer:
    for serial in sys.argv[3:]:
        frames = [iio.imread(path) for path in sorted(glob.glob(sys.argv[1] + "/*.png"))]
        writer.add_video(475, "HAIR", serial, frames)
"""
OFFICIAL_VALIDATE = """
import sys
from nersemble_benchmark.data import submission_data
reader = getattr(submission_data, sys.argv[2])(sys.argv[1])
print(reader.validate_submission())
"""
OFFICIAL_SVFR_PACK = """
import sys, trimesh
from nersemble_benchmark.constants import BENCHMARK_SVFR_IMAGE_KEYS
from nersemble_benchmark.data.submission_data import SVFRSubmissionDataWriter
with SVFRSubmissionDataWriter(sys.argv[2]) as writer:
    for participant, keys in BENCHMARK_SVFR_IMAGE_KEYS.items():
        for sequence, timestep, serial in keys:
            folder = f"{sys.argv[1]}/{participant:03d}/{sequence}_{timestep:03d}_{serial}"
            posed = trimesh.load(folder + "/mesh_posed.ply", process=False)
            neutral = trimesh.load(folder + "/mesh_neutral.ply", process=False)
            writer.add_posed_mesh(participant, sequence, timestep, serial, posed)
            writer.add_neutral_mesh(participant, sequence, timestep, serial, neutral)
"""


def _photo_frame(t: int, folder: Path, height: int, width: int) -> None:
    import cv2
    from skimage import data

    photo = cv2.resize(data.astronaut()[..., ::-1], (width + 300, height + 296), interpolation=cv2.INTER_CUBIC)
    x, y = int(150 + 100 * np.sin(t / 20)), int(140 + 100 * np.cos(t / 17))
    noise = np.random.default_rng(t).integers(-4, 5, (height, width, 3), dtype=np.int16)
    frame = np.clip(photo[y : y + height, x : x + width] + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / f"{t:05d}.png"), frame)


def make_frames(folder: Path, n: int = N_FRAMES, height: int = NVS.height, width: int = NVS.width) -> Path:
    """PNGs of a photograph that moves, with new noise in every frame."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(functools.partial(_photo_frame, folder=folder, height=height, width=width), range(n)))
    return folder


def make_meshes(folder: Path) -> Path:
    """391 × 2 meshes of FLAME's size."""
    rng = np.random.default_rng(0)
    faces = (np.arange(9976 * 3).reshape(-1, 3) * 7 % 5023).astype(np.int32)
    for slot in SVFR.mesh_slots:
        path = folder / slot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mesh_to_ply(rng.normal(0, 0.1, (5023, 3)).astype(np.float32), faces))
    return folder


@contextmanager
def metadata_server(folder: Path) -> Iterator[str]:
    """A server of NVS frame counts, which the official validator asks for."""
    sequences = {
        str(p): {"sequence_name": s, "timesteps": list(range(N_FRAMES))} for p, (s,) in NVS.test_sequences.items()
    }
    (folder / "nvs").mkdir(parents=True)
    (folder / "nvs" / "metadata.json").write_text(json.dumps({"sequences": sequences}))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def checked(result: Run, statuses: tuple[int, ...] = (0,)) -> Run:
    if result.status not in statuses:
        sys.exit(result.output)
    return result


def compare(title: str, pairs: int, ours: Callable[[], Run], **others: Callable[[], Run]) -> None:
    """Runs all in turn and prints medians, ratios to ours, and peak memory."""
    runs: dict[str, list[Run]] = {"nersemble": [], **{name: [] for name in others}}
    for _ in range(pairs):
        for name, work in {"nersemble": ours, **others}.items():
            runs[name].append(work())
    print(f"\n{title}")
    our_seconds = [r.seconds for r in runs["nersemble"]]
    our_peak = max(r.peak_bytes for r in runs["nersemble"])
    for name, results in runs.items():
        seconds = [r.seconds for r in results]
        peak = max(r.peak_bytes for r in results)
        against = (
            "" if name == "nersemble" else f"  time {ratio(our_seconds, seconds)}  memory {our_peak / peak:.2f}"
        )
        print(f"  {name:10} {statistics.median(seconds):7.2f} s  {peak / MEGABYTE:6.0f} MB{against}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--official", help="python of an environment with the official toolkit")
    parser.add_argument("--pairs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, metadata_server(Path(name) / "server") as url:
        folder = Path(name)
        benchmark_videos(folder, options.official, options.pairs, url)
        benchmark_meshes(folder, options.official, options.pairs, url)


def official_environment(folder: Path, url: str) -> dict[str, str]:
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    if not (tools / "ffmpeg").exists():
        (tools / "ffmpeg").symlink_to(find_ffmpeg())
    return {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "NERSEMBLE_BENCHMARK_URL": url}


def benchmark_videos(folder: Path, official: str | None, pairs: int, url: str) -> None:
    frames = make_frames(folder / "frames")
    renders = folder / "renders" / "475" / "HAIR"
    for serial in CAMERAS:
        (renders / f"cam_{serial}").mkdir(parents=True)
        for path in frames.iterdir():
            (renders / f"cam_{serial}" / path.name).hardlink_to(path)
    out, plain = folder / "out.zip", folder / "plain.mp4"
    environment = official_environment(folder, url)
    ffmpeg = [find_ffmpeg(), "-v", "error", "-y", "-framerate", "73", "-i", f"{frames}/%05d.png"]
    ffmpeg += ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "14", str(plain)]
    twice = ["sh", "-c", '"$@" && "$@"', "twice", *ffmpeg]

    def official_run(script: str, *arguments: str) -> Callable[[], Run]:
        return lambda: checked(run([str(official), "-c", script, *arguments], environment))

    pack = [*NERSEMBLE, "pack", "nvs", str(folder / "renders"), str(out), "--allow-incomplete", "--overwrite"]
    others: dict[str, Callable[[], Run]] = {"ffmpeg": lambda: checked(run(twice))}
    if official:
        others["official"] = official_run(OFFICIAL_PACK, str(frames), str(folder / "official.zip"), *CAMERAS)
    title = f"pack 2 videos of {N_FRAMES} frames, {NVS.width}×{NVS.height}"
    compare(title, pairs, lambda: checked(run(pack)), **others)

    decode = ["sh", "-c", '"$0" -v error -i "$1" -f null - && "$0" -v error -i "$1" -f null -']
    decode += [find_ffmpeg(), str(plain)]
    validate = [*NERSEMBLE, "validate", str(out)]
    compare(
        "validate them in full (the zip lacks other videos: exit status 1)",
        max(3, pairs),
        lambda: checked(run(validate), (0, 1)),
        ffmpeg=lambda: checked(run(decode)),
    )

    whole = folder / "whole.zip"
    write_zip(whole, {slot.path: plain for slot in NVS.video_slots})
    quick = [*NERSEMBLE, "validate", "--quick", "--strict", "-f", str(folder / "server"), str(whole)]
    others = {}
    if official:
        others["official"] = official_run(OFFICIAL_VALIDATE, str(whole), "NVSSubmissionDataReader")
    compare("validate 15 videos, quick", max(3, pairs), lambda: checked(run(quick)), **others)


def benchmark_meshes(folder: Path, official: str | None, pairs: int, url: str) -> None:
    meshes = make_meshes(folder / "meshes")
    out = folder / "svfr.zip"
    environment = official_environment(folder, url)
    pack = [*NERSEMBLE, "pack", "svfr", str(meshes), str(out), "--overwrite"]
    validate = [*NERSEMBLE, "validate", str(out)]
    packers: dict[str, Callable[[], Run]] = {}
    validators: dict[str, Callable[[], Run]] = {}
    if official:
        script = [official, "-c", OFFICIAL_SVFR_PACK, str(meshes), str(folder / "official_svfr.zip")]
        packers["official"] = lambda: checked(run(script, environment))
        reader = [official, "-c", OFFICIAL_VALIDATE, str(out), "SVFRSubmissionDataReader"]
        validators["official"] = lambda: checked(run(reader, environment))
    compare("pack 391 × 2 meshes", max(3, pairs), lambda: checked(run(pack)), **packers)
    compare("validate 391 × 2 meshes", max(3, pairs), lambda: checked(run(validate)), **validators)


if __name__ == "__main__":
    main()

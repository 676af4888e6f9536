"""What the comparison with the training data adds to `nersemble validate`: nothing there yet, and from its cache.

    python perf/compare_cost.py [--folder SCRATCH] [--rounds N] [--frames N]

A participant of NVS (13 training cameras, one sequence) and one of Mono (four training sequences, four test
sequences) at full size: drawn small, enlarged by ffmpeg. The first run in SCRATCH makes them, which takes some ten
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from measure import MEGABYTE, NERSEMBLE, run
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MONO, NVS, VideoBenchmark, VideoSlot
from nersemble_cli.core.data.calibration import read_calibration
from nersemble_cli.core.data.cameras import rescale_intrinsics
from nersemble_cli.core.submission.compare.reference import CACHE
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.synthetic.benchmark import Recipe, make_benchmark, render_view
from nersemble_cli.core.threads import in_threads
from nersemble_cli.core.video.encode import encode_video, find_ffmpeg

PARTICIPANTS = {NVS.name: 475, MONO.name: 393}
FRAMES = {NVS.name: 259, MONO.name: 152}  # 152 × 4 is what the participant's four sequences have together, about
SCALES = {NVS.name: 0.2, MONO.name: 0.5}
MONO_TRAINING = ("EXP-1-head", "EXP-5-mouth", "EMO-3-angry+sad", "SEN-04-two_plus_seven")


def enlarge(path: Path, benchmark: VideoBenchmark) -> None:
    part = path.with_suffix(".part.mp4")
    command = [
        find_ffmpeg(),
        "-v",
        "error",
        "-y",
        "-i",
        str(path),
        "-vf",
        f"scale={benchmark.width}:{benchmark.height}",
    ]
    encoding = ["-c:v", "libx264", "-crf", "14", "-preset", "veryfast", "-pix_fmt", "yuv420p", str(part)]
    subprocess.run([*command, *encoding], check=True)
    part.replace(path)


def make(folder: Path, benchmark: VideoBenchmark, n_frames: int) -> tuple[Path, Path]:
    """The benchmark's folder, and a zip with all videos of the participant."""
    nb, submission, done = (
        folder / f"{benchmark.name}-data",
        folder / f"{benchmark.name}.zip",
        folder / benchmark.name,
    )
    if done.exists():
        return nb, submission
    participant, recipe = PARTICIPANTS[benchmark.name], Recipe(n_frames, SCALES[benchmark.name], n_points=500)
    sequences = MONO_TRAINING if benchmark is MONO else None
    make_benchmark(nb, recipe, {benchmark.name: [participant]}, sequences=sequences, pointclouds=())
    calibration = nb / benchmark.folder / benchmark.asset("calibration").path.format(participant=participant)
    height, width = recipe.size(benchmark)
    document = json.loads(calibration.read_text())
    for serial, (_, intrinsics) in read_calibration(calibration).items():
        document["intrinsics"][serial] = rescale_intrinsics(
            np.asarray(intrinsics), benchmark.width / width, benchmark.height / height
        ).tolist()
    calibration.write_text(json.dumps(document))

    def frames(slot: VideoSlot) -> Iterator[NDArray[np.uint8]]:
        for t in range(n_frames):
            yield render_view(benchmark, slot.participant, slot.sequence, t, slot.serial, recipe)[0]

    videos = {}
    for slot in (slot for slot in benchmark.slots if slot.participant == participant):
        videos[slot.path] = path = folder / "renders" / slot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        encode_video(frames(slot), path, width, height, Fraction(benchmark.fps))
    for _ in in_threads(lambda path, _: enlarge(path, benchmark), [*nb.rglob("cam_*.mp4"), *videos.values()], 2):
        pass
    write_zip(submission, videos)
    done.touch()
    return nb, submission


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=Path("compare-cost-scratch"), help="made there once, and kept"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, help="of each video")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print("| | not compared | first time | from the cache | first ÷ not | cache ÷ not | memory |")
    print("|---|---|---|---|---|---|---|")
    for benchmark in (NVS, MONO):
        n_frames = arguments.frames or FRAMES[benchmark.name]
        nb, submission = make(arguments.folder, benchmark, n_frames)
        command = [*NERSEMBLE, "validate", submission, "-f", nb]
        rounds = []
        for _ in range(arguments.rounds):
            shutil.rmtree(nb / CACHE, ignore_errors=True)
            rounds.append([run([*command, *more], statuses=(0, 1)) for more in (["--no-compare"], [], [])])
        without, first, again = ([its[i] for its in rounds] for i in range(3))
        seconds = [statistics.median(r.seconds for r in runs) for runs in (without, first, again)]
        ratios = [
            statistics.median(a.seconds / b.seconds for a, b in zip(runs, without, strict=True))
            for runs in (first, again)
        ]
        memory = " / ".join(
            f"{max(r.peak_bytes for r in runs) / MEGABYTE:.0f}" for runs in (without, first, again)
        )
        n_videos = sum(slot.participant == PARTICIPANTS[benchmark.name] for slot in benchmark.slots)
        times = " | ".join(f"{s:.2f} s" for s in seconds)
        title = f"{n_videos} videos of {n_frames} frames, {benchmark.height}×{benchmark.width}"
        print(f"| {title} | {times} | {ratios[0]:.2f}× | {ratios[1]:.2f}× | {memory} MB |", flush=True)


if __name__ == "__main__":
    main()

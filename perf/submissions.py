"""Packing and validating, as whole processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from lab import N_FRAMES, Lab
from measure import NERSEMBLE, Row, Run, run

from nersemble_cli.core.benchmarks import NVS, SVFR
from nersemble_cli.core.formats.ply import mesh_to_ply
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.synthetic.head import make_flame_model
from nersemble_cli.core.video.encode import find_ffmpeg

CAMERAS = NVS.hold_out_serials[:2]
PACK = """
import glob, sys
import imageio.v3 as iio
from nersemble_benchmark.data.submission_data import NVSSubmissionDataWriter
with NVSSubmissionDataWriter(sys.argv[2]) as writer:
    for serial in sys.argv[3:]:
        frames = [iio.imread(path) for path in sorted(glob.glob(sys.argv[1] + "/*.png"))]
        writer.add_video(475, "HAIR", serial, frames)
"""
VALIDATE = """
import sys
from nersemble_benchmark.data import submission_data
reader = getattr(submission_data, sys.argv[2])(sys.argv[1])
print(reader.validate_submission())
"""
PACK_MESHES = """
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


def rows(lab: Lab) -> Iterator[Row]:
    yield from _videos(lab)
    yield from _meshes(lab)


def _videos(lab: Lab) -> Iterator[Row]:
    renders = lab.folder / "renders" / "475" / "HAIR"
    for serial in CAMERAS:
        camera = renders / f"cam_{serial}"
        camera.mkdir(parents=True)
        for path in lab.frames.iterdir():
            (camera / path.name).hardlink_to(path)
    out, plain = lab.folder / "out.zip", lab.folder / "plain.mp4"
    two, whole = lab.folder / "two.zip", lab.folder / "whole.zip"
    write_zip(two, {slot.path: lab.video for slot in NVS.slots[:2]})
    write_zip(whole, {slot.path: lab.video for slot in NVS.slots})
    pack = [*NERSEMBLE, "pack", "nvs", renders.parents[1], out, "--allow-incomplete", "--overwrite"]
    ffmpeg = [find_ffmpeg(), "-v", "error", "-y", "-framerate", "73", "-i", f"{lab.frames}/%05d.png"]
    ffmpeg += ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "14", str(plain)]
    official = lab.folder / "official.zip"
    yield Row(
        f"pack 2 videos of {N_FRAMES} frames, {NVS.width}×{NVS.height}",
        ours=lambda: run(pack),
        official=(lambda: lab.run_official(PACK, lab.frames, official, *CAMERAS)) if lab.official else None,
        limit=lambda: run(["sh", "-c", '"$@" && "$@"', "twice", *ffmpeg]),
        limit_is="ffmpeg, the same PNGs",
        asked=1.5,
        asked_of_limit=1.15,
        rounds=1,
    )
    decode = [find_ffmpeg(), "-v", "error", "-i", str(lab.video), "-f", "null", "-"]
    yield Row(
        "validate 2 such videos in full",
        ours=lambda: run([*NERSEMBLE, "validate", two], statuses=(1,)),  # other videos are missing
        limit=lambda: run(["sh", "-c", '"$@" && "$@"', "twice", *decode]),
        limit_is="ffmpeg decoding",
        asked_of_limit=1.1,
        rounds=5,
    )
    quick = [*NERSEMBLE, "validate", "--quick", "--strict", "-f", lab.metadata_folder, whole]

    def validate() -> Run:
        return lab.run_official(VALIDATE, whole, "NVSSubmissionDataReader")

    yield Row(
        f"validate {len(NVS.slots)} videos, quick (asked: 0.7 s)",
        ours=lambda: run(quick),
        official=validate if lab.official else None,
    )


def _meshes(lab: Lab) -> Iterator[Row]:
    folder, out, whole = lab.folder / "meshes", lab.folder / "svfr.zip", lab.folder / "whole_svfr.zip"
    rng = np.random.default_rng(0)
    model = make_flame_model()
    for slot in SVFR.slots:
        path = folder / slot.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mesh_to_ply(model.v_template + rng.normal(0, 0.001, (5023, 3)), model.faces))
    write_zip(whole, {slot.path: folder / slot.path for slot in SVFR.slots})

    def pack() -> Run:
        return lab.run_official(PACK_MESHES, folder, lab.folder / "official_svfr.zip")

    def validate() -> Run:
        return lab.run_official(VALIDATE, whole, "SVFRSubmissionDataReader")

    yield Row(
        "pack 391 × 2 meshes of FLAME's size",
        ours=lambda: run([*NERSEMBLE, "pack", "svfr", folder, out, "--overwrite"]),
        official=pack if lab.official else None,
        asked=1,
    )
    yield Row(
        "validate 391 × 2 meshes",
        ours=lambda: run([*NERSEMBLE, "validate", whole]),
        official=validate if lab.official else None,
        asked=1,
        limit=lambda: run([*NERSEMBLE, "validate", "--no-compare", whole]),
        limit_is="--no-compare",
        asked_of_limit=1.5,
    )

"""What a method makes of the made-up benchmark: renders, meshes, and a submission with mistakes."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np

from nersemble_cli.core.benchmarks import MeshBenchmark, MeshSlot, VideoBenchmark, VideoSlot
from nersemble_cli.core.formats.ply import mesh_to_ply
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.synthetic.benchmark import Recipe, render_frames
from nersemble_cli.core.synthetic.head import make_flame_model
from nersemble_cli.core.threads import in_threads
from nersemble_cli.core.video.encode import encode_video


def write_renders(folder: Path, benchmark: VideoBenchmark, recipe: Recipe) -> Path:
    """PNGs of every frame that a submission must hold, as `nersemble pack` reads them."""

    def write(slot: VideoSlot) -> None:
        target = folder / slot.path.removesuffix(".mp4")
        target.mkdir(parents=True)
        frames = render_frames(benchmark, slot.participant, slot.sequence, slot.serial, recipe)
        for timestep, frame in enumerate(frames):
            (target / f"{timestep:05d}.png").write_bytes(encode_png(frame))

    for _ in in_threads(lambda slot, _: write(slot), benchmark.slots, cpu_count()):
        pass
    return folder


def write_meshes(folder: Path, benchmark: MeshBenchmark, kind: str = "posed") -> Path:
    """A FLAME mesh of one kind for every image, as `nersemble pack` reads them: one shape per person, one
    expression per image."""
    model = make_flame_model()
    for participant, keys in benchmark.image_keys.items():
        person = np.random.default_rng(participant)
        shape = person.normal(scale=0.8, size=300)
        for key in keys:
            expression = person.normal(scale=0.3, size=100)
            vertices = model.v_template + model.shapedirs @ np.concatenate([shape, expression])
            target = folder / MeshSlot(participant, key, kind).path
            target.parent.mkdir(parents=True)
            target.write_bytes(mesh_to_ply(vertices.astype(np.float32), model.faces))
    return folder


def plant_mistakes(submission: Path, target: Path, benchmark: VideoBenchmark, recipe: Recipe) -> Path:
    """A copy of a video submission with mistakes: a video lacks a frame, one is damaged, one is missing."""
    short, damaged, missing = benchmark.slots[:3]
    with zipfile.ZipFile(submission) as source:
        files = {name: source.read(name) for name in source.namelist()}
    with tempfile.TemporaryDirectory() as place:
        video = Path(place) / "short.mp4"
        frames = list(render_frames(benchmark, short.participant, short.sequence, short.serial, recipe))
        encode_video(frames[:-1], video, benchmark.width, benchmark.height, benchmark.fps)
        files[short.path] = video.read_bytes()
    data = bytearray(files[damaged.path])
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)  # its header stays fine
    files[damaged.path] = bytes(data)
    del files[missing.path]
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target

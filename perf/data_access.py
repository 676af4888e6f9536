"""Loading data: the same loops in a process of each toolkit, timed from after the imports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lab import N_FRAMES, PARTICIPANT, SEQUENCE, Lab
from measure import Row, Run, run

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.synthetic import write_flame_model
from nersemble_cli.core.synthetic.benchmark import make_tracking, write_pcd
from nersemble_cli.core.synthetic.render import make_rig
from nersemble_cli.core.video.encode import find_ffmpeg

N_POINTS = 660_000
N_MESHES = 500
N_SAMPLES = 160

OURS = "from nersemble_cli import NVSDataManager, FlameTracking, FlameProvider"
OFFICIAL = """
from nersemble_benchmark.data.benchmark_data import NVSDataManager, FlameTracking
from nersemble_benchmark.models.flame import FlameProvider
"""
# A frame is loaded first, as libraries are loaded at first use.
SCRIPT = """
import json, random, sys, time
import numpy as np
folder, serials = sys.argv[1], sys.argv[2].split(",")
{imports}
manager = NVSDataManager(folder, 475)
def load(t, serial=serials[0], **options):
    return manager.load_image("HAIR", serial, t, **options)
load(0)
{prepare}
start = time.perf_counter()
{code}
print(json.dumps(time.perf_counter() - start))
"""
FLAME = """
arrays = {k: v.astype(np.float32) if v.dtype == float else v for k, v in np.load(folder + "/tracking.npz").items()}
provider = FlameProvider(FlameTracking(**arrays))
provider.get_vertices(0)
"""
DATASET = """
from nersemble_cli import GroupedBatchSampler, NVSDataset
dataset = NVSDataset(folder, 475, "HAIR", serials[:2])
dataset[0]
"""
SHUFFLED = "[i for batch in GroupedBatchSampler(dataset, 8) for i in batch]"


@dataclass(frozen=True)
class Loop:
    """A loop that both toolkits run: `n` units, and how many times as long the official one should take."""

    title: str
    unit: str
    n: int
    code: str
    asked: float
    ours: str = ""  # if our code differs
    prepare: str = ""
    our_prepare: str = ""
    rounds: int = 1


LOOPS = (
    Loop("load_image, t = 100…139 in turn", "frame", 40, "for t in range(100, 140): load(t)", 60),
    Loop("the same after t = 100", "frame", 39, "for t in range(101, 140): load(t)", 60, prepare="load(100)"),
    Loop(
        "load_image, 20 random timesteps",
        "frame",
        20,
        "for t in random.Random(0).choices(range(259), k=20): load(t)",
        1.5,
    ),
    Loop(
        "load_all_images(as_uint8=True)",
        "frame",
        N_FRAMES,
        "images = manager.load_all_images('HAIR', serials[0], as_uint8=True)",
        1.9,
        rounds=5,
    ),
    Loop(
        "13 cameras at t = 101, 102, 103",
        "timestep",
        3,
        "for t in (101, 102, 103):\n    for serial in serials: load(t, serial)",
        60,
        ours="for t in (101, 102, 103): manager.load_images('HAIR', t)",
        our_prepare="manager.load_images('HAIR', 100)",  # the official time does not depend on it
    ),
    Loop(
        f"load_pointcloud, {N_POINTS:,} points, binary",
        "file",
        10,
        "for _ in range(10): manager.load_pointcloud('HAIR', 0)",
        8,
        prepare="manager.load_pointcloud('HAIR', 0)",
        rounds=3,
    ),
    Loop(
        f"FLAME vertices of {N_MESHES} frames",
        "mesh",
        N_MESHES,
        f"for t in range({N_MESHES}): provider.get_vertices(t)",
        10,
        ours="provider.get_vertices(slice(None))",
        prepare=FLAME,
        rounds=3,
    ),
)


def rows(lab: Lab) -> Iterator[Row]:
    folder = lab.folder / "benchmark"
    _make_data(lab, folder)
    write_flame_model(lab.home / ".cache" / "FLAME")  # where both toolkits look

    def work(python: str, imports: str, prepare: str, code: str) -> Run:
        script = SCRIPT.format(imports=imports, prepare=prepare, code=code)
        return lab.run_inner(python, script, folder, ",".join(NVS.train_serials))

    def ours(code: str, prepare: str = "") -> Run:
        return work(sys.executable, OURS, prepare, code)

    def official(loop: Loop) -> Run:
        return work(str(lab.official), OFFICIAL, loop.prepare, loop.code)

    for loop in LOOPS:
        yield Row(
            loop.title,
            ours=lambda loop=loop: ours(loop.ours or loop.code, loop.our_prepare or loop.prepare),  # type: ignore[misc]
            official=(lambda loop=loop: official(loop)) if lab.official else None,  # type: ignore[misc]
            asked=loop.asked,
            n=loop.n,
            unit=loop.unit,
            rounds=loop.rounds,
        )
    raw = [find_ffmpeg(), "-v", "error", "-i", str(lab.long_video(4)), "-pix_fmt", "rgb24", "-f", "rawvideo"]
    long = lab.folder / "long"
    lab.link(lab.long_video(4), NVSDataManager(long, PARTICIPANT).get_images_path(SEQUENCE, NVS.train_serials[0]))
    iterate = f"for _ in NVSDataManager({str(long)!r}, 475).iter_images('HAIR', serials[0], as_uint8=True): pass"
    yield Row(
        "iter_images(as_uint8=True)",
        ours=lambda: ours(iterate),
        limit=lambda: run([*raw, "-y", "/dev/null"]),
        limit_is="ffmpeg to rgb24",
        asked_of_limit=1.15,
        n=4 * N_FRAMES,
        unit="frame",
        rounds=5,
    )
    yield Row(
        "NVSDataset (image and alpha map) shuffled by GroupedBatchSampler",
        ours=lambda: ours(f"for i in {SHUFFLED}: dataset[i]", DATASET),
        limit=lambda: ours("for i in range(len(dataset)): dataset[i]", DATASET),
        limit_is="in order",
        asked_of_limit=2,
        n=2 * N_FRAMES,
        unit="sample",
        rounds=2,
    )


def _make_data(lab: Lab, folder: Path) -> None:
    """A benchmark folder: 13 links to the video, a calibration, a point cloud, a tracking file."""
    nvs = NVSDataManager(folder, PARTICIPANT)
    for serial in NVS.train_serials:
        lab.link(lab.video, nvs.get_images_path(SEQUENCE, serial))
    for serial in NVS.train_serials[:2]:
        lab.link(lab.video, nvs.get_alpha_maps_path(SEQUENCE, serial))
    write_calibration(Path(nvs.get_camera_calibration_path()))
    rng = np.random.default_rng(0)
    points, normals = (rng.normal(size=(N_POINTS, 3)).astype(np.float32) for _ in range(2))
    write_pcd(Path(nvs.get_pointcloud_path(SEQUENCE, 0)), points, rng.random((N_POINTS, 3), np.float32), normals)
    tracking = make_tracking(393, "FREE", N_MESHES)
    np.savez(folder / "tracking.npz", **{k: v for k, v in vars(tracking).items() if k != "version"})


def write_calibration(path: Path) -> None:
    """A `camera_params.json` of a made-up rig."""
    poses, intrinsics = make_rig(NVS.height, NVS.width, 4000)
    path.parent.mkdir(parents=True)
    document = {"world_2_cam": poses, "intrinsics": intrinsics}
    path.write_text(json.dumps({k: {s: m.tolist() for s, m in v.items()} for k, v in document.items()}))

"""Loading data beside the official toolkit, on a video made from a real photograph and other data of real sizes.

    python benchmarks/data_access.py [--official PYTHON_WITH_THE_OFFICIAL_TOOLKIT] [--pairs 1] [--only TITLE]

Needs scikit-image for the photograph (pip install '.[bench]') and torch for FLAME. Each figure is of the same loop
with the two toolkits' imports, in a process of its own, measured from after the imports; the two take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from measure import MEGABYTE, ratio, run
from submissions import N_FRAMES, make_frames

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.dataset import NVSDataManager
from nersemble_cli.core.images import read_rgb
from nersemble_cli.core.synthetic.benchmark import make_tracking, write_pcd
from nersemble_cli.core.synthetic.head import make_flame_model
from nersemble_cli.core.synthetic.render import make_rig
from nersemble_cli.core.video import encode_video

N_POINTS = 660_000
N_MESHES = 500
PARTICIPANT, SEQUENCE = 475, "HAIR"
ROOT = Path(__file__).parents[1]

OURS = "from nersemble_cli import NVSDataManager, FlameTracking, FlameProvider"
OFFICIAL = """
from nersemble_benchmark.data.benchmark_data import NVSDataManager, FlameTracking
from nersemble_benchmark.models.flame import FlameProvider
"""
# `say` prints a time and what it was for; the manager is made before, as its making costs nothing.
FRAME = """
import json, random, sys, time
import numpy as np
folder, serials = sys.argv[1], sys.argv[2].split(",")
{imports}
manager = NVSDataManager(folder, 475)
def load(t, serial=serials[0], **options):
    return manager.load_image("HAIR", serial, t, **options)
load(0)  # libraries are loaded at first use
{prepare}
start = time.perf_counter()
{work}
print(json.dumps((time.perf_counter() - start) / {n}))
"""


@dataclass(frozen=True)
class Work:
    """A loop that both toolkits run: `n` units, and what each may cost of the official time."""

    title: str
    unit: str
    n: int
    code: str
    target: float
    ours: str = ""  # if our code differs
    prepare: str = ""
    pairs: int = 1


FLAME_PREPARE = """
arrays = {k: v.astype(np.float32) if v.dtype == float else v for k, v in np.load(folder + "/tracking.npz").items()}
provider = FlameProvider(FlameTracking(**arrays))
provider.get_vertices(0)
"""
CAMERAS = "for t in {steps}:\n    for serial in serials: load(t, serial)"
OUR_CAMERAS = 'for t in {steps}: manager.load_images("HAIR", t)'
WORKS = (
    Work("load_image, t = 100…139 in turn", "frame", 40, "for t in range(100, 140): load(t)", 60),
    Work(
        "load_image, t = 101…139 after 100",
        "frame",
        39,
        "for t in range(101, 140): load(t)",
        60,
        prepare="load(100)",
    ),
    Work(
        "load_image, 20 random timesteps",
        "frame",
        20,
        "for t in random.Random(0).choices(range(259), k=20): load(t)",
        1.5,
    ),
    Work(
        "load_all_images(as_uint8=True)",
        "frame",
        N_FRAMES,
        "images = manager.load_all_images('HAIR', serials[0], as_uint8=True)",
        1.9,
        pairs=3,
    ),
    Work(
        "13 cameras at t = 101…102 after 100",
        "timestep",
        2,
        CAMERAS.format(steps="(101, 102)"),
        60,
        ours=OUR_CAMERAS.format(steps="(101, 102)"),
        prepare="",
    ),
    Work(
        f"load_pointcloud, {N_POINTS:,} points, binary",
        "file",
        10,
        "for _ in range(10): manager.load_pointcloud('HAIR', 0)",
        8,
        prepare="manager.load_pointcloud('HAIR', 0)",
        pairs=3,
    ),
    Work(
        f"FLAME vertices of {N_MESHES} frames",
        "mesh",
        N_MESHES,
        f"for t in range({N_MESHES}): provider.get_vertices(t)",
        10,
        ours="provider.get_vertices(slice(None))",
        prepare=FLAME_PREPARE,
        pairs=3,
    ),
)


def make_data(folder: Path, work: Path) -> None:
    """A benchmark folder: 13 links to a video of a photograph, a calibration, a point cloud, a tracking file."""
    nvs = NVSDataManager(folder, PARTICIPANT)
    frames = make_frames(work / "frames")
    video = Path(nvs.get_images_path(SEQUENCE, NVS.train_serials[0]))
    video.parent.mkdir(parents=True)
    assert NVS.fps is not None
    paths = sorted(frames.iterdir())
    encode_video((read_rgb(path) for path in paths), video, NVS.width, NVS.height, NVS.fps)
    for serial in NVS.train_serials[1:]:
        Path(nvs.get_images_path(SEQUENCE, serial)).hardlink_to(video)
    poses, intrinsics = make_rig(NVS.height, NVS.width, 4000)
    calibration = Path(nvs.get_camera_calibration_path())
    calibration.parent.mkdir(parents=True)
    document = {"world_2_cam": poses, "intrinsics": intrinsics}
    calibration.write_text(json.dumps({k: {s: m.tolist() for s, m in v.items()} for k, v in document.items()}))
    rng = np.random.default_rng(0)
    points, normals = (rng.normal(size=(N_POINTS, 3)).astype(np.float32) for _ in range(2))
    write_pcd(Path(nvs.get_pointcloud_path(SEQUENCE, 0)), points, rng.random((N_POINTS, 3), np.float32), normals)
    tracking = make_tracking(393, "FREE", N_MESHES)
    np.savez(folder / "tracking.npz", **{k: v for k, v in vars(tracking).items() if k != "version"})


def make_flame(home: Path) -> None:
    """The made-up FLAME model where both toolkits look, in plain arrays: the official one needs chumpy else."""
    import pickle

    from scipy.sparse import csc_matrix

    from nersemble_cli.core.flame_model import DYNAMIC_EMBEDDING, STATIC_EMBEDDING, Embedding

    model = make_flame_model()
    folder = home / ".cache" / "FLAME"
    folder.mkdir(parents=True)
    content = {
        "v_template": model.v_template,
        "shapedirs": model.shapedirs,
        "posedirs": model.posedirs,
        "J_regressor": csc_matrix(model.joint_regressor),
        "weights": model.weights,
        "kintree_table": np.array([model.parents, range(5)]).astype(np.int64).astype(np.uint32),
        "f": model.faces.astype(np.uint32),
    }
    (folder / "flame2023.pkl").write_bytes(pickle.dumps(content, protocol=2))

    def as_dict(embedding: Embedding | None) -> dict[str, object]:
        assert embedding is not None
        return {"lmk_face_idx": embedding.faces, "lmk_b_coords": embedding.barycentric}

    (folder / STATIC_EMBEDDING).write_bytes(pickle.dumps(as_dict(model.static), protocol=2))
    np.save(folder / DYNAMIC_EMBEDDING, np.array(as_dict(model.dynamic), dtype=object), allow_pickle=True)


def measure(python: str, imports: str, work: Work, code: str, folder: Path, home: Path) -> float:
    """Seconds per unit."""
    prepare = work.prepare
    if work.unit == "timestep":
        prepare = code.replace("(101, 102)", "(100,)") if imports == OURS else ""
    script = FRAME.format(imports=imports, prepare=prepare, work=code, n=work.n)
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    arguments = [str(folder), ",".join(NVS.train_serials)]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", script, *arguments], env=env, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    return float(json.loads(done.stdout.splitlines()[-1]))


def compare(work: Work, official: str | None, pairs: int, folder: Path, home: Path) -> None:
    ours, others = [], []
    for _ in range(max(pairs, work.pairs)):
        ours.append(measure(sys.executable, OURS, work, work.ours or work.code, folder, home))
        if official:
            others.append(measure(official, OFFICIAL, work, work.code, folder, home))
    text = f"{work.title:45} {_time(ours)} a {work.unit}"
    if others:
        text += f"   official {_time(others)}   {ratio(ours, others)}, at least {work.target:g}×"
    print(text, flush=True)


def _time(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:8.2f} ms"


def compare_import(n: int = 15) -> None:
    """What `import nersemble_cli` adds to a Python that does nothing."""
    times: dict[str, list[float]] = {"pass": [], "import nersemble_cli": []}
    for _ in range(n):
        for code, seconds in times.items():
            seconds.append(run([sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}, sample=False).seconds)
    idle, ours = (statistics.median(seconds) * 1000 for seconds in times.values())
    print(f"import nersemble_cli: {ours - idle:.1f} ms more than the {idle:.1f} ms of nothing, at most 20")


def compare_memory(folder: Path, work: Path) -> None:
    """The peak memory of `iter_images` over a video and over one four times as long."""
    long = NVSDataManager(work / "long", PARTICIPANT)
    short = NVSDataManager(folder, PARTICIPANT)
    path = Path(long.get_images_path(SEQUENCE, NVS.train_serials[0]))
    path.parent.mkdir(parents=True)
    paths = sorted((work / "frames").iterdir()) * 4
    encode_video((read_rgb(p) for p in paths), path, NVS.width, NVS.height, Fraction(73))
    code = "import sys; from nersemble_cli import NVSDataManager\n"
    code += "for _ in NVSDataManager(sys.argv[1], 475).iter_images('HAIR', sys.argv[2]): pass"
    for title, place, manager in ((" ", folder, short), (" 4 × ", work / "long", long)):
        n = manager.get_n_timesteps(SEQUENCE)
        command = [sys.executable, "-c", code, str(place), NVS.train_serials[0]]
        peak = run(command, {"PYTHONPATH": str(ROOT)}).peak_bytes
        print(f"iter_images over{title}{n} frames: peak {peak / MEGABYTE:.0f} MB", flush=True)


def compare_training(folder: Path) -> None:
    """The torch dataset in shuffled order and in grouped order, in one process, on two cameras."""
    import random
    import shutil
    import time

    from nersemble_cli.torch_dataset import GroupedBatchSampler, NVSDataset

    nvs = NVSDataManager(folder, PARTICIPANT)
    serials = NVS.train_serials[:2]
    Path(nvs.get_alpha_maps_path(SEQUENCE, serials[0])).parent.mkdir(parents=True, exist_ok=True)
    for serial in serials:
        shutil.copy(nvs.get_images_path(SEQUENCE, serial), nvs.get_alpha_maps_path(SEQUENCE, serial))
    dataset = NVSDataset(folder, PARTICIPANT, SEQUENCE, serials)
    grouped = [i for batch in GroupedBatchSampler(dataset, 8) for i in batch][:160]
    for title, order in (
        ("shuffled", random.Random(0).sample(range(len(dataset)), 16)),
        ("GroupedBatchSampler", grouped),
    ):
        started = time.perf_counter()
        for index in order:
            dataset[index]
        seconds = (time.perf_counter() - started) / len(order)
        print(f"NVSDataset, {title}: {seconds * 1000:.0f} ms a sample (image and alpha map)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--official", help="python of an environment with the official toolkit")
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--only", default="", help="the comparisons that have this in their title")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder, home = work / "benchmark", work / "home"
        make_data(folder, work)
        make_flame(home)
        for comparison in WORKS:
            if options.only in comparison.title:
                compare(comparison, options.official, options.pairs, folder, home)
        if not options.only:
            compare_import()
            compare_training(folder)
            compare_memory(folder, work)


if __name__ == "__main__":
    main()

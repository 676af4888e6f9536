"""Writes the made-up benchmark: a folder as the official server's, for any part of the three tasks."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import (
    BENCHMARKS,
    MONO,
    NVS,
    SVFR,
    Benchmark,
    MeshBenchmark,
    VideoBenchmark,
    get_benchmark,
)
from nersemble_cli.core.flame.tracking import FlameTracking, euler_xyz_to_matrix
from nersemble_cli.core.formats.png import encode_png
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.synthetic.head import make_flame_model, make_look, make_strands
from nersemble_cli.core.synthetic.render import make_rig, render, shade, vertex_normals
from nersemble_cli.core.threads import in_threads
from nersemble_cli.core.video.encode import encode_video

Encoding = Literal["ascii", "binary", "binary_compressed"]

NOTICE = (
    "Made up by `nersemble`: the people in it do not exist, and nothing of it can be submitted.\n"
    "Frame counts are in metadata.json.\n"
)
# Pixels per metre at a metre's distance, for the width of 1100 and 512 pixels.
_FOCAL = {NVS.name: 4100.0, MONO.name: 1650.0, SVFR.name: 1900.0}
# Large pictures are drawn smaller and enlarged.
_DETAIL = {NVS.name: 0.5, MONO.name: 1.0, SVFR.name: 1.0}
_SCALE_OF_HEADS = 1.0
_PERIOD = 24  # frames, about


@dataclass(frozen=True)
class Recipe:
    """How the made-up benchmark is to be. `scale` 0.1 makes pictures of a tenth of the size, for tests;
    `n_strands` of thin hair fray the outlines.
    """

    n_frames: int = 6
    scale: float = 1.0
    n_points: int = 20_000
    encoding: Encoding = "binary"
    n_strands: int = 0

    def size(self, benchmark: Benchmark) -> tuple[int, int]:
        """Height and width; even, as the videos' pixel format needs it."""
        height, width = (max(2, 2 * round(side * self.scale / 2)) for side in (benchmark.height, benchmark.width))
        return height, width

    def rig(self, benchmark: Benchmark) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
        """The cameras: `world_2_cam` and `intrinsics` per serial."""
        height, width = self.size(benchmark)
        return make_rig(height, width, _FOCAL[benchmark.name] * width / benchmark.width)


def make_tracking(participant: int, sequence: str, n_frames: int) -> FlameTracking:
    """How the made-up person moves in a sequence: talking, looking around, nodding. The same every time."""
    rng = np.random.default_rng([participant, *sequence.encode()])
    person = np.random.default_rng(participant)
    t = 2 * np.pi * np.arange(n_frames)[:, None] / _PERIOD

    def swing(size: Sequence[float]) -> NDArray[np.float64]:
        """(T, n) smooth motions of these amplitudes, that never repeat together."""
        n = len(size)
        phase, pace = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.6, 2.2, n)
        moved: NDArray[np.float64] = np.sin(pace * t + phase) * size
        return moved

    expression = swing([0.3] * 100)
    expression[:, :2] = swing([1.0, 1.0])
    rotation = swing([0.10, 0.28, 0.08])
    eyes = swing([0.10, 0.25, 0])
    return FlameTracking(
        shape=person.normal(scale=0.8, size=(1, 300)),
        expression=expression,
        rotation=rotation,
        rotation_matrices=euler_xyz_to_matrix(rotation),
        translation=swing([0.012, 0.008, 0.010]),
        jaw=np.abs(swing([0.22, 0.0, 0.0])) + swing([0, 0.02, 0]),
        frames=3 * np.arange(n_frames),
        scale=np.full((1, 1), _SCALE_OF_HEADS),
        neck=swing([0.05, 0.12, 0.03]),
        eyes=np.concatenate([eyes, eyes], axis=1),
    )


def _axis_angle_to_matrix(axis_angle: NDArray[Any]) -> NDArray[np.float64]:
    """(3, 3) rotation of a (3,) axis-angle vector, by Rodrigues' formula."""
    angle = float(np.linalg.norm(axis_angle))
    if angle == 0:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turned


def pose_vertices(tracking: FlameTracking, timestep: int) -> NDArray[np.float64]:
    """(5023, 3) world coordinates of the made-up head at a timestep: FLAME in plain numpy, for one frame."""
    model = make_flame_model()
    coefficients = np.concatenate([tracking.shape[0], tracking.expression[timestep]])
    shaped = model.v_template + model.shapedirs @ coefficients
    joints = model.joint_regressor @ shaped
    angles = np.concatenate(
        [np.zeros(3), tracking.neck[timestep], tracking.jaw[timestep], tracking.eyes[timestep]]
    ).reshape(-1, 3)
    turns = np.stack([_axis_angle_to_matrix(angle) for angle in angles])
    posed = shaped + model.posedirs @ (turns[1:] - np.eye(3)).ravel()
    chain: list[NDArray[np.float64]] = []
    for joint, parent in enumerate(model.parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        chain.append(chain[parent] @ local if parent >= 0 else local)
    transforms = np.stack(chain)
    transforms[:, :3, 3] -= np.einsum("jab,jb->ja", transforms[:, :3, :3], joints)
    blended = np.tensordot(model.weights, transforms[:, :3], axes=1)
    in_model = np.einsum("vab,vb->va", blended[..., :3], posed) + blended[..., 3]
    world = tracking.model_to_world()[timestep]
    in_world: NDArray[np.float64] = in_model @ world[:3, :3].T + world[:3, 3]
    return in_world


@functools.lru_cache(maxsize=64)
def _lit_head(
    participant: int, sequence: str, timestep: int, n_frames: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Vertices, normals and lit colours (5023, 3) of a person at a timestep, in the world."""
    vertices = pose_vertices(make_tracking(participant, sequence, n_frames), timestep)
    normals = vertex_normals(vertices, make_flame_model().faces)
    return vertices, normals, shade(make_look(participant).vertex_colors, normals)


def render_view(
    benchmark: Benchmark, participant: int, sequence: str, timestep: int, serial: str, recipe: Recipe
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """What any camera sees, hold-out ones included: (H, W, 3) uint8 RGB on white, and its (H, W, 3) alpha map."""
    poses, intrinsics = recipe.rig(benchmark)
    vertices, _, colors = _lit_head(participant, sequence, timestep, recipe.n_frames)
    faces = make_flame_model().faces
    if recipe.n_strands:
        turn = make_tracking(participant, sequence, recipe.n_frames).model_to_world()[timestep, :3, :3]
        hair = make_strands(participant, recipe.n_strands)
        vertices, faces, colors = hair.grown(vertices, faces, colors, turn)
    detail = _DETAIL[benchmark.name] if recipe.scale == 1 else 1.0
    return render(vertices, faces, colors, poses[serial], intrinsics[serial], *recipe.size(benchmark), detail)


def sample_surface(
    participant: int, sequence: str, timestep: int, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Points on the head's surface with lit colours in [0, 1] and normals, each (n_points, 3) float32."""
    vertices, normals, colors = _lit_head(participant, sequence, timestep, recipe.n_frames)
    faces = make_flame_model().faces
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    rng = np.random.default_rng([participant, timestep])
    chosen = rng.choice(len(faces), recipe.n_points, p=areas / areas.sum())
    weights = rng.dirichlet([1, 1, 1], recipe.n_points)[:, :, None]
    points, normal, color = (
        (values[faces[chosen]] * weights).sum(1).astype(np.float32) for values in (vertices, normals, colors)
    )
    return points, color.clip(0, 1), normal / np.linalg.norm(normal, axis=1, keepdims=True)


def write_pcd(
    path: Path,
    points: NDArray[np.float32],
    colors: NDArray[np.float32] | None,
    normals: NDArray[np.float32] | None,
    encoding: Encoding = "binary",
) -> None:
    """Writes a PCD file with packed colours, as the benchmark has them; colours and normals may be left out."""
    from pypcd4 import Encoding as PcdEncoding
    from pypcd4 import PointCloud as Pcd

    columns: list[Any] = list(points.T)
    names = ["x", "y", "z"]
    types: list[type[np.generic]] = [np.float32] * 3
    if normals is not None:
        columns += list(normals.T)
        names += ["normal_x", "normal_y", "normal_z"]
        types += [np.float32] * 3
    if colors is not None:
        red, green, blue = (colors * 255).round().astype(np.uint32).T
        packed = red << 16 | green << 8 | blue
        # As text, the float with these bits would lose some of them.
        as_integer = encoding == "ascii"
        columns.append(packed if as_integer else packed.view(np.float32))
        names.append("rgb")
        types.append(np.uint32 if as_integer else np.float32)
    cloud = Pcd.from_points(columns, names, types)
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud.save(path, PcdEncoding[encoding.upper()])


@dataclass(frozen=True)
class _Video:
    benchmark: VideoBenchmark
    participant: int
    sequence: str
    serial: str


def _write_videos(folder: Path, video: _Video, recipe: Recipe) -> None:
    """The images and the alpha maps of one camera."""
    benchmark = video.benchmark
    views = [
        render_view(benchmark, video.participant, video.sequence, t, video.serial, recipe)
        for t in range(recipe.n_frames)
    ]
    height, width = recipe.size(benchmark)
    for asset, frames in zip(("images", "alpha_maps"), zip(*views, strict=True), strict=True):
        place = {"participant": video.participant, "sequence": video.sequence, "serial": video.serial}
        path = folder / benchmark.folder / benchmark.asset(asset).path.format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        encode_video(frames, path, width, height, benchmark.fps)


def _write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1), "utf-8")


def _write_calibration(folder: Path, benchmark: VideoBenchmark, participant: int, recipe: Recipe) -> None:
    serials = (*benchmark.train_serials, *benchmark.hold_out_serials)
    poses, intrinsics = recipe.rig(benchmark)
    document = {
        "world_2_cam": {serial: poses[serial].tolist() for serial in poses if serial in serials},
        "intrinsics": {serial: intrinsics[serial].tolist() for serial in poses if serial in serials},
    }
    path = folder / benchmark.folder / benchmark.asset("calibration").path.format(participant=participant)
    _write_json(path, document)


def _metadata(benchmark: VideoBenchmark, recipe: Recipe) -> Any:
    """A `metadata.json` that gives every sequence of the benchmark the recipe's number of frames."""
    n = recipe.n_frames
    if benchmark.has_asset("pointclouds"):
        entries = {
            str(p): {"sequence_name": s, "timesteps": list(range(n))}
            for p, (s,) in benchmark.test_sequences.items()
        }
        return {"synthetic": True, "sequences": entries}
    participants = {}
    for p in benchmark.participants:
        participants[str(p)] = {"sequences_metadata": {s: {"n_frames": n} for s in benchmark.sequences(p)}}
    return {"synthetic": True, "participants_metadata": participants}


def _write_tracking(folder: Path, participant: int, sequence: str, recipe: Recipe) -> None:
    tracking = make_tracking(participant, sequence, recipe.n_frames)
    # In the types that the server's files have.
    arrays: dict[str, Any] = {
        name: value if value.dtype.kind == "i" else value.astype(np.float32)
        for name, value in vars(tracking).items()
        if isinstance(value, np.ndarray)
    }
    place = MONO.asset("flame2023_tracking_v2").path.format(participant=participant, sequence=sequence)
    path = folder / MONO.folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def make_benchmark(
    folder: Path,
    recipe: Recipe | None = None,
    participants: Mapping[str, Iterable[int]] | None = None,
    serials: Iterable[str] | None = None,
    sequences: Iterable[str] | None = None,
    pointclouds: Iterable[int] = (0,),
    images_per_participant: int = 2,
) -> Path:
    """Writes a made-up benchmark folder in the official layout, and returns it.

    `participants` are the wanted ones by benchmark (default: the first of each), `serials` the wanted training
    cameras of NVS and `sequences` the wanted training sequences (default: all). Test sequences get their tracking,
    hold-out cameras their calibration, as on the server. `pointclouds` are the timesteps that get one.
    """
    recipe = recipe or Recipe()
    wanted: Mapping[str, Iterable[int]] = participants or {b.name: b.participants[:1] for b in BENCHMARKS.values()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SYNTHETIC.txt").write_text(NOTICE, "utf-8")
    videos: list[_Video] = []
    for name, people in wanted.items():
        benchmark = get_benchmark(name)
        if isinstance(benchmark, MeshBenchmark):
            for participant in people:
                _write_images(folder, benchmark, participant, images_per_participant, recipe)
            continue
        assert isinstance(benchmark, VideoBenchmark)
        _write_json(folder / benchmark.folder / "metadata.json", _metadata(benchmark, recipe))
        for participant in people:
            _write_calibration(folder, benchmark, participant, recipe)
            train = benchmark.train_sequences[participant]
            chosen = [s for s in train if sequences is None or s in sequences]
            is_one_camera = len(benchmark.train_serials) == 1  # a choice of cameras is meant for NVS
            cameras = [s for s in benchmark.train_serials if serials is None or s in serials or is_one_camera]
            videos += [_Video(benchmark, participant, s, c) for s in chosen for c in cameras]
            if benchmark.has_asset("flame2023_tracking_v2"):
                for sequence in (*chosen, *benchmark.test_sequences[participant]):
                    _write_tracking(folder, participant, sequence, recipe)
            if benchmark.has_asset("pointclouds"):
                for sequence in chosen:
                    _write_pointclouds(folder, participant, sequence, pointclouds, recipe)
    for _ in in_threads(lambda video, _: _write_videos(folder, video, recipe), videos, cpu_count()):
        pass
    return folder


def _write_pointclouds(
    folder: Path, participant: int, sequence: str, timesteps: Iterable[int], recipe: Recipe
) -> None:
    for timestep in timesteps:
        place = {"participant": participant, "sequence": sequence, "timestep": timestep}
        path = folder / NVS.folder / NVS.asset("pointclouds").path.format(**place)
        write_pcd(path, *sample_surface(participant, sequence, timestep, recipe), encoding=recipe.encoding)


def _write_images(folder: Path, benchmark: MeshBenchmark, participant: int, n_images: int, recipe: Recipe) -> None:
    for key in benchmark.image_keys[participant][:n_images]:
        place = key.place
        path = folder / benchmark.folder / benchmark.asset("images").path.format(participant=participant, **place)
        path.parent.mkdir(parents=True, exist_ok=True)
        still = Recipe(n_frames=key.timestep + 1, scale=recipe.scale)
        rgb, _ = render_view(benchmark, participant, key.sequence, key.timestep, key.serial, still)
        path.write_bytes(encode_png(rgb))


def render_frames(
    benchmark: Benchmark, participant: int, sequence: str, serial: str, recipe: Recipe
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a camera one by one: what a perfect method would submit for a hold-out camera."""
    for timestep in range(recipe.n_frames):
        yield render_view(benchmark, participant, sequence, timestep, serial, recipe)[0]

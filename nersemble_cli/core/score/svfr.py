"""What meshes say of themselves, and how far they are from scans.

The single-view task has no public ground truth. Distances are from points to surfaces, exact, by libigl. Alignment
is by landmarks or shared vertices, then by closest points. The nearest protocol that is public is MonoNPHM's, by
the same first author; whether the server fits the scale, what it masks and how it averages is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import SVFR
from nersemble_cli.core.data.pointcloud import load_pointcloud
from nersemble_cli.core.errors import InvalidInputError, UsageError, missing_extra
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.members import UNREADABLE, FileMember, Member, open_zip, sort_members
from nersemble_cli.core.submission.names import by_canonical, canonical
from nersemble_cli.core.submission.renders import entries
from nersemble_cli.core.threads import NullProgress, Progress

Array = NDArray[np.float64]

UNKNOWN = (
    "Not public of the server's protocol: whether the scale is fitted, which parts of the head count, and whether"
    " points or images are averaged."
)
RECALL_MM = (1.0, 2.5, 5.0, 10.0)
_POINTS = 20_000
_STEPS = 30
_CONVERGED = 1e-7  # metres
_FAR = 3.0  # times the median distance, beyond which a point does not count in an alignment
_RIGID = 1e-4  # relative singular value, below which a direction is not held


@dataclass(frozen=True, eq=False)
class Mesh:
    """`vertices` (V, 3) float64 metres, `faces` (F, 3) int64."""

    vertices: Array
    faces: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Similarity:
    """x → scale · rotation · x + translation."""

    scale: float
    rotation: Array
    translation: Array

    def apply(self, points: Array) -> Array:
        moved: Array = self.scale * points @ self.rotation.T + self.translation
        return moved


def fit(source: Array, target: Array, with_scale: bool, weights: Array | None = None) -> Similarity:
    """The rigid or similarity transform that takes `source` to `target`, (N, 3) each, with the least squares.

    A reflection is never used. Source: Umeyama (1991).
    """
    w = np.ones(len(source)) if weights is None else weights
    w = w / w.sum()
    center_s, center_t = w @ source, w @ target
    a, b = source - center_s, target - center_t
    u, singular, vt = np.linalg.svd((b * w[:, None]).T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    variance = float(w @ np.square(a).sum(axis=1))
    scale = float(singular @ signs) / variance if with_scale and variance > 0 else 1.0
    return Similarity(scale, rotation, center_t - scale * rotation @ center_s)


def closest(points: Array, mesh: Mesh) -> tuple[Array, NDArray[np.int64], Array]:
    """Distance (N,), face (N,) and closest point (N, 3) on the mesh's surface of each of `points` (N, 3)."""
    try:
        import igl
    except ImportError as error:
        raise missing_extra("libigl", "score") from error
    squared, faces, found = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points), np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces)
    )
    return np.sqrt(np.maximum(squared, 0)), np.asarray(faces, np.int64), np.asarray(found, np.float64)


def align(mesh: Mesh, points: Array, start: Similarity, with_scale: bool) -> Similarity:
    """Refines `start`, which takes the mesh to `points` (N, 3).

    Each step has the least squares of the points' distances to the planes of their closest triangles (Chen and
    Medioni, 1991). Points that are far from the mesh do not count.
    """
    rng = np.random.default_rng(0)
    sample = points if len(points) <= _POINTS else points[rng.choice(len(points), _POINTS, replace=False)]
    current = start
    for _ in range(_STEPS):
        moved = Mesh(current.apply(mesh.vertices), mesh.faces)
        distance, faces, found = closest(sample, moved)
        keep = distance <= max(_FAR * float(np.median(distance)), 1e-9)
        step = _step(found[keep], sample[keep], _normals(moved, faces[keep]), with_scale)
        current = Similarity(
            step.scale * current.scale,
            step.rotation @ current.rotation,
            step.scale * step.rotation @ current.translation + step.translation,
        )
        if float(np.abs(step.apply(found) - found).max()) < _CONVERGED:
            break
    return current


def _normals(mesh: Mesh, faces: NDArray[np.int64]) -> Array:
    """The unit normals (N, 3) of `faces` (N,); zero for a triangle without area."""
    corners = mesh.vertices[mesh.faces[faces]]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit: Array = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-20)
    return unit


def _step(source: Array, target: Array, normals: Array, with_scale: bool) -> Similarity:
    """The small motion of `source` after which `target` is nearest to the planes through it; (N, 3) each.

    Along directions in which the planes do not hold the points, such as the turns of a sphere, nothing moves.
    """
    center = source.mean(axis=0)
    arms = source - center
    size = max(float(np.sqrt(np.square(arms).sum(axis=1).mean())), 1e-12)  # turns in units of length
    columns = [np.cross(arms, normals) / size, normals]
    if with_scale:
        columns.append((arms * normals).sum(axis=1, keepdims=True) / size)
    residuals = ((target - source) * normals).sum(axis=1)
    solution, *_ = np.linalg.lstsq(np.hstack(columns), residuals, rcond=_RIGID)
    turn, shift = solution[:3] / size, solution[3:6]
    scale = float(np.exp(solution[6] / size)) if with_scale else 1.0
    angle = float(np.linalg.norm(turn))
    x, y, z = turn / angle if angle else turn
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return Similarity(scale, rotation, center + shift - scale * rotation @ center)


def surface_distance(a: Mesh, b: Mesh, with_scale: bool) -> float:
    """The mean distance in metres of two meshes' surfaces, both ways, after aligning `a` to `b`.

    Meshes of the same triangles are aligned by their vertices, others by closest points from where they are.
    """
    same = a.faces.shape == b.faces.shape and bool((a.faces == b.faces).all())
    start = fit(a.vertices, b.vertices, with_scale) if same else Similarity(1.0, np.eye(3), np.zeros(3))
    moved = Mesh(align(a, b.vertices, start, with_scale).apply(a.vertices), a.faces)
    return float(closest(b.vertices, moved)[0].mean() + closest(moved.vertices, b)[0].mean()) / 2


@dataclass
class Spread:
    """How far the meshes of one person are from each other: means over pairs, in millimetres."""

    num_meshes: int
    rigid_mm: float | None = None
    similarity_mm: float | None = None
    largest_mm: float | None = None

    def as_json(self) -> dict[str, Any]:
        bound = None if self.rigid_mm is None else self.rigid_mm / 2
        return {
            "num_meshes": self.num_meshes,
            "rigid_mm": self.rigid_mm,
            "similarity_mm": self.similarity_mm,
            "largest_mm": self.largest_mm,
            "lower_bound_mm": bound,
        }


def spread(meshes: Mapping[str, Mesh], max_pairs: int = 30) -> Spread:
    """The spread of one person's meshes, over at most `max_pairs` pairs, evenly chosen."""
    found = Spread(len(meshes))
    pairs = list(combinations(sorted(meshes), 2))
    if not pairs:
        return found
    chosen = [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(max_pairs, len(pairs))).round().astype(int)]
    rigid, similar = (
        [1000 * surface_distance(meshes[a], meshes[b], with_scale) for a, b in chosen]
        for with_scale in (False, True)
    )
    found.rigid_mm, found.similarity_mm = float(np.mean(rigid)), float(np.mean(similar))
    found.largest_mm = float(np.max(rigid))
    return found


@dataclass
class Against:
    """How far a scan's points are from a mesh's surface, in millimetres."""

    num_points: int
    scale: float
    l2_mm: float
    l1_mm: float
    median_mm: float
    recall: dict[str, float] = field(default_factory=dict)
    normals: float | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(self.__dict__)


def against(
    mesh: Mesh,
    landmarks: Array,
    points: Array,
    true_landmarks: Array,
    with_scale: bool,
    normals: Array | None = None,
) -> Against:
    """Aligns a mesh by its (7, 3) landmarks to those of a scan, refines that, and measures from `points` (N, 3).

    All are in metres. `l2_mm` is the mean distance; `l1_mm` the mean of |dx| + |dy| + |dz|, which depends on the
    axes; `normals` the mean of |n · n'| if the scan has normals.
    """
    start = fit(landmarks, true_landmarks, with_scale)
    final = align(mesh, points, start, with_scale)
    moved = Mesh(final.apply(mesh.vertices), mesh.faces)
    distance, faces, found = closest(points, moved)
    millimetres = 1000 * distance
    result = Against(
        num_points=len(points),
        scale=final.scale,
        l2_mm=float(millimetres.mean()),
        l1_mm=float(1000 * np.abs(found - points).sum(axis=1).mean()),
        median_mm=float(np.median(millimetres)),
        recall={f"{limit:g}": float((millimetres <= limit).mean()) for limit in RECALL_MM},
    )
    if normals is not None and len(normals):
        result.normals = float(np.abs((_normals(moved, faces) * normals).sum(axis=1)).mean())
    return result


def load_landmarks(path: Path) -> dict[str, Array]:
    """Name of a cloud → its seven NoW landmarks, (7, 3) metres, from JSON `{"name": [[x, y, z], …]}`.

    Raises `InvalidInputError` for anything else, OSError.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        found = {str(name): np.asarray(values, np.float64) for name, values in document.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} is not JSON of landmarks.", _LANDMARKS_HINT) from error
    for name, values in found.items():
        if values.shape != (7, 3) or not np.isfinite(values).all():
            raise InvalidInputError(f"{path}: the landmarks of '{name}' are {values.shape}.", _LANDMARKS_HINT)
    return found


_LANDMARKS_HINT = 'Expected {"name of the cloud": [[x, y, z], … seven points in metres]}.'


def _load_mesh(member: Member) -> Mesh:
    """Raises `InvalidInputError` if it is not a mesh with vertices and triangles."""
    try:
        with member.open() as file:
            mesh = read_ply(file.read())
    except UNREADABLE as error:
        raise InvalidInputError(f"{member.path} cannot be read: {error}.") from error
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if not len(faces) or not np.isfinite(vertices).all() or faces.max() >= len(vertices) or faces.min() < 0:
        raise InvalidInputError(
            f"{member.path} is not a mesh that can be measured.", "nersemble validate says more."
        )
    return Mesh(vertices, faces)


def neutral_spreads(submission: Path, progress: Progress | None = None) -> dict[int, Spread]:
    """The spread of the neutral meshes of each participant in a submission's zip, or in a folder of meshes.

    Raises `UsageError` if there are none, `InvalidInputError` if one cannot be read.
    """
    progress = progress or NullProgress()
    known = by_canonical(SVFR.name)
    with ExitStack() as resources:
        people: dict[int, dict[str, Member]] = {}
        for member in _members(submission, resources):
            name = known.get(canonical(member.path)) or known.get(
                canonical("/".join(Path(member.path).parts[-3:]))
            )
            if name is not None and name.endswith("mesh_neutral.ply"):
                people.setdefault(int(name[:3]), {})[name] = member
        if not people:
            raise UsageError(
                f"There are no neutral meshes in {submission}.",
                "Expected 017/EXP-2-eyes_000_222200037/mesh_neutral.ply and so on, in a folder or a zip.",
            )
        progress.start("Comparing neutral meshes", len(people), "people")
        found = {}
        for participant, members in sorted(people.items()):
            found[participant] = spread({name: _load_mesh(member) for name, member in sorted(members.items())})
            progress.advance()
    return found


def _members(submission: Path, resources: ExitStack) -> list[Member]:
    if submission.is_dir():
        files = [path for path in entries(submission, 3) if path.is_file()]
        return [FileMember(str(path.relative_to(submission)), path) for path in files]
    if not submission.is_file():
        raise UsageError(f"{submission} does not exist.", "Give a submission's zip, or the folder of its meshes.")
    archive = resources.enter_context(open_zip(submission))
    if isinstance(archive, Finding):
        raise UsageError(f"{submission}: {archive.message}", archive.hint)
    members, flaws, _ = sort_members(archive)
    return [member for name, member in members.items() if name not in flaws]


def against_clouds(meshes: Path, clouds: Path, landmarks: Path) -> dict[str, dict[str, Against]]:
    """Name of a cloud → `rigid` and `similarity` distances of the mesh of that name.

    `clouds` holds NAME.pcd or NAME.ply, `meshes` NAME.ply with its landmarks NAME.npy, or NAME/mesh_posed.ply with
    NAME/landmarks_posed.npy; `landmarks` is read by `load_landmarks`. Raises `UsageError` if no name is in
    all three.
    """
    marks = load_landmarks(landmarks)
    for folder in (meshes, clouds):
        if not folder.is_dir():
            raise UsageError(
                f"{folder} is not a folder.", "Give the folder of the meshes, and that of the clouds."
            )
    found = {}
    for path in sorted(p for p in clouds.iterdir() if p.suffix.lower() in (".pcd", ".ply")):
        choices = ((f"{path.stem}.ply", f"{path.stem}.npy"),
                   (f"{path.stem}/mesh_posed.ply", f"{path.stem}/landmarks_posed.npy"))  # fmt: skip
        places = [(meshes / mesh, meshes / mark) for mesh, mark in choices if (meshes / mesh).is_file()]
        if not places or path.stem not in marks:
            continue
        mesh_path, marks_path = places[0]
        if not marks_path.is_file():
            raise UsageError(
                f"{mesh_path} has no landmarks.", f"Write its seven NoW landmarks, (7, 3), to {marks_path}"
            )
        own_marks = np.load(marks_path, allow_pickle=False).astype(np.float64)
        if own_marks.shape != (7, 3):
            raise InvalidInputError(f"{marks_path} is {own_marks.shape}, expected (7, 3).")
        mesh = _load_mesh(FileMember(str(mesh_path), mesh_path))
        points, normals = _load_cloud(path)
        found[path.stem] = {
            name: against(mesh, own_marks, points, marks[path.stem], with_scale, normals)
            for name, with_scale in (("rigid", False), ("similarity", True))
        }
    if not found:
        raise UsageError(
            f"No cloud in {clouds} has a mesh in {meshes} and landmarks in {landmarks}.",
            "A cloud NAME.pcd belongs to the mesh NAME.ply and to the landmarks of that name.",
        )
    return found


def _load_cloud(path: Path) -> tuple[Array, Array | None]:
    """(N, 3) points in metres, and their normals if there are any."""
    points: NDArray[Any]
    normals: NDArray[Any]
    if path.suffix.lower() == ".pcd":
        points, _, normals = load_pointcloud(path)
    else:
        cloud = read_ply(path.read_bytes())
        points, normals = np.asarray(cloud.vertices), np.zeros((0, 3))
    finite = np.isfinite(points).all(axis=1)
    kept = normals[finite].astype(np.float64) if len(normals) == len(points) else None
    return points[finite].astype(np.float64), kept

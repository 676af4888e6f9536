"""What is kept of each mesh of a submission to compare it with the others: about 17 kB, taken while it is read.

Nothing depends on where the mesh is, how it is turned, or its unit: the server aligns it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MeshSlot
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.surface import lengths, surface_distances

Array = NDArray[np.float64]

N_POINTS = 400  # vertices that are kept
# In distances of the outer eye corners.
MARGIN = 0.1  # of the box around the landmarks
NEAR = 0.008  # to the surface; what is nearer needs no better figure
N_FACES = 1000  # faces whose edges are measured


@dataclass(frozen=True, eq=False)
class LandmarkSignal:
    """`points` (7, 3) in the mesh's space; `distances` (7,) to the surface and `eye_distance` in its unit."""

    digest: bytes
    points: Array
    distances: Array
    eye_distance: float


@dataclass(frozen=True, eq=False)
class MeshSignal:
    """What is kept of one mesh.

    `points` (K, 3) are vertices at even steps through the file, around their `center` (3,) and divided by their
    root mean square distance `size` from it, both in the file's space. `edges` (3 E,) are lengths of the edges of
    evenly chosen faces, in the same unit. `flatness` is the smallest extent of the points by the largest, `reach`
    the distance of the farthest vertex from the middle by the median distance. `outwards` is how far faces look
    away from the middle: 1 all, 0 as many look inwards, -1 none.
    """

    slot: MeshSlot
    num_vertices: int
    num_faces: int
    vertices_digest: bytes
    faces_digest: bytes
    center: Array
    size: float
    points: NDArray[np.float32]
    edges: NDArray[np.float32]
    flatness: float
    reach: float
    outwards: float
    landmarks: LandmarkSignal | None = None

    @property
    def topology(self) -> tuple[int, bytes]:
        """What meshes have in common whose vertices correspond."""
        return self.num_vertices, self.faces_digest


def measure_mesh(slot: MeshSlot, mesh: Mesh, landmarks: Array | None = None) -> MeshSignal | None:
    """The signal of a mesh, with that of its landmarks (7, 3) if there are any.

    None if there is nothing to measure: no faces, vertices that are not finite, faces without vertices, or all
    vertices at one place.
    """
    vertices, faces = mesh.vertices, mesh.faces
    n = len(vertices)
    if not n or not len(faces) or faces.min() < 0 or faces.max() >= n or not np.isfinite(vertices).all():
        return None
    points = vertices[_evenly(n, N_POINTS)]
    center = points.mean(axis=0)
    points = points - center
    with np.errstate(all="ignore"):
        size = float(np.sqrt(np.mean(lengths(points) ** 2)))
    if not np.isfinite(size) or size <= np.finfo(np.float32).tiny:
        return None
    triangles = (vertices[faces[_evenly(len(faces), N_FACES)]] - center) / size
    sides = np.roll(triangles, -1, axis=1) - triangles
    normals = np.cross(sides[:, 0], sides[:, 1])
    middles = triangles.mean(axis=1)
    away = float(lengths(normals) @ lengths(middles))
    middle = np.median(points, axis=0)
    typical = float(np.median(lengths(points - middle)))
    farthest = float(lengths(vertices - (center + middle)).max())
    extents = np.sqrt(np.linalg.eigvalsh(points.T @ points).clip(0))
    return MeshSignal(
        slot,
        n,
        len(faces),
        _digest(vertices.astype("<f4")),
        _digest(faces.astype("<i4")),
        center,
        size,
        (points / size).astype(np.float32),
        lengths(sides).ravel().astype(np.float32),
        float(extents[0] / extents[-1]),
        farthest / typical if typical > 0 else np.inf,
        float((normals * middles).sum()) / away if away > 0 else 0.0,
        None if landmarks is None else measure_landmarks(landmarks, mesh),
    )


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most `most` indices of n, at even steps."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _digest(array: NDArray[np.generic]) -> bytes:
    return hashlib.sha1(np.ascontiguousarray(array).data, usedforsecurity=False).digest()


def measure_landmarks(landmarks: Array, mesh: Mesh) -> LandmarkSignal | None:
    """The signal of finite NoW landmarks (7, 3) on a sound mesh; None if both eyes are at one place."""
    eye_distance = float(np.linalg.norm(landmarks[3] - landmarks[0]))
    if not np.isfinite(landmarks).all() or not eye_distance > 0:
        return None
    return LandmarkSignal(
        _digest(landmarks.astype("<f4")),
        landmarks,
        _distances(landmarks, mesh, eye_distance),
        eye_distance,
    )


def _distances(landmarks: Array, mesh: Mesh, eye_distance: float) -> Array:
    """The distances to the surface; to the faces around, in a third of the time, if those are near enough."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    margin = MARGIN * eye_distance
    around = ((mesh.vertices > low - margin) & (mesh.vertices < high + margin)).all(axis=1)
    faces = mesh.faces[around[mesh.faces[:, 0]]]
    if len(faces):
        found = surface_distances(landmarks, mesh.vertices, faces)
        if found.max() <= NEAR * eye_distance:
            return found
    return surface_distances(landmarks, mesh.vertices, mesh.faces)

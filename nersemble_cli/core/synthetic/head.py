"""A made-up head with the topology of FLAME: as many vertices and triangles, joints, coefficients and landmarks.

Model space as FLAME has it: metres, y up, the face towards +z, the person's left at +x.
"""

from __future__ import annotations

import functools
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.flame.model import (
    DYNAMIC_EMBEDDING,
    N_EXPRESSION,
    N_SHAPE,
    STATIC_EMBEDDING,
    Embedding,
    FlameModel,
)

# A skull of rings around a crown, open at the bottom, and two closed eyeballs have just FLAME's 5023 vertices and
# 9976 triangles.
_RINGS, _SEGMENTS = 78, 60
_EYE_RINGS, _EYE_SEGMENTS = 13, 13
_N_SKULL = _RINGS * _SEGMENTS + 1
_N_EYE = _EYE_RINGS * _EYE_SEGMENTS + 2
_TOP, _CHIN, _BOTTOM = 0.125, -0.085, -0.165
_EYE = (0.033, 0.024, 0.071)
_EYE_RADIUS = 0.014
_PARENTS = (-1, 0, 1, 1, 1)
# Where landmarks inside a face lie, seen from the front, x to the person's left. The other halves are mirrored.
_BROWS = [(-0.055, 0.047), (-0.047, 0.052), (-0.038, 0.054), (-0.028, 0.053), (-0.019, 0.050)]
_RIGHT_EYE = [(-0.046, 0.024), (-0.038, 0.029), (-0.028, 0.029), (-0.020, 0.023), (-0.028, 0.018), (-0.038, 0.018)]
_MOUTH = [(-0.026, -0.046), (-0.016, -0.040), (-0.006, -0.038), (0.0, -0.039)]


def _mirrored(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(-x, y) for x, y in points]


def _face_landmarks() -> list[tuple[float, float]]:
    """The 51 places in the order of the usual 68 landmarks without the contour."""
    nose = [(0.0, 0.028), (0.0, 0.018), (0.0, 0.008), (0.0, -0.002)]
    below = [(-0.014, -0.016), (-0.007, -0.018), (0.0, -0.019), (0.007, -0.018), (0.014, -0.016)]
    # The left eye begins at its inner corner: the right one's order mirrored and turned around.
    left_eye = _mirrored([_RIGHT_EYE[i] for i in (3, 2, 1, 0, 5, 4)])
    upper = _MOUTH + _mirrored(_MOUTH[2::-1])
    lower = [(0.016, -0.054), (0.006, -0.058), (0.0, -0.059), (-0.006, -0.058), (-0.016, -0.054)]
    inside = [(-0.022, -0.046), (-0.008, -0.044), (0.0, -0.044), (0.008, -0.044)]
    inside += [(0.022, -0.046), (0.008, -0.049), (0.0, -0.049), (-0.008, -0.049)]
    return [*_BROWS, *_mirrored(_BROWS[::-1]), *nose, *below, *_RIGHT_EYE, *left_eye, *upper, *lower, *inside]


def _bump(
    points: NDArray[np.float64], center: tuple[float, float], width: tuple[float, float]
) -> NDArray[np.float64]:
    """(V,) a smooth hill of height 1 on the front, at (x, y) of this width, metres."""
    squares = ((points[:, :2] - center) / width) ** 2
    front = 1 / (1 + np.exp(-points[:, 2] / 0.01))
    hill: NDArray[np.float64] = np.exp(-squares.sum(1)) * front
    return hill


def _grid_faces(rings: int, segments: int, first: int) -> list[tuple[int, int, int]]:
    """Triangles between rings of vertices, outwards if rings go down and segments turn to the left."""
    faces = []
    for ring in range(rings - 1):
        for segment in range(segments):
            a = first + ring * segments + segment
            b = first + ring * segments + (segment + 1) % segments
            faces += [(a, a + segments, b), (b, a + segments, b + segments)]
    return faces


def _skull() -> tuple[NDArray[np.float64], list[tuple[int, int, int]]]:
    # Rings are dense where the face is.
    t = np.linspace(0, 1, _RINGS + 1)[1:]
    y = _TOP + (_BOTTOM - _TOP) * (t + 0.035 * np.sin(2 * np.pi * t) - 0.012 * np.sin(np.pi * t))
    center = (_TOP + _CHIN) / 2
    height = (_TOP - _CHIN) / 2
    ball = np.sqrt(np.clip(1 - ((y - center) / height) ** 2, 0, 1)) ** 0.85
    neck = np.clip((-0.03 - y) / 0.06, 0, 1)
    shoulders = np.clip((-0.125 - y) / 0.04, 0, 1) ** 2
    angle = 2 * np.pi * np.arange(_SEGMENTS) / _SEGMENTS
    wide = np.maximum(0.078 * ball, neck * 0.052) + 0.055 * shoulders
    # The face is flatter than the back of the head, and the neck is below the back.
    deep = np.maximum(0.098 * ball, neck * 0.050) + 0.012 * shoulders
    shift = -0.022 * neck
    x = wide[:, None] * np.sin(angle)
    z = deep[:, None] * np.cos(angle) + shift[:, None]
    z = np.where(z > 0.07, 0.07 + 0.6 * (z - 0.07), z)
    rings = np.stack([x, np.broadcast_to(y[:, None], x.shape), z], axis=-1).reshape(-1, 3)
    points = np.concatenate([[[0.0, _TOP, 0.0]], rings])
    forward = (
        0.026 * _bump(points, (0, -0.004), (0.010, 0.018))
        + 0.010 * _bump(points, (0, 0.018), (0.008, 0.022))
        + 0.005 * _bump(points, (0, 0.050), (0.045, 0.010))
        + 0.007 * _bump(points, (0, -0.041), (0.022, 0.006))
        + 0.007 * _bump(points, (0, -0.053), (0.020, 0.006))
        + 0.010 * _bump(points, (0, -0.078), (0.022, 0.014))
        - 0.004 * _bump(points, (0, -0.047), (0.024, 0.002))
    )
    for side in (-1, 1):
        forward -= 0.010 * _bump(points, (side * _EYE[0], _EYE[1]), (0.014, 0.009))
        forward += 0.005 * _bump(points, (side * 0.042, -0.006), (0.018, 0.016))
    points[:, 2] += forward
    # Ears.
    ear = np.exp(-(((points[:, 1] - 0.012) / 0.024) ** 2) - ((points[:, 2] + 0.008) / 0.012) ** 2)
    points[:, 0] += np.sign(points[:, 0]) * 0.016 * ear * (np.abs(points[:, 0]) > 0.05)
    crown = [(0, 1 + s, 1 + (s + 1) % _SEGMENTS) for s in range(_SEGMENTS)]
    return points, crown + _grid_faces(_RINGS, _SEGMENTS, 1)


def _eyeball(side: int, first: int) -> tuple[NDArray[np.float64], list[tuple[int, int, int]]]:
    """A ball whose pole, and so the iris, looks forward; `side` is 1 for the person's left eye."""
    polar = np.pi * np.arange(1, _EYE_RINGS + 1) / (_EYE_RINGS + 1)
    # The rings are dense where the iris is.
    polar = np.pi * (polar / np.pi) ** 1.5
    around = 2 * np.pi * np.arange(_EYE_SEGMENTS) / _EYE_SEGMENTS
    rings = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.broadcast_to(np.cos(polar)[:, None], (_EYE_RINGS, _EYE_SEGMENTS)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    points = np.concatenate([[[0, 0, 1.0]], rings, [[0, 0, -1.0]]]) * _EYE_RADIUS
    points += [side * _EYE[0], _EYE[1], _EYE[2]]
    last, ring = first + _N_EYE - 1, first + _N_EYE - 1 - _EYE_SEGMENTS
    faces = []
    for s in range(_EYE_SEGMENTS):
        following = (s + 1) % _EYE_SEGMENTS
        faces += [(first, first + 1 + s, first + 1 + following), (last, ring + following, ring + s)]
    return points, faces + _grid_faces(_EYE_RINGS, _EYE_SEGMENTS, first + 1)


def _waves(points: NDArray[np.float64], n: int, seed: int) -> NDArray[np.float64]:
    """(V, 3, n) smooth deformations of size 1."""
    rng = np.random.default_rng(seed)
    frequency = rng.normal(scale=18, size=(3, n))
    phase = rng.uniform(0, 2 * np.pi, size=n)
    direction = rng.normal(size=(3, n))
    unit = direction / np.linalg.norm(direction, axis=0)
    waves: NDArray[np.float64] = np.sin(points @ frequency + phase)[:, None] * unit
    return waves


def _mouth_open(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(V,) how much each vertex follows the jaw."""
    below = 1 / (1 + np.exp((points[:, 1] + 0.047) / 0.004))
    above_neck = 1 / (1 + np.exp(-(points[:, 1] + 0.105) / 0.006))
    front = 1 / (1 + np.exp(-(points[:, 2] - 0.01) / 0.015))
    opened: NDArray[np.float64] = below * above_neck * front
    return opened


@functools.lru_cache(maxsize=1)
def make_flame_model() -> FlameModel:
    """The made-up model; the same every time."""
    skull, faces = _skull()
    left, left_faces = _eyeball(1, _N_SKULL)
    right, right_faces = _eyeball(-1, _N_SKULL + _N_EYE)
    points = np.concatenate([skull, left, right])
    triangles = np.array(faces + left_faces + right_faces, dtype=np.int64)
    n = len(points)
    on_eye = np.arange(n) >= _N_SKULL

    falling = np.exp(-np.arange(N_SHAPE + N_EXPRESSION) / 40.0)
    directions = _waves(points, N_SHAPE + N_EXPRESSION, seed=1) * falling * 0.0008
    expressions = directions[..., N_SHAPE:]
    face = np.exp(-((points[:, :2] - [0, -0.01]) ** 2).sum(1) / 0.05**2) * (points[:, 2] > 0) * ~on_eye
    expressions *= face[:, None, None]
    smile = np.zeros((n, 3))
    brows = np.zeros((n, 3))
    for side in (-1, 1):
        smile += 0.004 * _bump(points, (side * 0.026, -0.045), (0.012, 0.010))[:, None] * [side, 1.0, -0.3]
        brows += 0.004 * _bump(points, (side * 0.035, 0.050), (0.022, 0.008))[:, None] * [0, 1.0, 0]
    expressions[..., 0] = smile * ~on_eye[:, None]
    expressions[..., 1] = brows * ~on_eye[:, None]

    weights = np.zeros((n, 5))
    turn = np.clip((points[:, 1] + 0.15) / 0.06, 0, 1)
    jaw = _mouth_open(points)
    weights[:, 2] = jaw * turn
    weights[:, 1] = turn - weights[:, 2]
    weights[:, 0] = 1 - turn
    weights[on_eye] = 0
    weights[_N_SKULL : _N_SKULL + _N_EYE, 3] = 1
    weights[_N_SKULL + _N_EYE :, 4] = 1

    regressor = np.zeros((5, n))
    height = np.abs(points[:, 1, None] - [-0.16, -0.10])
    regressor[:2] = (height < 0.008).T * ~on_eye
    ears = np.exp(-((np.abs(points) - [0.075, 0.01, 0.005]) ** 2).sum(1) / 0.01**2)
    regressor[2] = ears * ~on_eye
    regressor[3, _N_SKULL : _N_SKULL + _N_EYE] = 1
    regressor[4, _N_SKULL + _N_EYE :] = 1
    regressor /= regressor.sum(1, keepdims=True)

    model = FlameModel(
        v_template=points,
        shapedirs=directions,
        posedirs=_waves(points, 36, seed=2) * 0.0004 * face[:, None, None],
        joint_regressor=regressor,
        weights=weights,
        parents=_PARENTS,
        faces=triangles,
    )
    return _with_landmarks(model)


def _with_landmarks(model: FlameModel) -> FlameModel:
    """The model with its 51 landmarks, and 17 on the contour for each of 79 turns of the head."""
    centers = model.v_template[model.faces].mean(1)
    skull = np.flatnonzero((model.faces < _N_SKULL).all(1) & (centers[:, 2] > 0))
    static = [skull[np.argmin(((centers[skull, :2] - place) ** 2).sum(1))] for place in _face_landmarks()]

    # The contour is where the skin turns away: at the sides, moving forward on the side that is turned away.
    sides = np.linspace(-1, 1, 17)
    dynamic = np.empty((79, 17), np.int64)
    around = np.arctan2(centers[:, 0], centers[:, 2])
    lower = np.flatnonzero((model.faces < _N_SKULL).all(1) & (centers[:, 1] > _CHIN) & (centers[:, 1] < 0.04))
    for bin_, yaw in enumerate([*range(40), *range(-1, -40, -1)]):
        angle = sides * np.radians(85) - np.radians(0.5 * yaw)
        height = 0.02 - 0.1 * (1 - np.abs(sides) ** 1.7)
        for i in range(17):
            distance = ((around[lower] - angle[i]) * 0.07) ** 2 + (centers[lower, 1] - height[i]) ** 2
            dynamic[bin_, i] = lower[np.argmin(distance)]

    def at_center(faces: Any) -> Embedding:
        index = np.asarray(faces, np.int64)
        return Embedding(index, np.full((*index.shape, 3), 1 / 3))

    return replace(model, static=at_center(static), dynamic=at_center(dynamic))


@dataclass(frozen=True, eq=False)
class Look:
    """The colours of a person: `vertex_colors` (V, 3) in [0, 1]."""

    vertex_colors: NDArray[np.float64]


def make_look(seed: int) -> Look:
    """A person's colours: skin, hair, brows, lips, irises, and a shirt that is blue on the person's left and red
    on the right, so that a mirrored picture shows."""
    points = make_flame_model().v_template
    rng = np.random.default_rng(seed)
    skin = np.array([0.93, 0.74, 0.62]) * rng.uniform(0.6, 1.0) + rng.uniform(-0.03, 0.03, 3)
    hair = np.array([[0.16, 0.11, 0.08], [0.45, 0.28, 0.13], [0.08, 0.07, 0.07], [0.72, 0.58, 0.34]])[seed % 4]
    iris = np.array([[0.25, 0.4, 0.6], [0.35, 0.22, 0.1], [0.3, 0.45, 0.3]])[seed % 3]
    colors = np.broadcast_to(skin, points.shape).copy()

    def paint(where: NDArray[np.bool_], color: Any) -> None:
        colors[where] = color

    x, y, z = points.T
    on_skull = np.arange(len(points)) < _N_SKULL
    hairline = 0.075 + 0.02 * np.cos(x * 40)
    paint(on_skull & ((y > hairline) | ((z < -0.015) & (y > -0.06) & (np.abs(x) < 0.079))), hair)
    for side in (-1, 1):
        brow = (np.abs(y - 0.049 + 12 * (np.abs(x) - 0.038) ** 2) < 0.0045) & (np.abs(x - side * 0.037) < 0.020)
        paint(on_skull & brow & (z > 0), 0.8 * hair)
    lips = ((x / 0.027) ** 2 + ((y + 0.047) / 0.011) ** 2 < 1) & (z > 0)
    paint(on_skull & lips, skin * [0.85, 0.45, 0.45])
    paint(on_skull & lips & (np.abs(y + 0.047) < 0.0022), skin * 0.25)
    paint(on_skull & (y < -0.122) & (x > 0), [0.15, 0.35, 0.85])
    paint(on_skull & (y < -0.122) & (x <= 0), [0.85, 0.15, 0.2])
    for first in (_N_SKULL, _N_SKULL + _N_EYE):
        eye = slice(first, first + _N_EYE)
        depth = (z[eye] - _EYE[2]) / _EYE_RADIUS
        colors[eye] = [0.95, 0.95, 0.95]
        colors[eye][depth > 0.86] = iris
        colors[eye][depth > 0.97] = 0.05
    return Look(colors.clip(0, 1))


@dataclass(frozen=True, eq=False)
class Strands:
    """Thin hair: where each strand is rooted (S,), an index of a vertex, and the corners of its two triangles
    beside that vertex, (S, 4, 3) metres in model space."""

    roots: NDArray[np.int64]
    corners: NDArray[np.float64]

    def grown(
        self, vertices: NDArray[Any], faces: NDArray[Any], colors: NDArray[Any], turn: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The mesh with its hair; `turn` (3, 3) is how the head is turned in the world."""
        n = len(self.roots)
        tips = vertices[self.roots][:, None] + self.corners @ turn.T
        first = len(vertices) + 4 * np.arange(n)[:, None]
        strips = np.concatenate([np.add(first, corners) for corners in ([0, 1, 2], [1, 3, 2])])
        sides = np.concatenate([strips, strips[:, ::-1]])  # hair is seen from both sides
        return (
            np.concatenate([vertices, tips.reshape(-1, 3)]),
            np.concatenate([faces, sides]),
            np.concatenate([colors, np.repeat(colors[self.roots], 4, axis=0)]),
        )


def make_strands(seed: int, n: int) -> Strands:
    """A person's loose hair, on the top and the sides of the head."""
    points = make_flame_model().v_template
    rng = np.random.default_rng([seed, n])
    _, y, z = points.T
    scalp = np.flatnonzero((np.arange(len(points)) < _N_SKULL) & (y > 0.0) & ((y > 0.08) | (z < -0.01)))
    roots = rng.choice(scalp, n)
    outward = points[roots] / np.linalg.norm(points[roots], axis=1, keepdims=True)
    along = outward + rng.normal(scale=0.6, size=(n, 3)) - [0, 0.5, 0]
    along *= rng.uniform(0.015, 0.05, (n, 1)) / np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, rng.normal(size=(n, 3)))
    across *= 0.0012 / np.linalg.norm(across, axis=1, keepdims=True)
    corners = np.stack([-across, across, along - 0.5 * across, along + 0.5 * across], axis=1)
    return Strands(roots, corners)


class _Chumpy:
    """Is pickled under the name of `chumpy.ch.Ch`, as FLAME's files have it, without chumpy.

    The state is what chumpy's own arrays are pickled with, and needs to load them.
    """

    def __init__(self, x: NDArray[Any]) -> None:
        self._dirty_vars = {"x"}
        self._itr = None
        self._depends_on_deps: dict[str, Any] = {}
        self._make_dense = False
        self._make_sparse = False
        self.x = x


class _Sparse:
    """Is pickled under the name of `scipy.sparse.csc.csc_matrix`."""

    def __init__(self, dense: NDArray[Any]) -> None:
        columns, rows = np.nonzero(dense.T)
        self.data = dense[rows, columns]
        self.indices = rows.astype(np.int32)
        self.indptr = np.searchsorted(columns, np.arange(dense.shape[1] + 1)).astype(np.int32)
        self._shape = dense.shape
        self.maxprint = 50


_PICKLED_AS = {_Chumpy: b"cchumpy.ch\nCh\n", _Sparse: b"cscipy.sparse.csc\ncsc_matrix\n"}


def _pickled(content: object) -> bytes:
    """A pickle as Python 2 would have made it, in which our stand-ins have the names of what they stand for.

    NumPy's functions have the names by which NumPy 1 and 2 find them.
    """
    data = pickle.dumps(content, protocol=2)
    for cls, name in _PICKLED_AS.items():
        data = data.replace(f"c{cls.__module__}\n{cls.__qualname__}\n".encode(), name)
    return data.replace(b"cnumpy._core.", b"cnumpy.core.")


def write_flame_model(folder: Path) -> Path:
    """Writes the made-up model and its landmark embeddings under FLAME's file names, pickled as FLAME's are.

    Returns the path of `flame2023.pkl`. The model is stored in float32, which FLAME's own is not, to be small.
    """
    model = make_flame_model()
    assert model.static is not None and model.dynamic is not None
    parents = np.array([model.parents, range(5)], np.int64).astype(np.uint32)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "flame2023.pkl"
    content = {
        "v_template": _Chumpy(model.v_template.astype(np.float32)),
        "shapedirs": _Chumpy(model.shapedirs.astype(np.float32)),
        "posedirs": model.posedirs.astype(np.float32),
        "J_regressor": _Sparse(model.joint_regressor),
        "weights": _Chumpy(model.weights.astype(np.float32)),
        "kintree_table": parents,
        "f": model.faces.astype(np.uint32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    path.write_bytes(_pickled(content))
    static = {"lmk_face_idx": model.static.faces, "lmk_b_coords": model.static.barycentric}
    (folder / STATIC_EMBEDDING).write_bytes(_pickled(static))
    dynamic = {"lmk_face_idx": model.dynamic.faces, "lmk_b_coords": model.dynamic.barycentric}
    with (folder / DYNAMIC_EMBEDDING).open("wb") as file:  # np.save would pickle as only NumPy 2 can read
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(_pickled(np.array(dynamic, dtype=object)))
    return path

"""How often the comparison of SVFR meshes with each other is right: honest submissions and planted mistakes.

    python perf/compare_meshes.py [--trials 5] [--seed 0] [--only TEXT]

Made-up submissions of six images of each person, posed and neutral, by four methods: FLAME's topology;
another topology that all meshes share, with landmarks; surfaces whose vertices differ from mesh to mesh, as with
marching cubes; and coarse ones of that kind. Each is worsened in honest ways, in which nothing must be found, and
then each mistake is planted, in one random file or in all. Prints two tables in Markdown.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import SVFR, MeshSlot
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.compare.mesh_signals import MeshSignal, measure_mesh
from nersemble_cli.core.submission.compare.meshes import compare_meshes
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.submission.mesh_checks import check_geometry, check_landmarks
from nersemble_cli.core.synthetic.head import make_flame_model

Array = NDArray[np.float64]
NOW = [19, 22, 25, 28, 16, 31, 37]
SLOTS = {slot.path: slot for slot in SVFR.slots}
N_IMAGES = 6  # of each person's 20, to be done in time


@dataclass(frozen=True)
class Face:
    """A mesh as a method writes it. `landmarks` (7, 3), None for FLAME."""

    vertices: Array
    faces: NDArray[np.int64]
    landmarks: Array | None = None


Faces = dict[str, Face]  # by the path of the mesh
Change = Callable[[Face, np.random.Generator], Face]


# Made-up people


@dataclass(frozen=True)
class Habits:
    """What a method does. Sizes are standard deviations of coefficients; 1 is the spread of people."""

    topology: str = "flame"  # flame, mask, cubes, coarse
    identity: float = 1.0
    jitter: float = 0.12  # of the shape, from image to image of one person
    expression: float = 1.0
    jaw: float = 0.35  # radians at most
    neck: float = 0.3
    canonical: bool = False  # all meshes at one place, else where the camera saw them
    unit: float = 1.0
    one_neutral: bool = False  # for all images of a person


METHODS = {
    "FLAME": Habits(),
    "shared": Habits("mask", canonical=True),
    "cubes": Habits("cubes", neck=0.0),
    "coarse": Habits("coarse", neck=0.0, canonical=True),
}


def turn(axis: int, angle: float) -> Array:
    rotation = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    rotation[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return rotation


def any_rotation(rng: np.random.Generator, most: float) -> Array:
    return (
        turn(0, rng.uniform(-most, most)) @ turn(1, rng.uniform(-most, most)) @ turn(2, rng.uniform(-most, most))
    )


def bend(vertices: Array, jaw: float, neck: Array) -> Array:
    """Turns the jaw and the head, as linear blend skinning does."""
    model = make_flame_model()
    joints = model.joint_regressor @ vertices
    opened = (vertices - joints[2]) @ turn(0, jaw).T + joints[2]
    weight = model.weights[:, 2:3]
    vertices = (1 - weight) * vertices + weight * opened
    fixed = model.weights[:, :1]
    return fixed * vertices + (1 - fixed) * ((vertices - joints[1]) @ neck.T + joints[1])


def now_landmarks(vertices: Array) -> Array:
    model = make_flame_model()
    assert model.static is not None
    faces, weights = model.static.faces[NOW], model.static.barycentric[NOW]
    return np.einsum("lc,lcx->lx", weights, vertices[model.faces[faces]])


@cache
def front() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vertices of a face mask, and its triangles."""
    model = make_flame_model()
    x, y, z = model.v_template.T
    kept = (z > -0.01) & (y > -0.12) & (y < 0.1) & (np.arange(len(x)) < 4681)
    faces = model.faces[kept[model.faces].all(axis=1)]
    kept[:] = False
    kept[faces] = True
    return np.flatnonzero(kept), (np.cumsum(kept) - 1)[faces]


def clustered(vertices: Array, faces: NDArray[np.int64], cell: float, rng: np.random.Generator) -> Face:
    """The surface with one vertex per cell of a grid that lies differently each time."""
    for _ in range(1 if cell < 0.006 else 0):
        n = len(vertices)
        middles = [(vertices[faces[:, i]] + vertices[faces[:, (i + 1) % 3]]) / 2 for i in range(3)]
        vertices = np.concatenate([vertices, *middles])
        a, b, c = faces.T
        ab, bc, ca = (n + i * len(faces) + np.arange(len(faces)) for i in range(3))
        parts = ([a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca])
        faces = np.concatenate([np.stack(part, axis=1) for part in parts])
    keys = np.floor((vertices @ any_rotation(rng, 1.0).T + rng.uniform(0, cell, 3)) / cell).astype(np.int64)
    keys -= keys.min(axis=0)
    code = (keys[:, 0] * 4096 + keys[:, 1]) * 4096 + keys[:, 2]
    _, index = np.unique(code, return_inverse=True)
    count = np.bincount(index)
    merged = np.stack([np.bincount(index, vertices[:, i]) / count for i in range(3)], axis=1)
    triangles = index[faces]
    good = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    return Face(merged, triangles[good])


def submission(habits: Habits, seed: int) -> Faces:
    model = make_flame_model()
    directions = model.shapedirs.reshape(-1, 400)
    found: Faces = {}
    for participant, keys in SVFR.image_keys.items():
        rng = np.random.default_rng([seed, participant])
        n = min(len(keys), N_IMAGES)
        person = habits.identity * rng.normal(scale=0.9, size=300)
        shapes = person + habits.jitter * rng.normal(size=(1 if habits.one_neutral else n, 300))
        strength = habits.expression * rng.choice([0.3, 1.0, 1.6], size=n)
        expressions = strength[:, None] * rng.normal(scale=0.8, size=(n, 100))
        neutrals = model.v_template + np.broadcast_to(shapes @ directions[:, :300].T, (n, 15069)).reshape(n, -1, 3)
        faces = neutrals + (expressions @ directions[:, 300:].T).reshape(n, -1, 3)
        for i, key in enumerate(keys[:n]):
            neck = np.eye(3) if habits.canonical else any_rotation(rng, habits.neck)
            posed = bend(faces[i], habits.jaw * strength[i] * rng.uniform(0, 0.6), neck)
            if not habits.canonical:
                posed = posed @ any_rotation(rng, 1.0).T + rng.normal(scale=0.3, size=3)
            for kind, vertices in (("posed", posed), ("neutral", neutrals[i])):
                path = MeshSlot(participant, key, kind).path
                found[path] = as_written(vertices, habits, rng)
    return found


def as_written(vertices: Array, habits: Habits, rng: np.random.Generator) -> Face:
    landmarks = now_landmarks(vertices)
    faces = make_flame_model().faces
    if habits.topology == "flame":
        face = Face(vertices, faces)
    elif habits.topology == "mask":
        chosen, triangles = front()
        face = Face(vertices[chosen], triangles, landmarks)
    else:
        cell = 0.0045 if habits.topology == "cubes" else 0.012
        off = 0.001 if habits.topology == "cubes" else 0.002
        face = clustered(vertices, faces, cell, rng)
        face = replace(face, landmarks=landmarks + rng.normal(scale=off, size=(7, 3)))
    if habits.unit == 1:
        return face
    return Face(face.vertices * habits.unit, face.faces, None if landmarks is None else _scaled(face, habits.unit))


def _scaled(face: Face, unit: float) -> Array | None:
    return None if face.landmarks is None else face.landmarks * unit


# Measuring


def judge(path: str, face: Face) -> tuple[MeshSignal | None, list[Finding]]:
    """What `validate` makes of one mesh: its signal, and what is found in it alone."""
    slot = SLOTS[path]
    mesh = Mesh(face.vertices.astype(np.float32).astype(np.float64), face.faces)
    landmarks = None if face.landmarks is None else face.landmarks.astype(np.float32).astype(np.float64)
    findings = check_geometry(path, mesh, landmarks is not None)
    if landmarks is not None:
        findings += check_landmarks(slot.landmarks_path, landmarks, mesh)
    return measure_mesh(slot, mesh, landmarks), findings


@dataclass
class Judged:
    faces: Faces
    signals: dict[str, MeshSignal | None]
    alone: dict[str, list[Finding]]

    def with_changes(self, changed: Faces) -> Judged:
        judged = {path: judge(path, face) for path, face in changed.items()}
        signals = {**self.signals, **{path: signal for path, (signal, _) in judged.items()}}
        alone = {**self.alone, **{path: findings for path, (_, findings) in judged.items()}}
        return Judged({**self.faces, **changed}, signals, alone)

    def findings(self) -> list[Finding]:
        found = compare_meshes([signal for signal in self.signals.values() if signal is not None]).findings
        return [*found, *(finding for findings in self.alone.values() for finding in findings)]


def judge_all(faces: Faces) -> Judged:
    return Judged({}, {}, {}).with_changes(faces)


# Honest


def noise(size: float) -> Change:
    def change(face: Face, rng: np.random.Generator) -> Face:
        return replace(face, vertices=face.vertices + rng.normal(scale=size, size=face.vertices.shape))

    return change


def smooth(face: Face, rng: np.random.Generator) -> Face:
    vertices = face.vertices
    i, j = face.faces.ravel(), np.roll(face.faces, -1, axis=1).ravel()
    count = np.maximum(np.bincount(i, minlength=len(vertices)), 1)
    for _ in range(4):
        mean = np.stack([np.bincount(i, vertices[j, k], len(vertices)) for k in range(3)], axis=1) / count[:, None]
        vertices = np.where(np.bincount(i, minlength=len(vertices))[:, None] > 0, mean, vertices)
    return replace(face, vertices=vertices)


def holes(face: Face, rng: np.random.Generator) -> Face:
    """Without the neck and without the back of the head."""
    marks = face.landmarks
    assert marks is not None
    right, down = marks[3] - marks[0], marks[5:].mean(axis=0) - marks[:4].mean(axis=0)
    back = np.cross(right, down)
    axis = back / np.linalg.norm(back) + rng.uniform(0, 1) * down / np.linalg.norm(down)
    along = (face.vertices[face.faces].mean(axis=1) - marks[5:].mean(axis=0)) @ axis / np.linalg.norm(right)
    return _compact(replace(face, faces=face.faces[along < rng.uniform(0.6, 1.5)]))


def _compact(face: Face) -> Face:
    used = np.zeros(len(face.vertices), bool)
    used[face.faces] = True
    return replace(face, vertices=face.vertices[used], faces=(np.cumsum(used) - 1)[face.faces])


def unseen_side(face: Face, rng: np.random.Generator) -> Face:
    """A surface from one depth map: a cheek lacks, and a landmark there is put to its edge."""
    assert face.landmarks is not None
    right = face.landmarks[3] - face.landmarks[0]
    along = (face.vertices[face.faces].mean(axis=1) - face.landmarks[:4].mean(axis=0)) @ right / (right @ right)
    seen = _compact(replace(face, faces=face.faces[along < rng.uniform(0.7, 1.2)]))
    nearest = [np.linalg.norm(seen.vertices - point, axis=1).argmin() for point in face.landmarks]
    return replace(seen, landmarks=seen.vertices[nearest])


def floaters(face: Face, rng: np.random.Generator) -> Face:
    n, m = len(face.vertices), 60
    extent = np.ptp(face.vertices, axis=0)
    places = face.vertices.mean(axis=0) + rng.uniform(-1.2, 1.2, (m // 3, 1, 3)) * extent
    blobs = (places + rng.normal(scale=0.004, size=(m // 3, 3, 3))).reshape(-1, 3)
    return replace(
        face,
        vertices=np.concatenate([face.vertices, blobs]),
        faces=np.concatenate([face.faces, n + np.arange(m).reshape(-1, 3)]),
    )


def mirrored(face: Face, rng: np.random.Generator) -> Face:
    landmarks = None if face.landmarks is None else (face.landmarks * [-1, 1, 1])[[3, 2, 1, 0, 4, 6, 5]]
    return Face(face.vertices * [-1, 1, 1], face.faces, landmarks)


def inside_out(face: Face, rng: np.random.Generator) -> Face:
    return replace(face, faces=face.faces[:, ::-1].copy())


def shaky_landmarks(size: float) -> Change:
    def change(face: Face, rng: np.random.Generator) -> Face:
        assert face.landmarks is not None
        return replace(face, landmarks=face.landmarks + rng.normal(scale=size, size=(7, 3)))

    return change


def moved(face: Face, rng: np.random.Generator) -> Face:
    """As other cameras see it, in millimetres."""
    rotation, place = any_rotation(rng, 3.0), rng.normal(scale=2, size=3)
    landmarks = None if face.landmarks is None else 1000 * (face.landmarks @ rotation.T + place)
    return Face(1000 * (face.vertices @ rotation.T + place), face.faces, landmarks)


def with_habits(**changes: object) -> Callable[[Habits], Habits]:
    return lambda habits: replace(habits, **changes)  # type: ignore[arg-type]


ANY = tuple(METHODS)
SAME = ("FLAME", "shared")
FREE = ("cubes", "coarse")
LANDMARKS = ("shared", *FREE)
HONEST_HABITS: dict[str, tuple[Callable[[Habits], Habits], tuple[str, ...]]] = {
    "as it is": (with_habits(), ANY),
    "the mean face for everybody, with noise": (with_habits(identity=0.0), ANY),
    "weak identity": (with_habits(identity=0.15), ANY),
    "strong identity, hardly an expression": (with_habits(identity=1.5, expression=0.05), ANY),
    "shape varies as much from image to image as between people": (with_habits(jitter=1.0), ANY),
    "expressions twice as strong, jaw wide open": (with_habits(expression=2.0, jaw=0.6), ANY),
    "head turned far on its neck": (with_habits(neck=0.8), ("FLAME",)),
    "one neutral mesh for a person": (with_habits(one_neutral=True), SAME),
    "in millimetres": (with_habits(unit=1000.0), ANY),
}
HONEST_CHANGES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "noise of 0.5 mm": (noise(0.0005), ANY),
    "noise of 2 mm": (noise(0.002), ANY),
    "smoothed": (smooth, ANY),
    "any rotation and place, in millimetres": (moved, ANY),
    "all mirrored": (mirrored, ANY),
    "all inside out": (inside_out, ANY),
    "neck and back of the head cut off": (holes, FREE),
    "one side of the face not seen": (unseen_side, FREE),
    "floating specks around": (floaters, FREE),
    "landmarks 2 mm off": (shaky_landmarks(0.002), LANDMARKS),
    "landmarks 4 mm off": (shaky_landmarks(0.004), LANDMARKS),
}


# Mistakes: what they change, the codes that tell of it, and whether the finding must name a changed file.


@dataclass(frozen=True)
class Mistake:
    plant: Callable[[Faces, np.random.Generator], Faces]
    codes: tuple[str, ...]
    methods: tuple[str, ...] = ANY
    once: bool = False  # nothing random in it


def _other_image(path: str, faces: Faces, rng: np.random.Generator, same_person: bool) -> str:
    slot = SLOTS[path]
    names = [
        name
        for name in faces
        if SLOTS[name].kind == slot.kind
        and SLOTS[name].folder != slot.folder
        and (SLOTS[name].participant == slot.participant) == same_person
    ]
    return str(rng.choice(names))


def one(change: Change, kind: str = "") -> Callable[[Faces, np.random.Generator], Faces]:
    """In one file."""

    def plant(faces: Faces, rng: np.random.Generator) -> Faces:
        path = str(rng.choice([name for name in faces if SLOTS[name].kind.startswith(kind)]))
        return {path: change(faces[path], rng)}

    return plant


def every(change: Change) -> Callable[[Faces, np.random.Generator], Faces]:
    return lambda faces, rng: {path: change(face, rng) for path, face in faces.items()}


def copied(same_person: bool, kind: str, move: bool = False) -> Callable[[Faces, np.random.Generator], Faces]:
    def plant(faces: Faces, rng: np.random.Generator) -> Faces:
        path = str(rng.choice([name for name in faces if SLOTS[name].kind == kind]))
        face = faces[_other_image(path, faces, rng, same_person)]
        return {path: moved(face, rng) if move else face}

    return plant


def all_equal(faces: Faces, rng: np.random.Generator) -> Faces:
    return dict.fromkeys(faces, next(iter(faces.values())))


def posed_for_neutral(faces: Faces, rng: np.random.Generator) -> Faces:
    return {p: faces[p.replace("neutral", "posed")] for p in faces if SLOTS[p].kind == "neutral"}


def _swapped(paths: list[str], faces: Faces) -> Faces:
    other = {"posed": "neutral", "neutral": "posed"}
    return {p: faces[p.replace(f"mesh_{SLOTS[p].kind}", f"mesh_{other[SLOTS[p].kind]}")] for p in paths}


def swapped_subtasks(faces: Faces, rng: np.random.Generator) -> Faces:
    return _swapped(list(faces), faces)


def swapped_for_one(faces: Faces, rng: np.random.Generator) -> Faces:
    person = rng.choice(SVFR.participants)
    return _swapped([p for p in faces if SLOTS[p].participant == person], faces)


def swapped_image(faces: Faces, rng: np.random.Generator) -> Faces:
    folder = SLOTS[str(rng.choice(list(faces)))].folder
    return _swapped([p for p in faces if SLOTS[p].folder == folder], faces)


def another_person(seed: int) -> Callable[[Faces, np.random.Generator], Faces]:
    """A mesh that the method made of an image of somebody else, equal to no other file."""

    def plant(faces: Faces, rng: np.random.Generator) -> Faces:
        path = str(rng.choice([name for name in faces if SLOTS[name].kind == "neutral"]))
        face = faces[_other_image(path, faces, rng, same_person=False)]
        wobble = 0.0003 * np.sin(face.vertices @ rng.normal(scale=20, size=(3, 3)) + rng.uniform(0, 6, 3))
        return {path: replace(face, vertices=face.vertices + wobble)}

    return plant


def permuted(share: float) -> Change:
    def change(face: Face, rng: np.random.Generator) -> Face:
        n = len(face.vertices)
        chosen = rng.choice(n, int(share * n), replace=False)
        vertices = face.vertices.copy()
        vertices[chosen] = vertices[rng.permutation(chosen)]
        return replace(face, vertices=vertices)

    return change


def permuted_alike(face: Face, rng: np.random.Generator) -> Face:
    return permuted(1.0)(face, np.random.default_rng(len(face.vertices)))


def flat(face: Face, rng: np.random.Generator) -> Face:
    return replace(face, vertices=face.vertices * [1, 1, 0.001])


def collapsed(face: Face, rng: np.random.Generator) -> Face:
    return replace(face, vertices=np.broadcast_to(face.vertices.mean(axis=0), face.vertices.shape).copy())


def spikes(face: Face, rng: np.random.Generator) -> Face:
    vertices = face.vertices.copy()
    chosen = rng.choice(len(vertices), len(vertices) // 100, replace=False)
    vertices[chosen] += rng.normal(scale=0.1, size=(len(chosen), 3)) * np.ptp(face.vertices) / 0.3
    return replace(face, vertices=vertices)


def one_spike(face: Face, rng: np.random.Generator) -> Face:
    vertices = face.vertices.copy()
    vertices[rng.integers(len(vertices))] *= 100
    return replace(face, vertices=vertices)


def half_head(face: Face, rng: np.random.Generator) -> Face:
    centers = face.vertices[face.faces].mean(axis=1)[:, 0]
    return replace(face, faces=face.faces[centers > np.median(centers)])


def without_eyes(face: Face, rng: np.random.Generator) -> Face:
    return replace(face, faces=face.faces[(face.faces < 4681).all(axis=1)])


def eyes_elsewhere(face: Face, rng: np.random.Generator) -> Face:
    vertices = face.vertices.copy()
    vertices[4681:] += 0.15
    return replace(face, vertices=vertices)


def landmarks_of(same_person: bool) -> Callable[[Faces, np.random.Generator], Faces]:
    def plant(faces: Faces, rng: np.random.Generator) -> Faces:
        path = str(rng.choice(list(faces)))
        other = faces[_other_image(path, faces, rng, same_person)]
        return {path: replace(faces[path], landmarks=other.landmarks)}

    return plant


def posed_landmarks(faces: Faces, rng: np.random.Generator) -> Faces:
    return {
        p: replace(face, landmarks=faces[p.replace("neutral", "posed")].landmarks)
        for p, face in faces.items()
        if SLOTS[p].kind == "neutral"
    }


def on_landmarks(function: Callable[[Array, np.random.Generator], Array]) -> Change:
    def change(face: Face, rng: np.random.Generator) -> Face:
        assert face.landmarks is not None
        return replace(face, landmarks=function(face.landmarks, rng))

    return change


def _direction(rng: np.random.Generator) -> Array:
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction)


def _eye_distance(points: Array) -> float:
    return float(np.linalg.norm(points[3] - points[0]))


def shift(part: float) -> Change:
    """By a part of the eye distance; 0.16 is 1.5 cm."""
    return on_landmarks(lambda points, rng: points + part * _eye_distance(points) * _direction(rng))


def larger(factor: float) -> Change:
    return on_landmarks(lambda points, rng: points * factor)


def _one_eye(points: Array, rng: np.random.Generator) -> Array:
    """Points 36 to 42 of 68: around the right eye, and the left one's inner corner."""
    a, b = points[0], points[1]
    right = (b - a) / 3
    down = 0.06 * (points[5:].mean(axis=0) - points[:4].mean(axis=0))
    places = [a, a + right - down, a + 2 * right - down, b, b - right + down, a + right + down, points[2]]
    return np.array(places)


CODES_SHAPE = ("incomplete_mesh",)
OFF = ("foreign_landmarks", "landmarks_off_mesh", "landmarks_mirrored")
MISTAKES: dict[str, Mistake] = {
    "one mesh for all images": Mistake(all_equal, ("duplicate_mesh",), once=True),
    "posed = neutral everywhere": Mistake(posed_for_neutral, ("duplicate_mesh",), once=True),
    "posed mesh of another image": Mistake(copied(True, "posed"), ("duplicate_mesh",)),
    "neutral mesh of another person": Mistake(copied(False, "neutral"), ("duplicate_mesh",)),
    "the same, moved and scaled": Mistake(copied(False, "neutral", True), ("duplicate_mesh", "wrong_participant")),
    "neutral mesh of another person, equal to none": Mistake(another_person(1), ("wrong_participant",), SAME),
    "posed and neutral swapped": Mistake(swapped_subtasks, ("swapped_subtasks",), SAME, once=True),
    "the same for one person": Mistake(swapped_for_one, ("swapped_subtasks",), SAME),
    "the same for one image": Mistake(swapped_image, ("swapped_subtasks",), SAME),
    "one mesh inside out": Mistake(one(inside_out), ("inside_out_mesh",)),
    "one mesh mirrored": Mistake(one(mirrored), ("mirrored_mesh", "inside_out_mesh")),
    "vertices permuted in one file": Mistake(one(permuted(1.0)), CODES_SHAPE),
    "5 % of the vertices permuted in one file": Mistake(one(permuted(0.05)), CODES_SHAPE),
    "vertices permuted alike in all files": Mistake(every(permuted_alike), CODES_SHAPE, once=True),
    "one mesh flat": Mistake(one(flat), CODES_SHAPE),
    "one mesh collapsed": Mistake(one(collapsed), CODES_SHAPE),
    "spikes in one mesh": Mistake(one(spikes), CODES_SHAPE),
    "one vertex far away": Mistake(one(one_spike), CODES_SHAPE),
    "half a head": Mistake(one(half_head), (*CODES_SHAPE, "lost_vertices"), SAME),
    "no eyeballs": Mistake(one(without_eyes), (*CODES_SHAPE, "lost_vertices"), ("FLAME",)),
    "eyeballs elsewhere": Mistake(one(eyes_elsewhere), CODES_SHAPE, ("FLAME",)),
    "landmarks of another image": Mistake(landmarks_of(True), OFF, LANDMARKS),
    "landmarks of another person": Mistake(landmarks_of(False), OFF, LANDMARKS),
    "the posed mesh's landmarks for all neutral ones": Mistake(posed_landmarks, OFF, LANDMARKS, once=True),
    "landmarks 1.5 cm off in one file": Mistake(one(shift(0.16)), OFF, LANDMARKS),
    "landmarks 1.5 cm off in all files": Mistake(every(shift(0.16)), OFF, LANDMARKS, once=True),
    "landmarks 10 % larger in one file": Mistake(one(larger(1.1)), OFF, LANDMARKS),
    "landmarks of one eye in one file": Mistake(one(on_landmarks(_one_eye)), OFF, LANDMARKS),
    "landmarks of one eye in all files": Mistake(every(on_landmarks(_one_eye)), OFF, LANDMARKS, once=True),
}


def files_of(finding: Finding) -> set[str]:
    """The files a finding tells of; nothing if it is of all."""
    paths = [finding.path] if finding.path else [*finding.actual] if isinstance(finding.actual, list) else []
    # Of equal files, the message names the others.
    paths += [word.strip(".,") for word in finding.message.split() if word.strip(".,").endswith((".ply", ".npy"))]
    return {str(path).replace("landmarks", "mesh").replace(".npy", ".ply") for path in paths}


def told_of(findings: list[Finding], changed: Faces) -> list[Finding]:
    """Findings that tell of a changed file, its person, or of all."""
    folders = {path.rpartition("/")[0] for path in changed}
    folders |= {f"{SLOTS[path].participant:03d}" for path in changed} if len(changed) > 2 else set()

    def tells(finding: Finding) -> bool:
        files = files_of(finding)
        return not files or any(f in changed or f in folders or f.rpartition("/")[0] in folders for f in files)

    return [finding for finding in findings if tells(finding)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=5, help="of each mistake with each method (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds with this in their name")
    parser.add_argument("--explain", action="store_true", help="print what was missed and what was wrong")
    arguments = parser.parse_args()
    begun = time.perf_counter()

    def explain(what: str, findings: list[Finding]) -> None:
        if arguments.explain:
            print(
                f"  {what}", *(f"    {f.code} {f.path}: {f.message}" for f in findings[:4]), sep="\n", flush=True
            )

    print("| honest submissions | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
    n_alarms = n_honest = 0
    bases: dict[str, Judged] = {}
    for name in METHODS:
        bases[name] = judge_all(submission(METHODS[name], arguments.seed))
    for title in (*HONEST_HABITS, *HONEST_CHANGES):
        if arguments.only not in title:
            continue
        cells = []
        for i, (name, habits) in enumerate(METHODS.items()):
            rng = np.random.default_rng([arguments.seed, i])
            change_habits, methods = HONEST_HABITS.get(title, (None, ()))
            change, methods_of_change = HONEST_CHANGES.get(title, (None, ()))
            if name not in (methods or methods_of_change):
                cells.append("")
                continue
            if change_habits is not None:
                judged = judge_all(submission(change_habits(habits), arguments.seed + 1))
            else:
                assert change is not None
                faces = {path: change(face, rng) for path, face in bases[name].faces.items()}
                judged = judge_all(faces)
            findings = judged.findings()
            n_honest += 1
            n_alarms += bool(findings)
            codes = sorted({finding.code for finding in findings})
            cells.append(f"**{len(findings)}**: {', '.join(codes)}" if findings else "0")
            if findings:
                explain(f"false alarm, {name}, {title}", findings)
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{n_alarms} false alarms in {n_honest} honest submissions of {2 * 20 * N_IMAGES} meshes.\n")
    print("| mistakes: found of planted (findings of other files) | " + " | ".join(METHODS) + " |")
    print("|---|" + "---|" * len(METHODS))
    n_found = n_planted = n_other = 0
    for title, mistake in MISTAKES.items():
        if arguments.only not in title:
            continue
        cells = []
        for i, name in enumerate(METHODS):
            rng = np.random.default_rng([arguments.seed, i, 7])
            if name not in mistake.methods:
                cells.append("")
                continue
            found = other = 0
            trials = 1 if mistake.once else arguments.trials
            for _ in range(trials):
                changed = mistake.plant(bases[name].faces, rng)
                findings = bases[name].with_changes(changed).findings()
                right = [f for f in told_of(findings, changed) if f.code in mistake.codes]
                strange = [f for f in findings if f not in told_of(findings, changed)]
                found += bool(right)
                other += len(strange)
                if not right or strange:
                    explain(
                        f"{'missed' if not right else 'other'}, {name}, {title}, {list(changed)[:2]}", findings
                    )
            n_found, n_planted, n_other = n_found + found, n_planted + trials, n_other + other
            cells.append(f"{found}/{trials}" + (f" ({other})" if other else ""))
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{n_found} of {n_planted} found, {n_other} findings of files that were right.")
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

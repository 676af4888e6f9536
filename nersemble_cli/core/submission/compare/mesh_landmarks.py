"""Do landmarks belong to their mesh?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nersemble_cli.core.submission.compare.cases import ENOUGH, RULE, Case
from nersemble_cli.core.submission.compare.mesh_signals import NEAR, LandmarkSignal, MeshSignal
from nersemble_cli.core.submission.compare.shapes import Shapes, place

STEADY = slice(0, 5)  # landmarks that an expression hardly moves: eye corners and the point below the nose
# In distances of the outer eye corners.
ON_SURFACE = 1e-3  # picked on the mesh
OFF_SURFACE = 0.06
ALL_OFF = 0.05  # the middle one of seven, in the middle one of all files
MOVED = 0.12


def find_moved_landmarks(family: Sequence[MeshSignal], shapes: Shapes) -> list[Case]:
    """Landmarks that are elsewhere on their mesh than those of the other meshes of its topology."""
    chosen = [(i, signal, signal.landmarks) for i, signal in enumerate(family) if signal.landmarks is not None]
    if len(chosen) < ENOUGH:
        return []
    placed = np.stack([place(shapes, i, (marks.points - s.center) / s.size) for i, s, marks in chosen])
    usual = np.median(placed, axis=0)
    eye_distance = float(np.linalg.norm(usual[3] - usual[0]))
    away = np.linalg.norm(placed - usual, axis=2)[:, STEADY].max(axis=1) / max(eye_distance, 1e-9)
    limit = max(MOVED, 6 * float(np.median(away)))
    return [
        Case(
            signal.slot.landmarks_path,
            f"Landmarks are up to {value:.2g} eye distances from where they are on the other meshes.",
            {"eye_distances": float(value), "usual": float(np.median(away)), "limit": limit},
        )
        for (_, signal, _), value in zip(chosen, away, strict=True)
        if value > limit
    ]


def find_copied_landmarks(signals: Sequence[MeshSignal]) -> list[Case]:
    """Landmarks that equal those of another mesh, on whose surface they lie more exactly."""
    cases = []
    same: dict[bytes, list[MeshSignal]] = defaultdict(list)
    for signal in signals:
        if signal.landmarks is not None:
            same[signal.landmarks.digest].append(signal)
    for group in same.values():
        owner = min(group, key=lambda signal: _farthest(signal.landmarks))
        for signal in group:
            if signal.vertices_digest != owner.vertices_digest:
                message = f"They equal {owner.slot.landmarks_path}, but the meshes differ."
                evidence = {
                    "eye_distances": _farthest(signal.landmarks),
                    "eye_distances_other": _farthest(owner.landmarks),
                }
                cases.append(Case(signal.slot.landmarks_path, message, evidence, [owner.slot.landmarks_path]))
    return cases


def _farthest(marks: LandmarkSignal | None) -> float:
    """How far the farthest landmark is off the surface, in eye distances."""
    return float(marks.distances.max()) / marks.eye_distance if marks is not None else np.inf


def find_landmarks_off_surface(signals: Sequence[MeshSignal]) -> list[Case]:
    """Landmarks that are off their mesh's surface: all of them, or one file's unlike those of the others."""
    marked = [(signal, signal.landmarks) for signal in signals if signal.landmarks is not None]
    if len(marked) < ENOUGH:
        return []
    typical = float(np.median([np.median(marks.distances) / marks.eye_distance for _, marks in marked]))
    if typical > ALL_OFF:
        message = (
            f"In most files, most landmarks are {typical:.2g} eye distances or more off the mesh's surface: they"
            " seem to be in another space, or of another mesh."
        )
        return [Case(None, message, {"eye_distances": typical, "limit": ALL_OFF})]
    worst = np.array([_farthest(marks) for _, marks in marked])
    usual = float(np.median(worst))
    limit = max(OFF_SURFACE, 2.5 * float(np.quantile(worst, 0.8)))
    if np.mean(worst <= ON_SURFACE) >= RULE:
        limit = NEAR
    return [
        Case(
            signal.slot.landmarks_path,
            f"Landmark {marks.distances.argmax() + 1} is {value:.2g} eye distances off the mesh's surface;"
            f" {usual:.1g} is usual in this submission.",
            {"eye_distances": float(value), "usual": usual, "limit": limit},
        )
        for (signal, marks), value in zip(marked, worst, strict=True)
        if value > limit
    ]

"""Is it the right mesh? The meshes of a submission compared with each other.

There is no ground truth to compare with, but 391 images of 20 people say much about each other: no two images give
the same mesh, a person's neutral meshes are nearer to each other than to those of others, and whatever a method
does, it does every time. What sets a few files apart is a slip, and becomes a finding. What all files have in
common is a convention, and becomes a note at most: the server aligns the meshes, and how is not public.

Position, rotation and unit are free everywhere; `shapes` has the alignment. Only where many meshes share their
topology can it be told whose mesh it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MESH_KINDS, MeshBenchmark, MeshSlot
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.compare.cases import ENOUGH, RULE, Case, Cases
from nersemble_cli.core.submission.compare.mesh_landmarks import (
    find_copied_landmarks,
    find_landmarks_off_surface,
    find_moved_landmarks,
)
from nersemble_cli.core.submission.compare.mesh_people import find_strange, find_swapped
from nersemble_cli.core.submission.compare.mesh_signals import MeshSignal, measure_mesh
from nersemble_cli.core.submission.compare.shapes import (
    SAME_SHAPE,
    Shapes,
    align,
    shape_distances,
)
from nersemble_cli.core.submission.findings import Finding, Report
from nersemble_cli.core.submission.mesh_checks import MeshObserver
from nersemble_cli.core.submission.surface import lengths

Array = NDArray[np.float64]

# A sound mesh of F faces has edges of about 5 / sqrt(F) of its size; between random vertices they are 1.4 long.
TORN = 20.0
FEWEST_FACES = 500  # with fewer, long edges are in order
FLAT = 0.02  # the smallest extent by the largest
LONGER = 3.0  # times as long as the longest edges usually are
FARTHEST = 10.0  # vertex, times the median distance from the middle
SAME_EDGE = 1e-4  # of the longest one: what rounding leaves
STRETCHED = 2.5  # logarithm: noise and expressions stretch 99.9 % of the edges by less
DISPLACED = 1.0  # of a mesh's size, about 10 cm: farther than any jaw opens
OUTWARDS = 0.2  # less is neither inwards nor outwards


class MeshComparison:
    """Takes note of the meshes of one submission as they are read, and compares them at the end."""

    def __init__(self, benchmark: MeshBenchmark) -> None:
        self._signals: list[MeshSignal] = []

    def observer(self, slot: MeshSlot) -> MeshObserver:
        """What is to see a mesh that was read, with its (7, 3) landmarks if it has any."""

        def observe(mesh: Mesh, landmarks: Array | None) -> None:
            if signal := measure_mesh(slot, mesh, landmarks):
                self._signals.append(signal)

        return observe

    def finish(self, report: Report) -> None:
        """Adds what was found to `report`, and sets its `compared` and why."""
        if not self._signals:
            return
        outcome = compare_meshes(self._signals)
        report.findings += outcome.findings
        report.notes += outcome.notes
        report.compared = "full"
        if len(self._signals) < ENOUGH:
            report.compared = "partly"
            report.notes.append(f"{len(self._signals)} meshes are too few to compare them with each other.")


class Outcome(NamedTuple):
    findings: list[Finding]
    notes: list[str]


def compare_meshes(signals: Sequence[MeshSignal]) -> Outcome:
    """What the meshes of a submission say about each other."""
    cases = Cases(len(signals))
    cases.add("incomplete_mesh", find_broken(signals))
    sound = cases.unknown(signals)
    families = {family[0].topology: family for family in find_families(sound)}
    shapes = {topology: align(np.stack([s.points for s in family])) for topology, family in families.items()}
    between = {topology: shape_distances(found) for topology, found in shapes.items()}
    keys = {signal.slot.path: signal.vertices_digest for signal in sound}
    for topology, family in families.items():
        for signal, twin in zip(family, (between[topology] <= SAME_SHAPE).argmax(axis=1), strict=True):
            keys[signal.slot.path] = family[twin].vertices_digest
    keys.update(_moved_copies([signal for signal in sound if signal.topology not in families]))
    equal, notes = find_duplicates(sound, keys)
    cases.add("duplicate_mesh", equal)
    for topology, family in families.items():
        cases.add("mirrored_mesh", find_mirrored(family, shapes[topology]))
    turned, more = find_inside_out(cases.unknown(sound))
    cases.add("inside_out_mesh", turned)
    cases.add("incomplete_mesh", find_strangers(sound))
    for topology, family in families.items():
        cases.add("incomplete_mesh", find_stretched(family))
        cases.add("incomplete_mesh", find_displaced(family, shapes[topology]))
    for topology, family in families.items():
        cases.add("swapped_subtasks", find_swapped(family, between[topology]))
        cases.add("wrong_participant", find_strange(family, between[topology]))
    cases.add("foreign_landmarks", find_copied_landmarks(sound))
    cases.add("foreign_landmarks", find_landmarks_off_surface(sound))
    for topology, family in families.items():
        cases.add("foreign_landmarks", find_moved_landmarks(family, shapes[topology]))
    return Outcome(cases.findings, notes + more)


def _and_more(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# One mesh by itself


def find_broken(signals: Sequence[MeshSignal]) -> list[Case]:
    """Meshes that are no surface of a head, by themselves or by the lengths of edges that are usual here."""
    cases = []
    # Lengths as they would be with the same faces on any mesh, so that coarse and fine ones compare.
    edges = np.array([_quantiles(signal.edges, (0.8, 0.99)) * signal.num_faces**0.5 for signal in signals])
    usual = float(np.median(edges[:, 1]))
    limit = max(TORN, LONGER * usual) if len(signals) >= ENOUGH else np.inf
    for signal, (most, longest) in zip(signals, edges, strict=True):
        path, flatness = signal.slot.path, signal.flatness
        if flatness < FLAT:
            message = f"It is flat: its smallest extent is {flatness:.2g} of its largest."
            cases.append(Case(path, message, {"flatness": flatness, "limit": FLAT}))
        elif signal.num_faces >= FEWEST_FACES and most > TORN:
            message = "Its faces connect vertices that are far apart, as if vertices were in another order."
            cases.append(Case(path, message, {"edge_length": float(most), "limit": TORN}))
        elif signal.num_faces >= FEWEST_FACES and longest > limit:
            message = f"Some of its edges are {longest / usual:.0f} times as long as the longest of most meshes."
            cases.append(Case(path, message, {"edge_length": float(longest), "usual": usual, "limit": limit}))
        elif signal.reach > FARTHEST:
            message = f"A vertex lies {signal.reach:.0f} times as far from the middle as most."
            cases.append(Case(path, message, {"reach": signal.reach, "limit": FARTHEST}))
    return cases


def _quantiles(values: NDArray[np.float32], shares: tuple[float, ...]) -> NDArray[np.float32]:
    """As `np.quantile` of values (N,), without interpolation: six times as fast."""
    places = [int(share * (len(values) - 1)) for share in shares]
    found: NDArray[np.float32] = np.partition(values, places)[places]
    return found


# All meshes


def _moved_copies(signals: Sequence[MeshSignal]) -> dict[str, bytes]:
    """Keys of meshes of rare topologies: the same for those whose faces and lengths of edges are the same."""
    first: dict[object, MeshSignal] = {}
    keys = {}
    for signal in signals:
        other = first.setdefault(signal.topology, signal)
        if np.allclose(signal.edges, other.edges, rtol=SAME_EDGE, atol=SAME_EDGE * float(other.edges.max())):
            keys[signal.slot.path] = other.vertices_digest
    return keys


def find_duplicates(signals: Sequence[MeshSignal], keys: Mapping[str, bytes]) -> tuple[list[Case], list[str]]:
    """Meshes that have a key, by their path, in common.

    One neutral mesh for all images of a person may be meant, although each image is to be reconstructed by
    itself: it becomes a note.
    """
    groups: dict[bytes, list[MeshSignal]] = defaultdict(list)
    for signal in signals:
        groups[keys[signal.slot.path]].append(signal)
    both = sum(n == len(MESH_KINDS) for n in Counter(signal.slot.folder for signal in signals).values())
    of_person = Counter((signal.slot.participant, signal.slot.kind) for signal in signals)
    pairs, cases, n_shared = [], [], 0
    for group in groups.values():
        paths = [signal.slot.path for signal in group]
        exact = len({signal.vertices_digest for signal in group}) == 1
        how = "" if exact else " but for position, rotation and size"
        places = {(signal.slot.participant, signal.slot.kind) for signal in group}
        if len(group) == 1:
            continue
        if len({signal.slot.folder for signal in group}) == 1:
            message = f"It equals {paths[1]}{how}: posed and neutral are the same."
            pairs.append(Case(paths[0], message, {"equal": 2, "of": 2}, paths[1:]))
        elif len(places) == 1 and group[0].slot.kind == "neutral" and len(group) == of_person[places.pop()]:
            n_shared += 1
        else:
            message = f"It equals {_and_more(paths[1:])}{how}."
            cases.append(Case(paths[0], message, {"equal": len(group), "of": len(signals)}, paths[1:]))
    if pairs and len(pairs) == both:
        message = f"Posed and neutral meshes are the same in all {both} images."
        pairs = [Case(None, message, {"equal": both, "of": both})]
    notes = [f"{n_shared} people have one neutral mesh for all their images; each image should give its own."]
    return pairs + cases, notes if n_shared else []


def find_inside_out(signals: Sequence[MeshSignal]) -> tuple[list[Case], list[str]]:
    """Meshes whose faces look inwards, unlike those of most others."""
    clear = [signal for signal in signals if abs(signal.outwards) > OUTWARDS]
    turned = [signal for signal in clear if signal.outwards < 0]
    if len(clear) < ENOUGH or not turned:
        return [], []
    if len(turned) > len(clear) / 2:
        what = (
            f"The faces of {len(turned)} of {len(clear)} meshes look inwards, which a score of normals would see."
        )
        return [], [what]
    usual = float(np.median([signal.outwards for signal in clear if signal.outwards > 0]))
    message = f"Its faces look inwards, unlike those of {len(clear) - len(turned)} others."
    return [Case(s.slot.path, message, {"outwards": s.outwards, "usual": usual}) for s in turned], []


def find_families(signals: Sequence[MeshSignal]) -> list[list[MeshSignal]]:
    """The meshes by topology, of each that many have."""
    families: dict[object, list[MeshSignal]] = defaultdict(list)
    for signal in signals:
        families[signal.topology].append(signal)
    return [family for family in families.values() if len(family) >= ENOUGH]


def find_strangers(signals: Sequence[MeshSignal]) -> list[Case]:
    """Meshes of another topology than the rule of their subtask."""
    cases = []
    for kind in MESH_KINDS:
        members = [signal for signal in signals if signal.slot.kind == kind]
        topologies = Counter(signal.topology for signal in members)
        if len(members) < ENOUGH:
            continue
        usual, n = topologies.most_common(1)[0]
        if n < RULE * len(members):
            continue
        example = next(signal for signal in members if signal.topology == usual)
        for signal in members:
            if signal.topology == usual:
                continue
            counts = signal.num_vertices, signal.num_faces
            if counts == (example.num_vertices, example.num_faces):
                message = f"Its faces connect other vertices than those of the other {n} {kind} meshes."
            else:
                message = (
                    f"It has {counts[0]} vertices and {counts[1]} faces, the other {n} {kind} meshes"
                    f" have {example.num_vertices} and {example.num_faces}."
                )
            evidence = {
                "vertices": counts[0],
                "faces": counts[1],
                "usual_vertices": example.num_vertices,
                "usual_faces": example.num_faces,
            }
            cases.append(Case(signal.slot.path, message, evidence))
    return cases


# Meshes of one topology


def find_stretched(family: Sequence[MeshSignal]) -> list[Case]:
    """Meshes in which some edges are many times as long, or as short, as in the others."""
    edges = np.log(np.maximum(np.stack([signal.edges for signal in family]), 1e-6))
    ratios = edges - np.median(edges, axis=0)
    ratios -= np.median(ratios, axis=1, keepdims=True)
    last = min(ratios.shape[1] - 1, int(0.999 * ratios.shape[1]))
    worst = np.partition(np.abs(ratios), last, axis=1)[:, last]
    limit = max(STRETCHED, 1.5 + float(np.median(worst)))
    cases = [
        Case(
            signal.slot.path,
            f"Some of its edges are {np.exp(value):.0f} times as long or as short as in the other meshes.",
            {"log_ratio": float(value), "usual": float(np.median(worst)), "limit": limit},
        )
        for signal, value in zip(family, worst, strict=True)
        if value > limit
    ]
    return cases


def find_displaced(family: Sequence[MeshSignal], shapes: Shapes) -> list[Case]:
    """Meshes of which some part, such as an eyeball, is elsewhere than in the others."""
    away = lengths(shapes.points - np.median(shapes.points, axis=0))
    # Each point by its own habits: shoulders and jaws move, eyeballs do not.
    limits = np.maximum(DISPLACED, 4 * np.quantile(away, RULE, axis=0))
    worst = (away / limits).argmax(axis=1)
    usual = np.median(away, axis=0)
    return [
        Case(
            family[i].slot.path,
            f"Part of it is {away[i, k]:.1f} times the mesh's size from where it is in other meshes.",
            {"displaced": float(away[i, k]), "usual": float(usual[k]), "limit": float(limits[k])},
        )
        for i, k in enumerate(worst)
        if away[i, k] > limits[k]
    ]


def find_mirrored(family: Sequence[MeshSignal], shapes: Shapes) -> list[Case]:
    """Meshes that fit the others only as their mirror images."""
    if shapes.mirrored.mean() > 0.5:
        return []
    n_others = int((~shapes.mirrored).sum())
    return [
        Case(
            family[i].slot.path,
            f"It fits {n_others} meshes of its topology only as their mirror image.",
            {"residual": float(shapes.turned[i]), "residual_mirrored": float(shapes.reflected[i])},
        )
        for i in map(int, np.flatnonzero(shapes.mirrored))
    ]

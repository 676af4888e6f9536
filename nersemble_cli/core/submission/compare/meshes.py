"""Is it the right mesh? The meshes of a submission compared with each other.

There is no ground truth to compare with, but 391 images of 20 people say much about each other: no two images give
the same mesh, a person's neutral meshes are nearer to each other than to those of others, and whatever a method
does, it does every time. What sets a few files apart is a slip, and becomes a finding. What all files have in
common is a convention, and becomes a note at most: the server aligns the meshes, and how is not public.

Position, rotation and unit are free everywhere; `shapes` has the alignment.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MESH_KINDS, MeshBenchmark, MeshSlot
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.compare.mesh_signals import LandmarkSignal, MeshSignal, measure_mesh
from nersemble_cli.core.submission.compare.shapes import (
    Shapes,
    align,
    place,
    relief_distances,
    shape_distances,
)
from nersemble_cli.core.submission.findings import Finding, Report
from nersemble_cli.core.submission.mesh_checks import MeshObserver

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

ENOUGH = 20  # meshes from which something can be said of what is usual
FEW = 5  # meshes or people of which a median can be trusted
ONE_BY_ONE = 10  # findings of one kind; if there are more, they become one
RULE = 0.9  # the share of meshes that makes something the rule

# Of a mesh's size: rounding to float32 or six digits is below it, two reconstructions differ by 1e-3.
SAME_SHAPE = 3e-5
# A sound mesh of F faces has edges of about 5 / sqrt(F) of its size; between random vertices they are 1.4 long.
TORN = 20.0
FEWEST_FACES = 500  # with fewer, long edges are in order
FLAT = 0.02
FARTHEST = 10.0
# Logarithms of lengths: noise and expressions stretch 99.9 % of the edges by less.
STRETCHED = 2.5
OUTWARDS = 0.2

MORE_SPREAD = 1.4  # times as far from each other
NEARER = 1.6  # times as near to another person
# In eye distances.
ON_SURFACE = 1e-3  # picked on the mesh
SLIPPED = 0.008  # where landmarks are picked on the mesh
OFF_SURFACE = 0.06
MOVED = 0.12


class MeshComparison:
    """Takes note of the meshes of one submission as they are read, and compares them at the end."""

    def __init__(self, benchmark: MeshBenchmark) -> None:
        self._n_slots = len(benchmark.slots)
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
        report.compared = "full" if len(self._signals) >= ENOUGH else "partly"


class Case(NamedTuple):
    """What is wrong with one file."""

    path: str
    message: str
    evidence: dict[str, float]


class Outcome(NamedTuple):
    findings: list[Finding]
    notes: list[str]


def compare_meshes(signals: Sequence[MeshSignal]) -> Outcome:
    """What the meshes of a submission say about each other."""
    findings = find_broken(signals)
    notes: list[str] = []
    keys: dict[str, object] = {signal.slot.path: signal.vertices_digest for signal in signals}
    mirrored: set[str] = set()
    families = find_families(signals)
    findings += find_strangers(signals)
    rest = {signal.slot.path: signal for signal in signals}
    for family in families:
        shapes = align(np.stack([signal.points for signal in family]).astype(np.float64))
        between = shape_distances(shapes)
        for signal, twin in zip(family, (between <= SAME_SHAPE).argmax(axis=1), strict=True):
            keys[signal.slot.path] = family[twin].vertices_digest
            del rest[signal.slot.path]
        cases = find_mirrored(family, shapes)
        mirrored.update(case.path for case in cases)
        findings += told("mirrored_mesh", cases, len(signals))
        findings += find_stretched(family, len(signals))
        findings += find_mixed_up(family, between)
        findings += told("foreign_landmarks", find_moved_landmarks(family, shapes), len(signals))
    reliefs = [s for s in rest.values() if s.landmarks is not None and s.landmarks.relief is not None]
    if len(reliefs) >= ENOUGH:
        stack = np.stack([s.landmarks.relief for s in reliefs if s.landmarks and s.landmarks.relief is not None])
        findings += find_mixed_up(reliefs, relief_distances(stack))
    known = {finding.path for finding in findings if finding.code == "foreign_landmarks"}
    findings += find_foreign_landmarks([s for s in signals if s.slot.landmarks_path not in known])
    for found in (find_duplicates(signals, keys), find_inside_out(signals, mirrored)):
        findings += found.findings
        notes += found.notes
    return Outcome(findings, notes)


def told(code: str, cases: Sequence[Case], total: int, severity: str = "") -> list[Finding]:
    """A finding for each case, or one for all of them if there are many."""
    if len(cases) <= ONE_BY_ONE:
        return [
            Finding(code, case.path, case.message, evidence=case.evidence, severity=severity) for case in cases
        ]
    first = cases[0]
    message = f"This concerns {len(cases)} of {total} files. The first is {first.path}: {first.message}"
    evidence = {"files": len(cases), "of": total, **first.evidence}
    paths = [case.path for case in cases]
    return [Finding(code, None, message, actual=paths, evidence=evidence, severity=severity)]


def _and_more(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# One mesh by itself


def find_broken(signals: Sequence[MeshSignal]) -> list[Finding]:
    """Meshes that are no surface of a head, whatever the others are like."""
    cases = []
    for signal in signals:
        path, faces = signal.slot.path, signal.num_faces
        length = float(np.quantile(signal.edges, 0.8)) * faces**0.5
        if signal.flatness < FLAT:
            message = f"It is flat: its smallest extent is {signal.flatness:.2g} of its largest."
            cases.append(Case(path, message, {"flatness": signal.flatness, "expected": FLAT}))
        elif faces >= FEWEST_FACES and length > TORN:
            message = "Its faces connect vertices that are far apart, as if vertices were in another order."
            cases.append(Case(path, message, {"edge_length": length, "expected": TORN}))
        elif signal.reach > FARTHEST:
            message = f"A vertex lies {signal.reach:.0f} times as far from the middle as most."
            cases.append(Case(path, message, {"reach": signal.reach, "expected": FARTHEST}))
    return told("incomplete_mesh", cases, len(signals))


# All meshes


def find_duplicates(signals: Sequence[MeshSignal], keys: Mapping[str, object]) -> Outcome:
    """Meshes that have a key in common, by the path of the mesh.

    One neutral mesh for all images of a person may be meant, although each image is to be reconstructed by
    itself: it becomes a note.
    """
    groups: dict[object, list[MeshSignal]] = defaultdict(list)
    for signal in signals:
        groups[keys[signal.slot.path]].append(signal)
    images = Counter(signal.slot.folder for signal in signals)
    both = sum(n == len(MESH_KINDS) for n in images.values())
    pairs, cases, shared = [], [], 0
    for group in groups.values():
        paths = [signal.slot.path for signal in group]
        exact = len({signal.vertices_digest for signal in group}) == 1
        how = "" if exact else " but for position, rotation and size"
        folders = {signal.slot.folder for signal in group}
        if len(group) == 1:
            continue
        if len(folders) == 1:
            message = f"It equals {paths[1]}{how}: posed and neutral are the same."
            pairs.append(Case(paths[0], message, {"equal": 2, "of": 2}))
        elif len({signal.slot.participant for signal in group}) == 1 and {s.slot.kind for s in group} == {"neutral"}:
            shared += len(group)
        else:
            message = f"It equals {_and_more(paths[1:])}{how}."
            cases.append(Case(paths[0], message, {"equal": len(group), "of": len(signals)}))
    notes = []
    if shared:
        notes.append(
            f"{shared} neutral meshes equal others of the same person. Each image is to be reconstructed by itself."
        )
    if pairs and len(pairs) == both:
        message = f"Posed and neutral meshes are the same in all {both} images."
        found = [Finding("duplicate_mesh", None, message, evidence={"equal": both, "of": both})]
    else:
        found = told("duplicate_mesh", pairs, both)
    return Outcome(found + told("duplicate_mesh", cases, len(signals)), notes)


def find_inside_out(signals: Sequence[MeshSignal], mirrored: set[str]) -> Outcome:
    """Meshes whose faces look inwards, unlike those of most others. Mirrored ones do so by themselves."""
    clear = [s for s in signals if abs(s.outwards) > OUTWARDS and s.slot.path not in mirrored]
    turned = [s for s in clear if s.outwards < 0]
    if len(clear) < ENOUGH or not turned:
        return Outcome([], [])
    if len(turned) > len(clear) / 2:
        note = f"The faces of {len(turned)} of {len(clear)} meshes look inwards: a score that uses normals may suffer."
        return Outcome([], [note])
    cases = [
        Case(
            s.slot.path,
            f"Its faces look inwards, unlike those of {len(clear) - len(turned)} others.",
            {"outwards": s.outwards, "others": float(np.median([o.outwards for o in clear if o.outwards > 0]))},
        )
        for s in turned
    ]
    return Outcome(told("inside_out_mesh", cases, len(signals)), [])


def find_families(signals: Sequence[MeshSignal]) -> list[list[MeshSignal]]:
    """The meshes by topology, of each that many have."""
    families: dict[object, list[MeshSignal]] = defaultdict(list)
    for signal in signals:
        families[signal.topology].append(signal)
    return [family for family in families.values() if len(family) >= ENOUGH]


def find_strangers(signals: Sequence[MeshSignal]) -> list[Finding]:
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
    return told("incomplete_mesh", cases, len(signals))


# Meshes of one topology


def find_stretched(family: Sequence[MeshSignal], total: int) -> list[Finding]:
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
    return told("incomplete_mesh", cases, total)


def find_mirrored(family: Sequence[MeshSignal], shapes: Shapes) -> list[Case]:
    """Meshes that fit the others only as their mirror images."""
    if shapes.mirrored.mean() > 0.5:
        return []
    return [
        Case(
            family[i].slot.path,
            f"It is the mirror image of what the other {len(family)} meshes of its topology are.",
            {"residual": float(shapes.turned[i]), "residual_mirrored": float(shapes.reflected[i])},
        )
        for i in np.flatnonzero(shapes.mirrored)
    ]


# Whose mesh is it? By the distances (N, N) between all meshes, however they were found.


def find_mixed_up(members: Sequence[MeshSignal], between: Array) -> list[Finding]:
    """Subtasks that are swapped, and meshes of other people."""
    people = np.array([signal.slot.participant for signal in members])
    kinds = np.array([signal.slot.kind for signal in members])
    swapped, where = find_swapped_subtasks(people, kinds, between)
    findings = swapped
    if not where:
        findings += told("swapped_subtasks", find_swapped_images(members, people, kinds, between), len(members))
    cases = []
    for kind in MESH_KINDS:
        cases += find_strange_people(members, people, kinds == kind, between)
    return findings + told("wrong_participant", cases, len(members))


def _spread(between: Array, chosen: NDArray[np.int64]) -> float:
    """The median distance of the chosen from each other."""
    rows, columns = np.triu_indices(len(chosen), 1)
    return float(np.median(between[chosen[rows], chosen[columns]]))


def find_swapped_subtasks(
    people: NDArray[np.int64], kinds: NDArray[np.str_], between: Array
) -> tuple[list[Finding], set[int]]:
    """People whose neutral meshes differ more from each other than their posed ones, and the findings of it."""
    spreads: dict[int, tuple[float, float]] = {}
    for person in np.unique(people):
        posed, neutral = (np.flatnonzero((people == person) & (kinds == kind)) for kind in MESH_KINDS)
        if min(len(posed), len(neutral)) >= FEW:
            spreads[int(person)] = _spread(between, posed), _spread(between, neutral)
    swapped = {person for person, (posed, neutral) in spreads.items() if neutral > MORE_SPREAD * posed}
    if len(spreads) < FEW or not swapped:
        return [], set()
    median_posed, median_neutral = (float(np.median(values)) for values in zip(*spreads.values(), strict=True))
    if len(swapped) >= RULE * len(spreads):
        message = (
            f"The neutral meshes of a person differ from each other {median_neutral / median_posed:.1f} times as much"
            f" as the posed ones, in {len(swapped)} of {len(spreads)} people: posed and neutral seem to be swapped."
        )
        evidence = {"spread_posed": median_posed, "spread_neutral": median_neutral, "people": len(swapped)}
        return [Finding("swapped_subtasks", None, message, evidence=evidence)], swapped
    others = [person for person, (posed, neutral) in spreads.items() if posed > MORE_SPREAD * neutral]
    if len(others) + len(swapped) < RULE * len(spreads) or len(swapped) > len(others):
        return [], set()  # the method's neutral meshes are not steadier than its posed ones
    cases = [
        Case(
            f"{person:03d}",
            f"The neutral meshes of {person:03d} differ from each other"
            f" {spreads[person][1] / spreads[person][0]:.1f} times as much as the posed ones, unlike those of others.",
            {"spread_posed": spreads[person][0], "spread_neutral": spreads[person][1]},
        )
        for person in sorted(swapped)
    ]
    return told("swapped_subtasks", cases, len(spreads)), swapped


def find_swapped_images(
    members: Sequence[MeshSignal], people: NDArray[np.int64], kinds: NDArray[np.str_], between: Array
) -> list[Case]:
    """Images whose posed mesh is what the person's neutral meshes are like, and whose neutral mesh is not."""
    cases = []
    for person in np.unique(people):
        neutral = np.flatnonzero((people == person) & (kinds == "neutral"))
        posed = {members[i].slot.folder: i for i in np.flatnonzero((people == person) & (kinds == "posed"))}
        if len(neutral) < FEW:
            continue
        own = {i: float(np.median(between[i, neutral[neutral != i]])) for i in neutral}
        usual = float(np.median(list(own.values())))
        for i in neutral:
            j = posed.get(members[i].slot.folder)
            if j is None:
                continue
            other = float(np.median(between[j, neutral[neutral != i]]))
            if own[i] > 3 * usual and other < 1.5 * usual:
                message = (
                    "It is less like the person's other neutral meshes than mesh_posed.ply beside it:"
                    " the two seem to be swapped."
                )
                evidence = {"neutral_to_others": own[i], "posed_to_others": other, "usual": usual}
                cases.append(Case(members[i].slot.path, message, evidence))
    return cases


def find_strange_people(
    members: Sequence[MeshSignal], people: NDArray[np.int64], of_kind: Bools, between: Array
) -> list[Case]:
    """Meshes of one subtask that are clearly nearer to another person's than to those of their own.

    Only if the method tells people apart: nearly every mesh must be nearest to its own person's.
    """
    groups = {int(p): np.flatnonzero((people == p) & of_kind) for p in np.unique(people)}
    groups = {person: group for person, group in groups.items() if len(group) >= FEW}
    if len(groups) < FEW:
        return []
    chosen = np.concatenate(list(groups.values()))
    own_person = people[chosen]
    names = np.array(list(groups))
    medians = np.empty((len(chosen), len(groups)))
    for column, (person, group) in enumerate(groups.items()):
        block = between[np.ix_(chosen, group)].copy()
        block[chosen[:, None] == group] = np.nan  # not its distance from itself
        medians[:, column] = np.nanmedian(block, axis=1)
    is_own = own_person[:, None] == names
    own = medians[is_own]
    others = np.where(is_own, np.inf, medians)
    nearest, ratio = names[others.argmin(axis=1)], own / others.min(axis=1)
    if (ratio < 1).mean() < RULE:
        return []
    return [
        Case(
            members[i].slot.path,
            f"It is {ratio[k]:.1f} times as near to the meshes of {nearest[k]:03d} as to the others of"
            f" {own_person[k]:03d}.",
            {"distance": float(own[k]), "distance_to_other": float(others[k].min()), "other": int(nearest[k])},
        )
        for k, i in enumerate(chosen)
        if ratio[k] > NEARER
    ]


# Landmarks


def _with_landmarks(signals: Sequence[MeshSignal]) -> list[tuple[MeshSignal, LandmarkSignal]]:
    return [(signal, signal.landmarks) for signal in signals if signal.landmarks is not None]


def find_moved_landmarks(family: Sequence[MeshSignal], shapes: Shapes) -> list[Case]:
    """Landmarks that are elsewhere on their mesh than those of the other meshes of its topology."""
    chosen = [i for i, signal in enumerate(family) if signal.landmarks is not None]
    if len(chosen) < ENOUGH:
        return []
    placed = np.stack(
        [
            place(shapes, i, (landmarks.points - family[i].center) / family[i].size)
            for i in chosen
            if (landmarks := family[i].landmarks) is not None
        ]
    )
    usual = np.median(placed, axis=0)
    eye_distance = float(np.linalg.norm(usual[3] - usual[0]))
    # Those that an expression hardly moves.
    away = np.linalg.norm(placed - usual, axis=2)[:, :5].max(axis=1) / max(eye_distance, 1e-9)
    limit = max(MOVED, 6 * float(np.median(away)))
    return [
        Case(
            family[i].slot.landmarks_path,
            f"Landmarks are up to {away[k]:.2g} eye distances from where they are on the other meshes.",
            {"eye_distances": float(away[k]), "usual": float(np.median(away)), "limit": limit},
        )
        for k, i in enumerate(chosen)
        if away[k] > limit
    ]


def find_foreign_landmarks(signals: Sequence[MeshSignal]) -> list[Finding]:
    """Landmarks that belong to another mesh: equal to those of another one, or off the surface unlike the rest."""
    pairs = _with_landmarks(signals)
    cases = {}
    first: dict[bytes, MeshSignal] = {}
    for signal, landmarks in pairs:
        other = first.setdefault(landmarks.digest, signal)
        if other.vertices_digest != signal.vertices_digest:
            message = f"It equals {other.slot.landmarks_path}, but the meshes differ."
            cases[signal.slot.landmarks_path] = Case(signal.slot.landmarks_path, message, {"equal": 2})
    off = np.array([landmarks.distances.max() / landmarks.eye_distance for _, landmarks in pairs])
    if len(pairs) >= ENOUGH:
        usual = float(np.median(off))
        limit = max(OFF_SURFACE, 3 * float(np.quantile(off, 0.8)))
        if np.mean(off < ON_SURFACE) >= RULE:
            limit = SLIPPED
        for (signal, landmarks), value in zip(pairs, off, strict=True):
            if value > limit:
                which = int(landmarks.distances.argmax()) + 1
                message = (
                    f"Landmark {which} is {value:.2g} eye distances from the mesh's surface, {usual:.1g} is usual"
                    " in this submission."
                )
                evidence = {"eye_distances": float(value), "usual": usual, "limit": limit}
                cases.setdefault(signal.slot.landmarks_path, Case(signal.slot.landmarks_path, message, evidence))
    return told("foreign_landmarks", list(cases.values()), len(pairs))

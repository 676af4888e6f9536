"""Whose mesh is it, and is it posed or neutral? By the distances (N, N) between all meshes.

A person's meshes are nearer to each other than to those of others, and the neutral ones nearest of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MESH_KINDS
from nersemble_cli.core.submission.compare.cases import FEW, RULE, Case
from nersemble_cli.core.submission.compare.mesh_signals import MeshSignal
from nersemble_cli.core.submission.compare.shapes import SAME_SHAPE

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int64]

MORE_SPREAD = 1.4  # times as far from each other
NEARER = 2.0  # times as near to another person
APART = 2.5  # times as far from each other as one's own meshes are: people who do not look alike


def find_swapped(members: Sequence[MeshSignal], between: Array) -> list[Case]:
    """Posed and neutral meshes that are swapped: of all people, of one, or of one image."""
    people, kinds = _labels(members)
    return find_swapped_subtasks(people, kinds, between) or find_swapped_images(members, people, kinds, between)


def find_strange(members: Sequence[MeshSignal], between: Array) -> list[Case]:
    """Meshes of another person, of either subtask."""
    people, kinds = _labels(members)
    return [case for kind in MESH_KINDS for case in _find_strange(members, people, kinds == kind, between)]


def _labels(members: Sequence[MeshSignal]) -> tuple[Integers, NDArray[np.str_]]:
    people = np.array([signal.slot.participant for signal in members])
    return people, np.array([signal.slot.kind for signal in members])


def _spread(between: Array, chosen: Integers) -> float:
    """The median distance of the chosen from each other."""
    rows, columns = np.triu_indices(len(chosen), 1)
    return float(np.median(between[chosen[rows], chosen[columns]]))


def find_swapped_subtasks(people: Integers, kinds: NDArray[np.str_], between: Array) -> list[Case]:
    """People whose neutral meshes differ more from each other than their posed ones."""
    spreads: dict[int, tuple[float, float]] = {}
    for person in np.unique(people):
        posed, neutral = (np.flatnonzero((people == person) & (kinds == kind)) for kind in MESH_KINDS)
        if min(len(posed), len(neutral)) >= FEW:
            spread = _spread(between, posed), _spread(between, neutral)
            if min(spread) > SAME_SHAPE:
                spreads[int(person)] = spread
    swapped = {person for person, (posed, neutral) in spreads.items() if neutral > MORE_SPREAD * posed}
    if len(spreads) < FEW or not swapped:
        return []
    median_posed, median_neutral = (float(np.median(values)) for values in zip(*spreads.values(), strict=True))
    if len(swapped) >= RULE * len(spreads):
        message = (
            f"Neutral meshes of a person vary {median_neutral / median_posed:.1f} times as much as posed ones, in"
            f" {len(swapped)} of {len(spreads)} people: posed and neutral seem to be swapped."
        )
        evidence = {"spread_posed": median_posed, "spread_neutral": median_neutral, "people": len(swapped)}
        return [Case(None, message, evidence)]
    others = [person for person, (posed, neutral) in spreads.items() if posed > MORE_SPREAD * neutral]
    if len(others) + len(swapped) < RULE * len(spreads) or len(swapped) > len(others):
        return []  # the method's neutral meshes are not steadier than its posed ones
    return [
        Case(
            f"{person:03d}",
            f"Its neutral meshes differ {spreads[person][1] / spreads[person][0]:.1f} times as much as"
            " the posed ones, unlike those of other people.",
            {"spread_posed": spreads[person][0], "spread_neutral": spreads[person][1]},
        )
        for person in sorted(swapped)
    ]


def find_swapped_images(
    members: Sequence[MeshSignal], people: Integers, kinds: NDArray[np.str_], between: Array
) -> list[Case]:
    """Images whose posed mesh is what the person's neutral meshes are like, and whose neutral mesh is not."""
    cases = []
    for person in np.unique(people):
        posed_of, neutral = (np.flatnonzero((people == person) & (kinds == kind)) for kind in MESH_KINDS)
        posed = {members[i].slot.folder: i for i in map(int, posed_of)}
        if len(neutral) < FEW:
            continue
        own = {i: float(np.median(between[i, neutral[neutral != i]])) for i in map(int, neutral)}
        usual = float(np.median(list(own.values())))
        for i in map(int, neutral):
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
                cases.append(Case(members[i].slot.path, message, evidence, [members[j].slot.path]))
    return cases


def _find_strange(members: Sequence[MeshSignal], people: Integers, of_kind: Bools, between: Array) -> list[Case]:
    """Meshes of one subtask that are clearly nearer to another person's than to those of their own.

    Only if the method tells people apart: nearly every mesh must be nearest to its own person's, and the two
    people must not look alike.
    """
    groups = {int(p): np.flatnonzero((people == p) & of_kind) for p in np.unique(people)}
    groups = {person: group for person, group in groups.items() if len(group) >= FEW}
    if len(groups) < FEW:
        return []
    names = np.array(list(groups))
    chosen = np.concatenate(list(groups.values()))
    person = np.repeat(np.arange(len(groups)), [len(group) for group in groups.values()])
    medians = np.empty((len(chosen), len(groups)))  # the distance of each mesh from each person's others
    for column, group in enumerate(groups.values()):
        block = between[np.ix_(chosen, group)].copy()
        block[chosen[:, None] == group] = np.nan
        medians[:, column] = np.nanmedian(block, axis=1)
    typical = np.stack([np.median(medians[person == p], axis=0) for p in range(len(groups))])
    rows = np.arange(len(chosen))
    own = medians[rows, person]
    others = medians.copy()
    others[rows, person] = np.inf
    nearest = others.argmin(axis=1)
    other = others[rows, nearest]
    if (own < other).mean() < RULE:
        return []
    spread = np.diag(typical)
    apart = typical[person, nearest] > APART * np.maximum(spread[person], spread[nearest])
    strange = apart & (own > NEARER * np.maximum(other, SAME_SHAPE))
    return [
        Case(
            members[chosen[k]].slot.path,
            f"It is {own[k] / max(other[k], SAME_SHAPE):.1f} times as near to the meshes of"
            f" {names[nearest[k]]:03d} as to the others of {names[person[k]]:03d}.",
            {"distance": float(own[k]), "distance_to_other": float(other[k]), "other": int(names[nearest[k]])},
        )
        for k in np.flatnonzero(strange)
    ]

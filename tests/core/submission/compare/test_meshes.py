"""The meshes of a submission compared with each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import SVFR, MeshSlot
from nersemble_cli.core.formats.ply import Mesh
from nersemble_cli.core.submission.compare.mesh_signals import MeshSignal, measure_mesh
from nersemble_cli.core.submission.compare.meshes import ENOUGH, Outcome, compare_meshes
from nersemble_cli.core.submission.compare.shapes import align, shape_distances
from tests import made_up
from tests.conftest import Run

Array = NDArray[np.float64]
N_VERTICES = 400
PEOPLE = SVFR.participants[:7]
SLOTS = [
    slot for slot in SVFR.slots if slot.participant in PEOPLE and slot.key in SVFR.image_keys[slot.participant][:8]
]
FACES = made_up.face_triangles(N_VERTICES).astype(np.int64)
FIRST = SLOTS[0]
FORWARD = np.array([0, 0, 0.006])
Meshes = dict[MeshSlot, Mesh]


def rotation(rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def waves(rng: np.random.Generator) -> Array:
    """A smooth deformation (V, 3) of size 1."""
    points = made_up.face_vertices(N_VERTICES)
    return np.sin(points @ rng.normal(scale=25, size=(3, 3)) + rng.uniform(0, 6, 3))


def people() -> Meshes:
    """Meshes as a good method makes them: each person has a shape, and each posed mesh an expression."""
    meshes = {}
    base = made_up.face_vertices(N_VERTICES).astype(np.float64)
    for number, slot in enumerate(SLOTS):
        image = np.random.default_rng(number)
        person = np.random.default_rng(slot.participant)
        vertices = base + sum(0.004 * waves(person) for _ in range(3)) + 0.0006 * waves(image)
        if slot.kind == "posed":
            vertices = vertices + 0.003 * image.normal() * waves(np.random.default_rng(5))
        meshes[slot] = Mesh(vertices, FACES)
    return meshes


GOOD = people()


def outcome(meshes: Meshes, landmarks: Callable[[MeshSlot, Mesh], Array] | None = None) -> Outcome:
    signals = []
    for slot, mesh in meshes.items():
        signal = measure_mesh(slot, mesh, landmarks(slot, mesh) if landmarks else None)
        assert isinstance(signal, MeshSignal)
        signals.append(signal)
    return compare_meshes(signals)


def codes(found: Outcome) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.path) for finding in found.findings]


def moved(mesh: Mesh, seed: int, scale: float = 1.0) -> Mesh:
    rng = np.random.default_rng(seed)
    return Mesh(scale * mesh.vertices @ rotation(rng).T + rng.normal(size=3), mesh.faces)


@pytest.mark.slow
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(max_examples=5, deadline=None)
def test_good_meshes_are_good_in_any_space_and_unit(seed: int, scale: float) -> None:
    assert outcome({s: moved(m, seed + i, scale) for i, (s, m) in enumerate(GOOD.items())}) == ([], [])


def other(slot: MeshSlot) -> MeshSlot:
    """The other mesh of the same image."""
    return MeshSlot(slot.participant, slot.key, "neutral" if slot.kind == "posed" else "posed")


def of_another_person(kind: str) -> MeshSlot:
    return next(slot for slot in SLOTS if slot.participant == PEOPLE[3] and slot.kind == kind)


def permuted(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices[np.random.default_rng(0).permutation(N_VERTICES)], mesh.faces)


def spiked(mesh: Mesh) -> Mesh:
    vertices = mesh.vertices.copy()
    vertices[200] *= 40
    return Mesh(vertices, mesh.faces)


MISTAKES: dict[str, tuple[str, Callable[[Meshes], Meshes]]] = {
    "equal": ("duplicate_mesh", lambda m: {FIRST: m[next(s for s in SLOTS[2:] if s.kind == FIRST.kind)]}),
    "equal and moved": ("duplicate_mesh", lambda m: {FIRST: moved(m[other(FIRST)], 3, 1000)}),
    "of another person": (
        "wrong_participant",
        lambda m: {FIRST: Mesh(m[of_another_person(FIRST.kind)].vertices + 0.0003 * waves(np.random.default_rng(9)), FACES)},
    ),
    "inside out": ("inside_out_mesh", lambda m: {FIRST: Mesh(m[FIRST].vertices, FACES[:, ::-1])}),
    "mirrored": ("mirrored_mesh", lambda m: {FIRST: Mesh(m[FIRST].vertices * [-1, 1, 1], FACES)}),
    "other vertices": ("incomplete_mesh", lambda m: {FIRST: permuted(m[FIRST])}),
    "a spike": ("incomplete_mesh", lambda m: {FIRST: spiked(m[FIRST])}),
    "flat": ("incomplete_mesh", lambda m: {FIRST: Mesh(m[FIRST].vertices * [1, 1, 1e-4], FACES)}),
    "faces that lack": ("incomplete_mesh", lambda m: {FIRST: Mesh(m[FIRST].vertices, FACES[:-60])}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_mistake_in_one_file_is_told_once(mistake: str, unit: float) -> None:
    code, plant = MISTAKES[mistake]
    changed = plant(GOOD)
    found = outcome({s: moved(changed.get(s, m), i, unit) for i, (s, m) in enumerate(GOOD.items())})
    assert codes(found) == [(code, FIRST.path)]
    assert found.findings[0].evidence
    assert found.notes == []


def test_a_part_that_is_elsewhere_is_told() -> None:
    two_parts = np.concatenate(
        [FACES, [[N_VERTICES + i, N_VERTICES + i + 1, N_VERTICES + i + 2] for i in range(18)]]
    )
    apart = {
        s: Mesh(np.concatenate([m.vertices, m.vertices[:20] + 3 * FORWARD]), two_parts) for s, m in GOOD.items()
    }
    assert outcome(apart).findings == []
    vertices = apart[FIRST].vertices.copy()
    vertices[N_VERTICES:] += [0.3, 0, 0]
    assert codes(outcome(apart | {FIRST: Mesh(vertices, two_parts)})) == [("incomplete_mesh", FIRST.path)]


def fine(cells: int) -> Mesh:
    """A surface whose topology is that of no other mesh."""
    n = 500 + 7 * cells
    return Mesh(made_up.face_vertices(n).astype(np.float64), made_up.face_triangles(n).astype(np.int64))


def test_meshes_of_any_topology_are_compared_by_their_edges() -> None:
    meshes = {slot: fine(i) for i, slot in enumerate(SLOTS[:24])}
    assert outcome(meshes) == ([], [])
    copy = meshes | {FIRST: moved(fine(7), 5, 1000)}
    assert codes(outcome(copy)) == [("duplicate_mesh", FIRST.path)]
    vertices = meshes[FIRST].vertices.copy()
    vertices[::20] += 0.1
    assert codes(outcome(meshes | {FIRST: Mesh(vertices, meshes[FIRST].faces)})) == [
        ("incomplete_mesh", FIRST.path)
    ]


def test_equal_posed_and_neutral_meshes_are_one_finding() -> None:
    (finding,) = outcome({s: GOOD[s if s.kind == "posed" else other(s)] for s in SLOTS}).findings
    n_images = len(SLOTS) // 2
    assert (finding.code, finding.path, finding.evidence) == (
        "duplicate_mesh",
        None,
        {"equal": n_images, "of": n_images},
    )


def test_one_mesh_for_all_images_is_one_finding() -> None:
    (finding,) = outcome(dict.fromkeys(SLOTS, GOOD[FIRST])).findings
    assert (finding.code, finding.evidence) == ("duplicate_mesh", {"equal": len(SLOTS), "of": len(SLOTS)})


def test_one_neutral_mesh_per_person_is_a_note() -> None:
    first = {slot.participant: slot for slot in reversed(SLOTS) if slot.kind == "neutral"}
    found = outcome({s: GOOD[s if s.kind == "posed" else first[s.participant]] for s in SLOTS})
    assert found.findings == []
    assert [note.partition(" have one neutral mesh")[0] for note in found.notes] == [f"{len(PEOPLE)} people"]


@pytest.mark.slow
def test_swapped_subtasks_are_told_of_all_people_of_one_and_of_one_image() -> None:
    swapped = {slot: GOOD[other(slot)] for slot in SLOTS}
    assert codes(outcome(swapped)) == [("swapped_subtasks", None)]
    person = {slot: swapped[slot] if slot.participant == PEOPLE[2] else GOOD[slot] for slot in SLOTS}
    assert codes(outcome(person)) == [("swapped_subtasks", f"{PEOPLE[2]:03d}")]
    # The image with the strongest expression: of one without an expression, nobody can tell.
    change = {s: np.square(GOOD[s].vertices - GOOD[other(s)].vertices).sum() for s in SLOTS if s.kind == "neutral"}
    strongest = max(change, key=lambda slot: change[slot])
    image = {slot: swapped[slot] if slot.folder == strongest.folder else GOOD[slot] for slot in SLOTS}
    assert codes(outcome(image)) == [("swapped_subtasks", strongest.path)]


def test_method_that_does_not_tell_people_apart_is_left_alone() -> None:
    noise = {
        s: Mesh(GOOD[FIRST].vertices + 0.003 * waves(np.random.default_rng(i)), FACES) for i, s in enumerate(SLOTS)
    }
    assert outcome(noise).findings == []


def test_what_all_meshes_have_in_common_is_no_finding() -> None:
    inside_out = outcome({slot: Mesh(mesh.vertices, FACES[:, ::-1]) for slot, mesh in GOOD.items()})
    assert inside_out.findings == []
    assert "look inwards" in inside_out.notes[0]
    mirrored = outcome({slot: Mesh(mesh.vertices * [-1, 1, 1], FACES[:, ::-1]) for slot, mesh in GOOD.items()})
    assert mirrored == ([], [])


def test_vertices_in_another_order_everywhere_are_one_finding() -> None:
    (finding,) = outcome({slot: permuted(mesh) for slot, mesh in GOOD.items()}).findings
    assert (finding.code, finding.path, finding.evidence["files"]) == ("incomplete_mesh", None, len(SLOTS))


def test_a_few_meshes_are_not_compared_with_each_other() -> None:
    few = dict(list(GOOD.items())[: ENOUGH - 1])
    assert outcome(few | {FIRST: Mesh(GOOD[FIRST].vertices * [-1, 1, 1], FACES)}) == ([], [])


def on_mesh(slot: MeshSlot, mesh: Mesh) -> Array:
    """Seven vertices of the mesh, near the places of NoW."""
    base = made_up.face_vertices(N_VERTICES)
    return mesh.vertices[[np.linalg.norm(base - point, axis=1).argmin() for point in made_up.now_landmarks()]]


def test_landmarks_picked_on_the_mesh_are_right() -> None:
    assert outcome(GOOD, on_mesh) == ([], [])


@pytest.mark.slow
def test_landmarks_of_another_mesh_are_told_by_the_surface_and_by_equality() -> None:
    alike = next(slot for slot in SLOTS[2:] if slot.kind == FIRST.kind)
    for changed in (on_mesh(alike, GOOD[alike]), on_mesh(FIRST, GOOD[FIRST]) + FORWARD):
        found = outcome(GOOD, lambda slot, mesh, new=changed: new if slot == FIRST else on_mesh(slot, mesh))  # type: ignore[misc]
        assert codes(found) == [("foreign_landmarks", FIRST.landmarks_path)]


def test_landmarks_that_are_off_everywhere_are_one_finding() -> None:
    found = outcome(GOOD, lambda slot, mesh: on_mesh(slot, mesh) + 2.5 * FORWARD)
    assert codes(found) == [("foreign_landmarks", None)]


def test_landmarks_elsewhere_on_the_surface_are_told() -> None:
    def shuffled(slot: MeshSlot, mesh: Mesh) -> Array:
        return on_mesh(slot, mesh)[[1, 2, 3, 0, 4, 5, 6]] if slot == FIRST else on_mesh(slot, mesh)

    assert codes(outcome(GOOD, shuffled)) == [("foreign_landmarks", FIRST.landmarks_path)]


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_distances_of_moved_copies_are_zero_and_others_are_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, stranger = rng.normal(size=(2, 30, 3))
    copies = [rng.uniform(0.1, 10) * shape @ rotation(rng).T + rng.normal(size=3) for _ in range(4)]
    between = shape_distances(align(np.stack([*copies, stranger])))
    assert between[:4, :4] == pytest.approx(np.zeros((4, 4)), abs=1e-6)
    assert (between[:4, 4] > 0.05).all()


@pytest.mark.slow
def test_validate_tells_of_it_with_evidence(run: Run, tmp_path: Path) -> None:
    files = made_up.svfr("neutral")
    first, second = list(files)[:2]
    path = made_up.write_zip(tmp_path / "svfr.zip", files | {first: files[second]})
    report = json.loads(run("validate", path, "--json").out)
    assert (report["valid"], report["compared"], report["notes"]) == (True, "full", [])
    (finding,) = report["findings"]
    assert (finding["code"], finding["severity"], finding["path"]) == ("duplicate_mesh", "warning", first)
    assert finding["evidence"] == {"equal": 2, "of": len(files)}
    plain = json.loads(run("validate", path, "--json", "--no-compare").out)
    assert (plain["findings"], plain["compared"]) == ([], "skipped")

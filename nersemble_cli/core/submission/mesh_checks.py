"""What is wrong with one mesh of an SVFR submission, and with its landmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import FLAME_FACE_COUNT, FLAME_VERTEX_COUNT, MeshSlot
from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.npy import read_npy, read_npy_header
from nersemble_cli.core.formats.ply import Mesh, read_ply, read_ply_header
from nersemble_cli.core.submission.findings import ERROR, Finding, MeshReport, damaged_file
from nersemble_cli.core.submission.members import UNREADABLE, Member
from nersemble_cli.core.submission.surface import lengths, surface_distances
from nersemble_cli.core.threads import off_main_thread

MANY_ZEROS = 0.01
LARGEST_COORDINATE = 1e100
LANDMARK_SHAPE = (7, 3)
# How to get NoW's landmarks from others: of the 68 of iBUG 300-W (the 51 leave out the first 17, the contour) the
# corners of the eyes, the point below the nose, and the corners of the mouth.
_SEVEN_OF = {
    (68, 3): "landmarks[[36, 39, 42, 45, 33, 48, 54]]",
    (51, 3): "landmarks[[19, 22, 25, 28, 16, 31, 37]]",
    (3, 7): "landmarks.T",
    (1, 7, 3): "landmarks[0]",
}
# A landmark farther from the surface than this part of the mesh's diagonal is not on it.
OFF_MESH = 0.05
# What no face exceeds, whatever its expression, in distances of the outer eye corners: how far the mouth is below
# the eyes, and the widths of an eye and of the mouth. Adults with closed mouths have 0.8, 0.33 and 0.6.
MOUTH_BELOW = (0.35, 3.0)
EYE_WIDTH = (0.03, 0.7)
MOUTH_WIDTH = (0.05, 2.5)
# How far the point below the nose must be behind the plane of eyes and mouth, in eye distances, to be mirrored.
MIRRORED = 0.02
ROUNDING = 1e-12  # of float64, relative to the largest coordinate: points so near are at the same place
DEGENERATE = 1e-6  # relative; rounding leaves more than zero of what has no extent
MERGE_DIGITS = 8  # decimals, to which the official reader (trimesh) merges vertices
# FLAME exports that lost vertices have nearly as many as FLAME.
NEARLY_FLAME = range(FLAME_VERTEX_COUNT - 250, FLAME_VERTEX_COUNT)

MeshObserver = Callable[[Mesh, NDArray[np.float64] | None], None]


def check_mesh(
    slot: MeshSlot,
    mesh: Member,
    landmarks: Member | None,
    *,
    parse: bool = True,
    on_mesh: MeshObserver | None = None,
) -> MeshReport:
    """Checks a mesh and its landmarks; with `parse` of False only their headers. Raises nothing.

    `on_mesh(mesh, landmarks)` sees them if the mesh could be read.
    """
    findings: list[Finding] = []
    try:
        with mesh.open() as file:
            header = read_ply_header(file)
            geometry = None
            if parse:
                file.seek(0)
                geometry = read_ply(file.read())
    except InvalidInputError as error:
        findings.append(
            Finding("unreadable_mesh", mesh.path, f"The file {error.message}.", "a PLY file", error.message)
        )
        return MeshReport(mesh.path, has_landmarks=landmarks is not None, findings=tuple(findings))
    except UNREADABLE as error:
        findings.append(damaged_file(mesh.path, error))
        return MeshReport(mesh.path, has_landmarks=landmarks is not None, findings=tuple(findings))
    n_vertices, n_faces = header.num_vertices, header.num_faces
    if geometry is not None:
        n_vertices, n_faces = len(geometry.vertices), len(geometry.faces)
    if not n_vertices or not n_faces:
        message = f"It has {n_vertices} vertices and {n_faces} faces."
        findings.append(Finding("empty_mesh", mesh.path, message, "vertices and faces", [n_vertices, n_faces]))
    elif geometry is not None:
        findings += check_geometry(mesh.path, geometry, has_landmarks=landmarks is not None)
    findings += check_topology(slot, n_vertices, n_faces, landmarks is not None)
    points = None
    if landmarks is not None:
        points, flaws = _check_landmark_file(landmarks, geometry, parse)
        findings += flaws
    if on_mesh is not None and geometry is not None:
        on_mesh(geometry, points)
    return MeshReport(mesh.path, n_vertices, n_faces, landmarks is not None, tuple(findings))


def check_topology(slot: MeshSlot, n_vertices: int, n_faces: int, has_landmarks: bool) -> list[Finding]:
    """Whether a mesh that is not FLAME has landmarks, and whether it should have been FLAME."""
    if has_landmarks or not n_vertices or n_vertices == FLAME_VERTEX_COUNT:
        return []
    findings = [
        Finding(
            "missing_landmarks",
            slot.landmarks_path,
            f"mesh_{slot.kind}.ply has {n_vertices} vertices, not FLAME's {FLAME_VERTEX_COUNT}, "
            f"and no landmarks_{slot.kind}.npy beside it.",
            expected=f"landmarks_{slot.kind}.npy or {FLAME_VERTEX_COUNT} vertices",
            actual=n_vertices,
        )
    ]
    if n_faces == FLAME_FACE_COUNT or n_vertices in NEARLY_FLAME:
        findings.append(
            Finding(
                "lost_vertices",
                slot.path,
                f"It looks like a FLAME mesh that lost vertices: {n_vertices} are left.",
                expected=FLAME_VERTEX_COUNT,
                actual=n_vertices,
                hint="trimesh merges vertices: load and export with process=False.",
            )
        )
    return findings


def check_geometry(path: str, mesh: Mesh, has_landmarks: bool) -> list[Finding]:
    """Whether vertices are finite and faces point at them, and what the official reader would make of it."""
    findings = []
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~(np.abs(mesh.vertices) < LARGEST_COORDINATE).all(axis=1))
    if len(bad):
        message = f"{len(bad)} of {len(mesh.vertices)} vertices are NaN or infinite, the first is {bad[0]}."
        findings.append(Finding("non_finite_vertices", path, message, expected=0, actual=len(bad)))
    outside = (mesh.faces < 0) | (mesh.faces >= len(mesh.vertices))
    if outside.any():
        worst = int(mesh.faces[outside][0])
        message = f"{int(outside.any(axis=1).sum())} faces point at vertices that are not there, such as {worst}."
        expected = f"0 to {len(mesh.vertices) - 1}"
        findings.append(Finding("face_index_out_of_range", path, message, expected=expected, actual=worst))
    if mesh.is_mixed:
        message = "It mixes triangles with larger faces in a binary file, which the server's reader cannot read."
        findings.append(Finding("non_triangle_faces", path, message, 3, "more", severity=ERROR))
    elif mesh.has_polygons:
        findings.append(Finding("non_triangle_faces", path, "It has faces of more than three corners.", 3, "more"))
    zeros = int(np.count_nonzero(~mesh.vertices.any(axis=1)))
    if zeros > MANY_ZEROS * len(mesh.vertices):
        message = f"{zeros} of {len(mesh.vertices)} vertices are exactly (0, 0, 0)."
        findings.append(Finding("zero_vertices", path, message, expected=0, actual=zeros))
    if len(mesh.vertices) and not np.ptp(mesh.vertices, axis=0).any():
        message = "All of its vertices are at the same place."
        findings.append(Finding("incomplete_mesh", path, message, expected="a surface", actual=0, severity=ERROR))
    is_sound = not len(bad) and not outside.any()
    if is_sound and not has_landmarks and mesh.n_seam_vertices and len(mesh.vertices) == FLAME_VERTEX_COUNT:
        message = (
            f"It has texture coordinates: the server's reader splits vertices at the texture's seams, counts"
            f" {FLAME_VERTEX_COUNT + mesh.n_seam_vertices} and does not take it for FLAME."
        )
        findings.append(
            Finding("lost_vertices", path, message, expected=FLAME_VERTEX_COUNT,
                    actual=FLAME_VERTEX_COUNT + mesh.n_seam_vertices,
                    hint="Pack it with nersemble pack, which leaves the texture out, or add (7, 3) landmarks.")
        )  # fmt: skip
    elif is_sound and not has_landmarks and len(mesh.vertices) == FLAME_VERTEX_COUNT:
        # The official reader merges vertices that coincide and drops those that no face uses; what is left
        # decides whether it takes the mesh for FLAME.
        n_merged = count_coincident(mesh.vertices)
        n_unused = int((np.bincount(mesh.faces.ravel(), minlength=len(mesh.vertices)) == 0).sum())
        if n_merged or n_unused:
            left = len(mesh.vertices) - max(n_merged, n_unused)
            message = (
                f"The server's reader merges coinciding vertices ({n_merged} here) and drops unused ones "
                f"({n_unused} here), and then does not take it for FLAME: about {left} are left."
            )
            findings.append(
                Finding("lost_vertices", path, message, expected=FLAME_VERTEX_COUNT, actual=left,
                        hint="Add the (7, 3) landmark file, or move coinciding vertices apart.")
            )  # fmt: skip
    return findings


def count_coincident(vertices: NDArray[np.float64]) -> int:
    """How many of the vertices (V, 3) lie at the place of another one, as trimesh rounds them when it merges."""

    def count() -> int:
        from trimesh.grouping import unique_rows

        unique, _ = unique_rows(vertices, digits=MERGE_DIGITS)
        return len(vertices) - len(unique)

    return off_main_thread(count)


def _check_landmark_file(
    member: Member, mesh: Mesh | None, parse: bool
) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """The landmarks (7, 3), if they could be read, and what is wrong with them."""

    def wrong(message: str, actual: object = None, hint: str = "") -> tuple[None, list[Finding]]:
        return None, [Finding("wrong_landmarks", member.path, message, "(7, 3) numbers", actual, hint=hint)]

    try:
        with member.open() as file:
            shape, dtype = read_npy_header(file)
            if dtype.hasobject:
                return wrong("It holds pickled objects, which are never loaded.", str(dtype))
            if shape != LANDMARK_SHAPE or dtype.kind not in "fiu":
                message, hint = f"It is {dtype} of shape {shape}, expected (7, 3).", ""
                if seven := _SEVEN_OF.get(shape):
                    message += f" NoW's seven are {seven}."
                    hint = f"np.save(path, {seven}.astype('float32'))"
                return wrong(message, [str(dtype), list(shape)], hint)
            if not parse:
                return None, []
            file.seek(0)
            landmarks = np.asarray(read_npy(file.read()), dtype=np.float64)
    except InvalidInputError as error:
        return wrong(f"The file {error.message}.")
    except UNREADABLE as error:
        return None, [damaged_file(member.path, error)]
    return landmarks, check_landmarks(member.path, landmarks, mesh)


def check_landmarks(path: str, landmarks: NDArray[np.float64], mesh: Mesh | None) -> list[Finding]:
    """Whether NoW landmarks (7, 3) are finite, on the mesh (in whose space they are), and in the right order."""
    # Larger coordinates would overflow in what follows.
    bad = np.flatnonzero(~(np.abs(landmarks) < LARGEST_COORDINATE).all(axis=1))
    if len(bad):
        message = f"Landmarks {', '.join(str(i + 1) for i in bad)} are NaN, infinite or too large."
        return [Finding("non_finite_landmarks", path, message, expected="finite", actual=landmarks.tolist())]
    findings = []
    if mesh is not None and len(mesh.vertices) and np.isfinite(mesh.vertices).all():
        diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
        distances = np.array([lengths(mesh.vertices - point).min() for point in landmarks])
        if distances.max() > OFF_MESH * diagonal and _has_surface(mesh):
            # The surface may be near where vertices are far apart.
            distances = surface_distances(landmarks, mesh.vertices, mesh.faces)
        far = np.flatnonzero(distances > OFF_MESH * diagonal)
        if len(far):
            which = ", ".join(str(i + 1) for i in far)
            worst = float(distances.max())
            message = f"Landmarks {which} are up to {worst:.4g} from the mesh, whose diagonal is {diagonal:.4g}."
            limit = f"within {OFF_MESH * diagonal:.4g}"
            findings.append(Finding("landmarks_off_mesh", path, message, expected=limit, actual=worst))
    if order := _wrong_order(landmarks):
        findings.append(Finding("landmarks_mirrored", path, order, "the order of NoW", landmarks.tolist()))
    return findings


def _has_surface(mesh: Mesh) -> bool:
    return len(mesh.faces) > 0 and mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)


def _wrong_order(landmarks: NDArray[np.float64]) -> str:
    """Why the landmarks cannot be in the order of NoW, or "". No facing direction or unit is assumed.

    Seen by a viewer, the eyes' axis (1 to 4) and down (eyes to mouth) span a plane, and their cross product
    leads away from the viewer. The point below the nose must lie on the viewer's side of that plane: of a
    mirrored set it lies behind. Proportions that no face has come from other points, such as those of one eye.
    """
    eyes, nose, mouth = landmarks[:4], landmarks[4], landmarks[5:]
    right = eyes[3] - eyes[0]
    span = float(np.linalg.norm(right))
    if span <= ROUNDING * float(np.abs(landmarks).max()):
        return "The outer eye corners (1 and 4) are at the same place."
    right = right / span
    along = eyes @ right
    if not (np.diff(along) > 0).all():
        return "The eye corners 1 to 4 do not follow each other from one side to the other."
    if (mouth[1] - mouth[0]) @ right <= 0:
        return "The mouth corners (6 and 7) are in the opposite direction to the eye corners (1 to 4)."
    away = np.cross(right, mouth.mean(axis=0) - eyes.mean(axis=0))
    length = float(np.linalg.norm(away))
    if length < DEGENERATE * span * span:
        return "Eyes and mouth lie on one line."
    measures = (
        ("mouth below the eyes", [length / span], MOUTH_BELOW),
        ("width of an eye", lengths(eyes[[1, 3]] - eyes[[0, 2]]) / span, EYE_WIDTH),
        ("width of the mouth", [lengths(mouth[1] - mouth[0]) / span], MOUTH_WIDTH),
    )
    for what, values, (least, most) in measures:
        for value in values:
            if not least <= value <= most:
                return (
                    f"These are not the points of NoW: {what} {value:.2g} eye distances, at least {least:g} and at"
                    f" most {most:g} in a face."
                )
    plane = np.vstack([eyes[[0, 3]], mouth]).mean(axis=0)
    if float((nose - plane) @ away) / length > MIRRORED * span:
        return "The point below the nose (5) lies behind eyes and mouth: left and right are swapped."
    return ""

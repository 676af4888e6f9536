"""The entries of a mesh submission: the input image beside the posed and the neutral mesh with their landmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nersemble_cli.core.benchmarks import MESH_KINDS, ImageKey, MeshBenchmark, MeshSlot
from nersemble_cli.core.data.managers import SVFRDataManager
from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError, listing
from nersemble_cli.core.formats.npy import read_npy
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.scenes.build import mesh_picture
from nersemble_cli.core.scenes.display import prepare_rendering, start_probe
from nersemble_cli.core.scenes.drawing import PictureOptions, open_plotter
from nersemble_cli.core.scenes.overlay import shrink
from nersemble_cli.core.scenes.sheet.entries import Column, Entry, Film, Shot
from nersemble_cli.core.scenes.sheet.opening import Opened
from nersemble_cli.core.submission.members import UNREADABLE, Member

if TYPE_CHECKING:
    import pyvista as pv

MESH_SIZE = 360
_BACKGROUND = "white"


def mesh_entries(opened: Opened, benchmark: MeshBenchmark, folder: Path | None) -> tuple[list[Entry], list[str]]:
    """An entry for each image that has a mesh, in the order of the benchmark, and what they cannot show."""
    entries: list[Entry] = []
    unknown: list[str] = []
    without: list[int] = []
    artist = _Artist()
    begun = {slot.kind for slot in benchmark.slots if slot.path in opened.files}
    for participant, keys in sorted(benchmark.image_keys.items()):
        data = None if folder is None else SVFRDataManager(folder, participant)
        has_images = False
        for key in keys:
            slots = [MeshSlot(participant, key, kind) for kind in MESH_KINDS if kind in begun]
            names = tuple(name for slot in slots for name in slot.files)
            if not any(slot.path in opened.files for slot in slots):
                continue
            image = _image_column(data, key)
            has_images |= image.film is not None
            entries.append(
                Entry(
                    f"{participant:03d} · {key.to_key()}",
                    f"{participant}",
                    names,
                    (image, *(_mesh_column(opened, slot, artist) for slot in slots)),
                    [finding for finding in opened.report.findings if finding.path in names],
                    _facts(opened, slots),
                )
            )
        if not has_images:
            without.append(participant)
    if entries and without:
        named = f" -f {folder}" if folder is not None else ""
        unknown.append(
            f"The input images of {listing(list(map(str, without)))} are not here. Fetch them with: nersemble"
            f" download {benchmark.name} -p {','.join(map(str, without))}{named}"
        )
    if artist.problem:
        unknown.append(f"No mesh is drawn. {artist.problem}")
    return entries, unknown


def _facts(opened: Opened, slots: Sequence[MeshSlot]) -> str:
    meshes = [(slot.kind, opened.report.meshes.get(slot.path)) for slot in slots]
    return " · ".join(
        f"{kind}: {mesh.num_vertices:,} vertices"
        for kind, mesh in meshes
        if mesh is not None and mesh.num_vertices is not None
    )


def _image_column(data: SVFRDataManager | None, key: ImageKey) -> Column:
    caption = "input image"
    if data is None or not Path(data.get_asset_folder(key)).is_dir():
        return _single(caption, "input", problem="not here")

    def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        yield Shot(0, shrink(data.load_image(key), longest))

    return _single(caption, "input", film)


def _single(caption: str, short: str, film: Film | None = None, problem: str = "") -> Column:
    return Column("", caption, short, film, moves=False, plays=False, problem=problem)


def _mesh_column(opened: Opened, slot: MeshSlot, artist: _Artist) -> Column:
    member = opened.files.get(slot.path)
    landmarks = opened.files.get(slot.landmarks_path)
    if member is None:
        return _single(slot.kind, slot.kind, problem="missing")
    if artist.problem:
        return _single(slot.kind, slot.kind, problem="not drawn")
    caption = f"{slot.kind}, with its landmarks" if landmarks is not None else slot.kind
    return _single(caption, slot.kind, artist.film(member, landmarks))


class _Artist:
    """Draws meshes with one plotter, in one thread. `problem` says why it cannot."""

    def __init__(self) -> None:
        start_probe()
        self.problem = ""
        self._plotter: pv.Plotter | None = None
        self._options = PictureOptions(MESH_SIZE, MESH_SIZE, _BACKGROUND, off_screen=True)
        try:
            prepare_rendering()
        except UsageError as error:
            self.problem = f"{error.message} {error.hint}"

    def film(self, member: Member, landmarks: Member | None) -> Film:
        def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
            try:
                mesh = read_ply(_read(member))
            except InvalidInputError as error:
                raise InvalidInputError(f"The file {error.message}.") from error
            points = None
            if landmarks is not None:
                try:
                    points = read_npy(_read(landmarks))
                except NersembleError:  # the validator says so; the mesh can be seen without
                    points = None
            if points is not None and (points.shape != (7, 3) or points.dtype.kind not in "fiu"):
                points = None
            if self._plotter is None:
                self._plotter = open_plotter(self._options)
            picture = mesh_picture(self._plotter, mesh.vertices, mesh.faces, points, self._options)
            yield Shot(0, shrink(picture, longest))

        return film


def _read(member: Member) -> bytes:
    try:
        with member.open() as file:
            return file.read()
    except UNREADABLE as error:
        raise InvalidInputError(f"cannot be read: {error}") from error

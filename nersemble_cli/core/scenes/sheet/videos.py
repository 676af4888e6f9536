"""The entries of a video submission: each render beside the nearest training views (NVS), or beside the FLAME
tracking and a picture of the person (Mono)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MONO, VideoBenchmark, VideoSlot
from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import project_points, rescale_intrinsics
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager, open_data
from nersemble_cli.core.errors import NersembleError, listing
from nersemble_cli.core.scenes.geometry import head_ellipsoid, nearest_cameras
from nersemble_cli.core.scenes.overlay import convex_outline, draw_overlay, mesh_silhouette, silhouette
from nersemble_cli.core.scenes.sheet.entries import Column, Entry, Film, Image, Outline, Shot
from nersemble_cli.core.scenes.sheet.opening import Opened, film_of_file
from nersemble_cli.core.submission.findings import Finding, VideoReport

VideoData = NVSDataManager | MonoFlameAvatarDataManager
T = TypeVar("T")
Outliner = Callable[[Shot], Iterable[Outline]]
N_NEAREST = 2
_OPACITY = 0.6  # of FLAME over the render


def video_entries(
    opened: Opened, benchmark: VideoBenchmark, folder: Path | None, flame_model: Path | None
) -> tuple[list[Entry], list[str]]:
    """An entry for each video that there is, in the order of the benchmark, and what they cannot show."""
    entries: list[Entry] = []
    unknown: dict[str, None] = {}
    without: list[int] = []
    for (participant, sequence), group in groupby(benchmark.slots, lambda slot: (slot.participant, slot.sequence)):
        slots = [slot for slot in group if slot.path in opened.films or slot.path in opened.report.videos]
        if not slots:
            continue
        data = None if folder is None else open_data(benchmark, folder, participant)
        companions = _Companions(data, sequence, flame_model, unknown)
        if not companions.has_views and participant not in without:
            without.append(participant)
        n_frames = _n_frames(data, sequence, [opened.lengths.get(slot.path) for slot in slots])
        for slot in slots:
            entries.append(_entry(opened, slot, companions, n_frames))
    if without:
        people = ",".join(map(str, without))
        named = f" -f {folder}" if folder is not None else ""
        message = (
            f"The training views of {listing(list(map(str, without)))} are not here, so nothing stands beside"
            f" their renders. Fetch them with: nersemble download {benchmark.name} -p {people}{named}"
        )
        unknown = {message: None, **unknown}
    return entries, list(unknown)


def _n_frames(data: VideoData | None, sequence: str, found: Sequence[int | None]) -> int:
    """How many timesteps the sequence has: as the data says, else as most videos have."""
    if data is not None:
        try:
            return data.get_n_timesteps(sequence)
        except NersembleError:
            pass
    counts = [n for n in found if n]
    return max(set(counts), key=lambda n: (counts.count(n), n)) if counts else 1


def _entry(opened: Opened, slot: VideoSlot, companions: _Companions, n_frames: int) -> Entry:
    video = opened.report.videos.get(slot.path)
    names = tuple(dict.fromkeys((*slot.files, *([video.path] if video else []))))
    findings = [finding for finding in opened.report.findings if finding.path in names]
    film = opened.films.get(slot.path)
    broken = "" if film else _first(findings)
    outliners = [_silhouette, *companions.outliners(slot.serial)]
    render = Column(slot.path, "your render", "render", film and _outlined(film, outliners), problem=broken)
    return Entry(
        f"{slot.participant:03d} · {slot.sequence} · camera {slot.serial}",
        f"{slot.participant} {slot.sequence}",
        names,
        (render, *(companions.columns(slot, film) if film else ())),
        findings,
        _facts(video, opened.lengths.get(slot.path)),
        n_frames,
    )


def _first(findings: Sequence[Finding]) -> str:
    return findings[0].message if findings else "It cannot be opened."


def _facts(video: VideoReport | None, n_frames: int | None) -> str:
    facts = [f"{n_frames:,} frame{'' if n_frames == 1 else 's'}"] if n_frames is not None else []
    if video is not None and video.width is not None:
        facts.append(f"{video.width}×{video.height}")
    if video is not None and video.fps is not None:
        facts.append(f"{video.fps:.4g} fps")
    return " · ".join([*facts, *([video.codec] if video is not None and video.codec else [])])


def _silhouette(shot: Shot) -> Iterator[Outline]:
    return (Outline("silhouette", points) for points in silhouette(shot.image))


def _outlined(film: Film, outliners: Sequence[Outliner]) -> Film:
    def outlined(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        for shot in film(timesteps, longest):
            yield shot._replace(outlines=tuple(line for outliner in outliners for line in outliner(shot)))

    return outlined


class _Companions:
    """What the benchmark folder has to put beside the renders of a sequence; what it lacks goes to `unknown`."""

    def __init__(
        self, data: VideoData | None, sequence: str, flame_model: Path | None, unknown: dict[str, None]
    ) -> None:
        self._data, self._sequence, self._unknown = data, sequence, unknown
        self._calibration: CameraCalibration | None = None
        self._head: _Head | None = None
        self._views: tuple[str, list[str]] = (sequence, [])
        if data is None:
            return
        trained = data.benchmark.train_sequences[data.participant]
        available = [sequence] if sequence in trained else trained
        here = [(name, data.list_serials(name)) for name in available if data.list_serials(name)]
        self._views = here[0] if here else self._views
        self._calibration = self._try(data.load_camera_calibration)
        if isinstance(data, MonoFlameAvatarDataManager) and self._calibration is not None:
            self._head = self._try(lambda: _Head(data, sequence, flame_model, unknown))

    @property
    def has_views(self) -> bool:
        return bool(self._views[1])

    def _try(self, load: Callable[[], T]) -> T | None:
        try:
            return load()
        except NersembleError as error:
            if self.has_views:  # otherwise nothing is here, which is said once
                self._unknown[" ".join(filter(None, (error.message, error.hint)))] = None
            return None

    def outliners(self, serial: str) -> list[Outliner]:
        """What else goes around the head in the renders of a camera."""
        if self._head is None or self._calibration is None or serial not in self._calibration.serials:
            return []
        return [self._head.outliner(self._calibration, serial)]

    def columns(self, slot: VideoSlot, render: Film) -> Iterator[Column]:
        """What goes beside the render of a video."""
        head, calibration = self._head, self._calibration
        if head is not None and calibration is not None and slot.serial in calibration.serials and head.has_mesh:
            film = head.over(render, calibration, slot.serial)
            yield Column(f"{slot.path} FLAME", "FLAME tracking over it", "FLAME", film, plays=False)
        data, (sequence, serials) = self._data, self._views
        if data is None:
            return
        is_same_time = sequence == self._sequence
        for serial, angle in self._nearest(slot.serial, serials):
            film = film_of_file(Path(data.get_images_path(sequence, serial)))
            beside = (
                "" if angle is None else f", {angle:.0f}° away" if serial != slot.serial else ", the same camera"
            )
            what = "training view" if is_same_time else f"training view of {sequence}, camera"
            yield Column(
                f"{data.participant:03d}/{sequence}/{serial}", f"{what} {serial}{beside}",
                serial if angle is None else f"{serial} {angle:.0f}°", film, moves=is_same_time,
            )  # fmt: skip

    def _nearest(self, serial: str, serials: Sequence[str]) -> Sequence[tuple[str, float | None]]:
        known = self._calibration.serials if self._calibration is not None else []
        if self._calibration is None or serial not in known:
            return [(other, None) for other in serials[:N_NEAREST]]
        return nearest_cameras(self._calibration, serial, [s for s in serials if s in known], N_NEAREST)


class _Head:
    """The tracked head of a sequence: the FLAME mesh if there is FLAME, else an ellipsoid of a head's size."""

    def __init__(
        self,
        data: MonoFlameAvatarDataManager,
        sequence: str,
        flame_model: Path | None,
        unknown: dict[str, None],
    ) -> None:
        tracking = data.load_flame_tracking(sequence)
        self._poses = tracking.model_to_world()
        self._provider = None
        try:
            from nersemble_cli.core.flame.provider import FlameProvider

            with warnings.catch_warnings(record=True) as said:
                self._provider = FlameProvider(tracking, flame_model)
            unknown.update(dict.fromkeys(str(warning.message) for warning in said))
        except NersembleError as error:
            reason = " ".join(filter(None, (error.message, error.hint)))
            unknown[
                "Heads are only roughly where the dashed ellipses are, which the tracking places without FLAME."
                f" The tracked mesh is left out. {reason}"
            ] = None

    @property
    def has_mesh(self) -> bool:
        return self._provider is not None

    def outliner(self, calibration: CameraCalibration, serial: str) -> Outliner:
        """Draws the head's outline as a camera sees it."""

        def outline(shot: Shot) -> Iterator[Outline]:
            t, (height, width) = shot.timestep, shot.image.shape[:2]
            if t >= len(self._poses):
                return
            k = _intrinsics(calibration, serial, shot.image)
            if self._provider is None:
                points = project_points(head_ellipsoid(self._poses[t]), calibration.world_2_cam[serial], k).pixels
                found = convex_outline(points)
            else:
                vertices = self._provider.get_vertices(t)
                pixels = project_points(vertices, calibration.world_2_cam[serial], k).pixels
                found = mesh_silhouette(pixels, self._provider.faces, height, width)
            yield from (Outline("head", points) for points in found)

        return outline

    def over(self, film: Film, calibration: CameraCalibration, serial: str) -> Film:
        """A film with the mesh drawn over it."""
        provider = self._provider
        assert provider is not None

        def drawn(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
            for shot in film(timesteps, longest):
                if provider.has_mesh(shot.timestep):
                    mesh, k = provider.get_mesh(shot.timestep), _intrinsics(calibration, serial, shot.image)
                    pose = calibration.world_2_cam[serial]
                    yield shot._replace(image=draw_overlay(shot.image, mesh, pose, k, "shaded", _OPACITY))

        return drawn


def _intrinsics(calibration: CameraCalibration, serial: str, image: Image) -> NDArray[np.float32]:
    """A camera's intrinsics for a render of another size. Only Mono has a head to draw."""
    height, width = image.shape[:2]
    return rescale_intrinsics(calibration.intrinsics[serial], width / MONO.width, height / MONO.height)

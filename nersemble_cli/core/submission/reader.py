"""Reading submissions under the names of the official toolkit: videos, meshes and landmarks from the zip."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core import settings
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR, Benchmark, VideoBenchmark, check_mesh_slot, check_slot
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, UsageError
from nersemble_cli.core.formats.npy import read_npy
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.submission.findings import ERROR, Finding, Report
from nersemble_cli.core.submission.frame_counts import frame_counts
from nersemble_cli.core.submission.members import UNREADABLE, ZipMember
from nersemble_cli.core.submission.validation import validate_submission
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import open_video

if TYPE_CHECKING:
    import trimesh


class _SubmissionDataReader:
    """The files of a submission zip, which stays open until `close` or the end of a `with` block."""

    _benchmark: Benchmark
    # The official validator's name for what a finding says; `{kind}` is posed or neutral.
    _issues: ClassVar[Mapping[str, str]]

    def __init__(self, zip_path: str | Path) -> None:
        """Opens `zip_path`. Raises `UsageError` if it is missing and `InvalidInputError` if it is not a zip."""
        self._zip_path = settings.expand(zip_path)
        if not self._zip_path.is_file():
            raise UsageError(f"{self._zip_path} does not exist or is not a file.", "Check the path.")
        try:
            self._archive = zipfile.ZipFile(self._zip_path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"{self._zip_path} is not a zip ({error}).", "Pack it again.") from error
        self._names = frozenset(self._archive.namelist())

    def close(self) -> None:
        """Closes the zip; nothing can be read any more."""
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def validate_submission(self) -> dict[str, list[Any]]:
        """What is wrong with the submission, as the official toolkit says it; empty if nothing is.

        Its kinds of errors are under its keys, all others under their finding codes. The items are the names of
        the files in the zip, for counts and resolutions `(name, found, expected)`, for landmarks `(name, shape)`.
        No video is decoded and warnings are left out: `nersemble_cli.validate_submission` says much more.
        """
        report: Report = validate_submission(self._zip_path, self._benchmark.name, quick=True)
        issues: dict[str, list[Any]] = defaultdict(list)
        for finding in report.findings:
            if finding.code == "missing_task":
                issues["missing_svfr_tasks"] = list(dict.fromkeys(slot.kind for slot in SVFR.slots))
            elif finding.code in self._issues or finding.severity == ERROR:
                kind = "neutral" if (finding.path or "").endswith(("_neutral.ply", "_neutral.npy")) else "posed"
                issues[self._issues.get(finding.code, finding.code).format(kind=kind)].append(_issue(finding))
        return dict(issues)

    def _member(self, name: str) -> ZipMember:
        if name not in self._names:
            hint = f"See what is missing: nersemble validate {self._zip_path}"
            raise MissingFileError(f"{name} is not in {self._zip_path}.", hint)
        return ZipMember(name, self._archive, self._archive.getinfo(name))

    def _read(self, name: str) -> bytes:
        try:
            with self._member(name).open() as file:
                return file.read()
        except MissingFileError:
            raise
        except UNREADABLE as error:
            raise InvalidInputError(
                f"{name} in {self._zip_path} cannot be read: {error}.", "Pack it again."
            ) from error


def _issue(finding: Finding) -> Any:
    """A finding as an item of the official validator's lists."""
    found, expected = (tuple(v) if isinstance(v, list) else v for v in (finding.actual, finding.expected))
    if finding.code in ("wrong_frame_count", "wrong_resolution"):
        return finding.path, found, expected
    if finding.code == "wrong_landmarks" and isinstance(found, tuple):
        return finding.path, tuple(found[-1])  # after the dtype
    return finding.path


class _VideoSubmissionDataReader(_SubmissionDataReader):
    _benchmark: VideoBenchmark
    _issues: ClassVar = {
        "missing_file": "missing_files",
        "wrong_frame_count": "wrong_frame_counts",
        "wrong_resolution": "wrong_resolutions",
    }

    def get_file_overview(self) -> dict[int, dict[str, list[str]]]:
        """The videos in the zip: participant → sequence → serials."""
        overview: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for name in sorted(self._names):
            parts = PurePosixPath(name).parts
            if len(parts) == 3 and parts[0].isdecimal() and parts[2].startswith("cam_") and name.endswith(".mp4"):
                overview[int(parts[0])][parts[1]].append(parts[2][4:-4])
        return {participant: dict(sequences) for participant, sequences in overview.items()}

    def get_video_path(self, participant_id: int, sequence_name: str, serial: str) -> str:
        """The name of a video in the zip. Raises `UsageError` for a video that is not part of a submission."""
        return check_slot(self._benchmark, participant_id, sequence_name, serial).path

    def load_video(
        self,
        participant_id: int,
        sequence_name: str,
        serial: str,
        every_nth_frame: int | None = None,
        timestep: int | None = None,
        scale: float | None = None,
    ) -> list[NDArray[np.uint8]]:
        """The frames of a video, each (H, W, 3) uint8 RGB: all, every n-th from the first, or only `timestep`.

        `scale` resizes the frames, for example 0.5 to half the width and height. Raises `UsageError` for an
        impossible argument, `MissingFileError` if the video is not in the zip and `InvalidInputError` if it does
        not decode.
        """
        name = self.get_video_path(participant_id, sequence_name, serial)
        step = 1 if every_nth_frame is None else every_nth_frame
        if step < 1 or (scale is not None and not scale > 0):
            raise UsageError(f"every_nth_frame={every_nth_frame}, scale={scale}: both must be above zero.")
        member = self._member(name)
        frames = []
        n = 0
        try:
            with member.open() as file, open_video(file) as (container, stream):
                for n, frame in enumerate(container.decode(stream), 1):
                    if n - 1 == timestep or (timestep is None and (n - 1) % step == 0):
                        frames.append(to_rgb(frame, scale))
                    if n - 1 == timestep:
                        break
        except (av.FFmpegError, *UNREADABLE) as error:
            raise InvalidInputError(
                f"{name} in {self._zip_path} does not decode: {error}.", "Pack it again."
            ) from error
        if timestep is not None and not frames:
            raise UsageError(f"{name} has no timestep {timestep}.", f"Valid: 0 to {n - 1}.")
        return frames

    def list_expected_files(self) -> list[str]:
        """The names of all videos of a complete submission."""
        return [slot.path for slot in self._benchmark.slots]

    def list_expected_video_lengths(self) -> dict[str, int]:
        """Name → number of frames, of the videos whose number is known (see `nersemble validate`)."""
        counts = frame_counts(self._benchmark, settings.existing_folder(None), settings.find_url())
        lengths = {slot.path: counts.get(slot.participant, slot.sequence) for slot in self._benchmark.slots}
        return {path: n for path, n in lengths.items() if n is not None}

    def get_expected_resolution(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._benchmark.width, self._benchmark.height

    def _has(self, participant: int | None, sequence: str | None) -> bool:
        return all(
            slot.path in self._names
            for slot in self._benchmark.slots
            if participant in (None, slot.participant) and sequence in (None, slot.sequence)
        )


class NVSSubmissionDataReader(_VideoSubmissionDataReader):
    """Reads a submission to dynamic novel view synthesis."""

    _benchmark = NVS

    def is_complete(self, participant_id: int, sequence_name: str) -> bool:
        """Whether the videos of all hold-out cameras of a sequence are in the zip."""
        check_slot(NVS, participant_id, sequence_name, NVS.submission_serials[0])
        return self._has(participant_id, sequence_name)


class MonoFlameAvatarSubmissionDataReader(_VideoSubmissionDataReader):
    """Reads a submission to monocular FLAME avatars."""

    _benchmark = MONO

    def is_complete(self, participant_id: int | None = None) -> bool:
        """Whether all videos of a participant, or of all of them, are in the zip."""
        return self._has(participant_id, None)


class SVFRSubmissionDataReader(_SubmissionDataReader):
    """Reads a submission to single-view face reconstruction."""

    _benchmark = SVFR
    _issues: ClassVar = {
        "missing_mesh": "missing_{kind}_meshes",
        "empty_mesh": "empty_{kind}_meshes",
        "missing_landmarks": "missing_{kind}_landmarks",
        "wrong_landmarks": "wrong_{kind}_landmarks",
        "unexpected_file": "unexpected_files",
    }

    def load_posed_mesh(
        self, participant_id: int, sequence_name: str, timestep: int, serial: str
    ) -> trimesh.Trimesh:
        """The mesh with the expression of an image, with the vertices and triangles of the file in their order."""
        return self._load_mesh(participant_id, sequence_name, timestep, serial, "posed")

    def load_neutral_mesh(
        self, participant_id: int, sequence_name: str, timestep: int, serial: str
    ) -> trimesh.Trimesh:
        """The mesh with a neutral expression, with the vertices and triangles of the file in their order."""
        return self._load_mesh(participant_id, sequence_name, timestep, serial, "neutral")

    def load_posed_landmarks(
        self, participant_id: int, sequence_name: str, timestep: int, serial: str
    ) -> NDArray[np.floating]:
        """The NoW landmarks of the posed mesh, (7, 3), in the space of the mesh."""
        return self._load_landmarks(participant_id, sequence_name, timestep, serial, "posed")

    def load_neutral_landmarks(
        self, participant_id: int, sequence_name: str, timestep: int, serial: str
    ) -> NDArray[np.floating]:
        """The NoW landmarks of the neutral mesh, (7, 3), in the space of the mesh."""
        return self._load_landmarks(participant_id, sequence_name, timestep, serial, "neutral")

    def has_posed_reconstructions(self) -> bool:
        """Whether the zip has any posed mesh."""
        return self._has_any("posed")

    def has_neutral_reconstructions(self) -> bool:
        """Whether the zip has any neutral mesh."""
        return self._has_any("neutral")

    def _has_any(self, kind: str) -> bool:
        return any(slot.path in self._names for slot in SVFR.slots if slot.kind == kind)

    def _load_mesh(
        self, participant: int, sequence: str, timestep: int, serial: str, kind: str
    ) -> trimesh.Trimesh:
        import trimesh

        slot = check_mesh_slot(participant, sequence, timestep, serial, kind)
        try:
            mesh = read_ply(self._read(slot.path))
        except InvalidInputError as error:
            raise InvalidInputError(f"{slot.path}: {error.message}", error.hint) from error
        return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)

    def _load_landmarks(
        self, participant: int, sequence: str, timestep: int, serial: str, kind: str
    ) -> NDArray[np.floating]:
        slot = check_mesh_slot(participant, sequence, timestep, serial, kind)
        try:
            landmarks: NDArray[np.floating] = np.asarray(read_npy(self._read(slot.landmarks_path)))
        except InvalidInputError as error:
            raise InvalidInputError(f"{slot.landmarks_path}: {error.message}", error.hint) from error
        return landmarks

"""Writing submissions: the zip appears whole or not at all, and the same contents give the same bytes."""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import sys
import threading
import warnings
import weakref
import zipfile
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nersemble_cli.core.benchmarks import (
    MONO,
    NVS,
    SVFR,
    VideoBenchmark,
    check_mesh_slot,
    check_slot,
)
from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.files import check_target, replace_file, scratch_folder
from nersemble_cli.core.formats.ply import Mesh, mesh_to_ply
from nersemble_cli.core.platform import signals
from nersemble_cli.core.submission.findings import Finding, has_errors
from nersemble_cli.core.submission.members import CHUNK
from nersemble_cli.core.submission.mesh_checks import (
    LANDMARK_SHAPE,
    check_geometry,
    check_landmarks,
    check_topology,
)
from nersemble_cli.core.submission.video_checks import wrong_frame_count
from nersemble_cli.core.video.encode import encode_video

if TYPE_CHECKING:
    import trimesh

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can hold: the same bytes at any time
FILE_RIGHTS = 0o644 << 16


class SubmissionIncompleteWarning(UserWarning):
    """The zip was written, but it does not hold all that a submission must."""


def write_zip(path: Path, files: Mapping[str, Path], consume: Container[str] = ()) -> None:
    """Writes files to a new zip, stored (videos and floats hardly compress), in the order of their names.

    Those named in `consume` are deleted once they are in the zip, so that disk space is needed only once.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in sorted(files.items()):
            info = zipfile.ZipInfo(name, ZIP_EPOCH)
            info.external_attr = FILE_RIGHTS
            info.create_system = 3  # Unix, whatever this is, for the same bytes everywhere
            info.file_size = file.stat().st_size
            with file.open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target, CHUNK)
            if name in consume:
                file.unlink()


_open_writers: weakref.WeakSet[_SubmissionDataWriter] = weakref.WeakSet()
_handlers: dict[int, Any] = {}


def _watch_exit(writer: _SubmissionDataWriter) -> None:
    """Makes sure that a writer is finished when the program ends, also by SIGTERM or SIGHUP."""
    _open_writers.add(writer)
    if threading.current_thread() is threading.main_thread():
        for number in signals("SIGTERM", "SIGHUP"):
            if signal.getsignal(number) is signal.SIG_DFL:
                _handlers[number] = signal.signal(number, lambda n, _: sys.exit(128 + n))


def _unwatch_exit(writer: _SubmissionDataWriter) -> None:
    _open_writers.discard(writer)
    if not _open_writers and threading.current_thread() is threading.main_thread():
        while _handlers:
            signal.signal(*_handlers.popitem())


@atexit.register
def _finish_open_writers() -> None:
    for writer in list(_open_writers):
        writer._finish_unclosed()


class _SubmissionDataWriter:
    """Collects the files of a submission beside the zip, and writes the zip at the end of the `with` block.

    If the block ends with an exception, nothing is written and an older zip stays as it is. Without a `with`
    block, call `close`. A writer that is never closed is finished when it is collected or the program ends.
    """

    def __init__(self, zip_path: str | Path) -> None:
        """Prepares to write `zip_path`. An older file there is replaced at the end, as in the official toolkit.

        Its folder is created if it is missing. Raises `UsageError` if that fails or it cannot be written to.
        """
        path = Path(zip_path).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"The folder {path.parent} cannot be created ({error.strerror}).", "Choose another place."
            ) from error
        self._zip_path = check_target(path, overwrite=True)
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(scratch_folder(self._zip_path))
        self._files: dict[str, Path] = {}
        self._process = os.getpid()
        _watch_exit(self)

    def _expected(self) -> list[str]:
        """The names without which the submission is incomplete."""
        raise NotImplementedError

    @contextmanager
    def _new_file(self, name: str) -> Iterator[Path]:
        """A place to write the file that is to be `name` in the zip."""
        if name in self._files:
            raise InvalidInputError(f"{name} was added before.", "Add each file once.")
        path = self._scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        self._files[name] = path

    def close(self) -> None:
        """Writes the zip. Warns with `SubmissionIncompleteWarning` if something is missing.

        Raises `InvalidInputError` if nothing was added; an older zip stays as it is then.
        """
        self._close(self._zip_path)

    def _close(self, target: Path) -> None:
        _unwatch_exit(self)
        with self._stack:
            if not self._scratch.exists():
                return  # closed before
            if not self._files:
                raise InvalidInputError(f"Nothing was added, so {self._zip_path} was not written.")
            part = self._scratch / "submission.zip"
            write_zip(part, self._files, consume=self._files)
            replace_file(part, target)
        if missing := self._missing():
            warnings.warn(
                f"{target} lacks {len(missing)} files, the first is {missing[0]}. "
                f"See all: nersemble validate {target}",
                SubmissionIncompleteWarning,
                stacklevel=4,
            )

    def _missing(self) -> list[str]:
        return [name for name in self._expected() if name not in self._files]

    def _finish_unclosed(self) -> None:
        """Writes what was added to a writer that nobody closed; only a complete zip replaces an older file."""
        if os.getpid() != self._process or not self._scratch.exists():
            return  # closed before, or a forked child's copy
        if not self._files:
            self.discard()
            return
        target = self._zip_path
        if target.exists() and self._missing():
            target = target.with_name(f"{target.stem}.unclosed-{secrets.token_hex(2)}{target.suffix}")
        try:
            self._close(target)
        finally:
            what = f"The writer of {self._zip_path} was never closed: use `with`, or call close()."
            where = f"What was added is in {target}." if target.exists() else "What was added is lost."
            warnings.warn(f"{what} {where}", SubmissionIncompleteWarning, stacklevel=2)

    def __del__(self) -> None:
        if hasattr(self, "_process"):  # otherwise it could not be opened
            self._finish_unclosed()

    def discard(self) -> None:
        """Removes what was added without writing a zip. An older zip stays as it is."""
        _unwatch_exit(self)
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class _VideoSubmissionDataWriter(_SubmissionDataWriter):
    _benchmark: VideoBenchmark

    def _expected(self) -> list[str]:
        return [slot.path for slot in self._benchmark.slots]

    def add_video(
        self, participant_id: int, sequence_name: str, serial: str, frames: Iterable[NDArray[np.uint8]]
    ) -> None:
        """Encodes a video (h264, CRF 14) from any iterable of frames, holding one at a time.

        Each frame is (H, W, 3) uint8 RGB, 0–255, of the benchmark's size, with white background. Raises
        `UsageError` for a video that the submission does not have, `InvalidInputError` for a wrong frame and
        `EncodingError` if ffmpeg fails; the video is not added then. A number of frames other than the
        sequence's is a warning, as `nersemble validate` will say.
        """
        slot = check_slot(self._benchmark, participant_id, sequence_name, serial)
        with self._new_file(slot.path) as path:
            n = encode_video(frames, path, self._benchmark.width, self._benchmark.height, self._benchmark.fps)
        expected = self._benchmark.n_frames.get((slot.participant, slot.sequence), n)
        if n != expected:
            finding = wrong_frame_count(slot.path, expected, n)
            warnings.warn(
                f"{slot.path}: {finding.message} {finding.hint}", SubmissionIncompleteWarning, stacklevel=2
            )


class NVSSubmissionDataWriter(_VideoSubmissionDataWriter):
    """Writes a submission to dynamic novel view synthesis: frames of (1604, 1100, 3) at 73 fps."""

    _benchmark = NVS


class MonoFlameAvatarSubmissionDataWriter(_VideoSubmissionDataWriter):
    """Writes a submission to monocular FLAME avatars: frames of (512, 512, 3) at 24.3 fps."""

    _benchmark = MONO


class SVFRSubmissionDataWriter(_SubmissionDataWriter):
    """Writes a submission to single-view face reconstruction: posed meshes, neutral ones, or both."""

    def _expected(self) -> list[str]:
        begun = {name.rsplit("_", 1)[1] for name in self._files if name.endswith(".ply")}
        return [slot.path for slot in SVFR.slots if f"{slot.kind}.ply" in begun]

    def add_posed_mesh(
        self,
        participant_id: int,
        sequence_name: str,
        timestep: int,
        serial: str,
        mesh: trimesh.Trimesh,
        now_landmarks: ArrayLike | None = None,
    ) -> None:
        """Adds the mesh with the expression of the image.

        `mesh` has `vertices` (V, 3) and triangles `faces` (F, 3), in any space and unit; they are written as
        float32 in their order, none is merged. A mesh with 5023 vertices counts as FLAME; any other needs
        `now_landmarks`, (7, 3) in the mesh's space: the eye corners from the viewer's left to right, below the
        nose, the mouth corners at the viewer's left and right.

        Raises `UsageError` for an image that the benchmark does not have, and `InvalidInputError` for a mesh
        or landmarks that the server would reject. Source: the NoW benchmark's seven landmarks.
        """
        self._add_mesh(participant_id, sequence_name, timestep, serial, "posed", mesh, now_landmarks)

    def add_neutral_mesh(
        self,
        participant_id: int,
        sequence_name: str,
        timestep: int,
        serial: str,
        mesh: trimesh.Trimesh,
        now_landmarks: ArrayLike | None = None,
    ) -> None:
        """Adds the mesh of the same person with a neutral expression; all else as in `add_posed_mesh`."""
        self._add_mesh(participant_id, sequence_name, timestep, serial, "neutral", mesh, now_landmarks)

    def _add_mesh(
        self,
        participant: int,
        sequence: str,
        timestep: int,
        serial: str,
        kind: str,
        mesh: Any,
        landmarks: Any,
    ) -> None:
        slot = check_mesh_slot(participant, sequence, timestep, serial, kind)
        # Checked as float32, which is what the file holds.
        vertices = _as_array(f"{slot.path}: vertices", mesh.vertices, (None, 3), "fiu").astype(np.float32)
        faces = _as_array(f"{slot.path}: faces", mesh.faces, (None, 3), "iu")
        geometry = Mesh(vertices.astype(np.float64), faces.astype(np.int64))
        findings = check_topology(slot, len(vertices), len(faces), landmarks is not None)
        findings += check_geometry(slot.path, geometry, landmarks is not None)
        if landmarks is not None:
            landmarks = _as_array(slot.landmarks_path, landmarks, LANDMARK_SHAPE, "fiu").astype(np.float32)
            findings += check_landmarks(slot.landmarks_path, landmarks.astype(np.float64), geometry)
        _refuse(findings)
        with self._new_file(slot.path) as path:
            path.write_bytes(mesh_to_ply(vertices, faces))
        if landmarks is not None:
            with self._new_file(slot.landmarks_path) as path:
                np.save(path, landmarks)


def _as_array(what: str, values: Any, shape: tuple[int | None, ...], kinds: str) -> NDArray[Any]:
    """The values as an array of that shape (None: at least 1) and one of those kinds of dtype."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInputError(f"{what} are not an array: {error}.") from error
    fits = array.ndim == len(shape) and all(
        n > 0 if wanted is None else n == wanted for n, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in kinds:
        expected = ", ".join("N" if n is None else str(n) for n in shape)
        number = "integers" if kinds == "iu" else "numbers"
        raise InvalidInputError(f"{what} are {array.dtype} {array.shape}, expected ({expected}) {number}.")
    return array


def _refuse(findings: list[Finding]) -> None:
    if has_errors(findings):
        message = "\n".join(f"{finding.path}: {finding.message}" for finding in findings)
        raise InvalidInputError(message, findings[0].hint)

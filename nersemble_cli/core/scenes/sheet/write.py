"""Makes a proof sheet of a submission and writes it: a page, a picture or a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nersemble_cli.core import settings
from nersemble_cli.core.benchmarks import MeshBenchmark, VideoBenchmark
from nersemble_cli.core.files import replacing
from nersemble_cli.core.flame.model import load_flame_model
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.scenes.export import check_output
from nersemble_cli.core.scenes.sheet.entries import Sheet
from nersemble_cli.core.scenes.sheet.meshes import mesh_entries
from nersemble_cli.core.scenes.sheet.opening import Opened, open_submission
from nersemble_cli.core.scenes.sheet.page import write_page
from nersemble_cli.core.scenes.sheet.picture import write_picture, write_video
from nersemble_cli.core.scenes.sheet.videos import video_entries
from nersemble_cli.core.threads import NullProgress, Progress

_TRUTH = "The held-out images are on the server only: how close your renders come to them cannot be seen here."
_NOT_PACKED = (
    "These are renders, not a submission yet. `nersemble pack` also compares them with the training data that you"
    " have."
)


@dataclass(frozen=True)
class Format:
    """An output format: what it is for, what writes it and returns notes for the user, and the modules that this
    needs."""

    purpose: str
    write: Callable[[Sheet, Path, int, Progress], list[str]]
    needs: tuple[str, ...]


FORMATS = {
    ".html": Format("a page for any browser", write_page, ("cv2",)),
    ".png": Format("a picture", write_picture, ("cv2", "vtkmodules")),
    ".mp4": Format("a video", write_video, ("cv2", "vtkmodules")),
}


def write_sheet(
    submission: str | Path,
    output: str | Path,
    folder: str | Path | None = None,
    flame_model: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Sheet, list[str]]:
    """Validates a submission zip or a folder of renders, and writes its proof sheet to `output`: .html, .png or
    .mp4. An older file there is replaced.

    `folder` is the benchmark folder, `flame_model` as in `load_flame_model`. Returns the sheet, and what the user
    should know of the file. Raises `UsageError` if there is no submission at all; whatever is wrong with one is in
    the sheet.
    """
    submission, target = Path(submission), check_output(Path(output), FORMATS)
    place = settings.existing_folder(Path(folder) if folder is not None else None)
    progress = progress or NullProgress()
    with open_submission(submission, place, progress) as opened:
        sheet = make_sheet(submission.name, opened, place, None if flame_model is None else Path(flame_model))
        # One OpenGL context, one thread.
        workers = 1 if isinstance(opened.benchmark, MeshBenchmark) else cpu_count()
        with replacing(target) as path:
            notes = FORMATS[path.suffix].write(sheet, path, workers, progress)
    return sheet, notes


def make_sheet(title: str, opened: Opened, folder: Path | None, flame_model: Path | None = None) -> Sheet:
    """The contents of the sheet of an open submission. Pictures are made when it is written."""
    sheet = Sheet(title, opened.benchmark, opened.report)
    if isinstance(opened.benchmark, VideoBenchmark):
        if flame_model is not None:
            load_flame_model(flame_model)  # one that was named has to be right
        sheet.entries, sheet.unknown = video_entries(opened, opened.benchmark, folder, flame_model)
        sheet.unknown.append(_TRUTH)
    elif isinstance(opened.benchmark, MeshBenchmark):
        sheet.entries, sheet.unknown = mesh_entries(opened, opened.benchmark, folder)
    if not opened.is_packed:
        sheet.unknown.append(_NOT_PACKED)
    shown = {id(finding) for entry in sheet.entries for finding in entry.findings}
    sheet.others = [finding for finding in opened.report.findings if id(finding) not in shown]
    sheet.sort()
    return sheet

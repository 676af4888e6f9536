"""Opens a submission for the proof sheet, a zip or a folder of renders: what the validator says of it, and its
files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nersemble_cli.core import settings
from nersemble_cli.core.benchmarks import Benchmark, VideoBenchmark, get_benchmark
from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.scenes.overlay import shrink
from nersemble_cli.core.scenes.sheet.entries import Film, Shot
from nersemble_cli.core.submission import names
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.submission.frame_counts import FrameCounts, frame_counts
from nersemble_cli.core.submission.members import UNREADABLE, Member, open_zip, sort_members
from nersemble_cli.core.submission.renders import VideoSource, scan, task_of
from nersemble_cli.core.submission.validation import validate_submission
from nersemble_cli.core.threads import Progress
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import DAMAGE, VideoReader, open_video, reason


@dataclass
class Opened:
    """A submission: its report, and by their names in it its files, what films each video that can be opened, and
    how many frames each video has. Renders in a folder are not packed."""

    report: Report
    benchmark: Benchmark | None = None
    films: dict[str, Film] = field(default_factory=dict)
    files: dict[str, Member] = field(default_factory=dict)
    lengths: dict[str, int | None] = field(default_factory=dict)
    is_packed: bool = True


@contextmanager
def open_submission(path: Path, folder: Path | None, progress: Progress) -> Iterator[Opened]:
    """Validates a submission zip or a folder of renders, and keeps it open.

    `folder` is the benchmark folder. Raises `UsageError` if there is nothing at `path`, or a folder that holds
    nothing of a submission. Whatever else is wrong is in the report.
    """
    if path.is_dir():
        yield _open_folder(path, folder, progress)
        return
    report = validate_submission(path, folder=folder, progress=progress)
    opened = Opened(report, get_benchmark(report.benchmark) if report.benchmark else None)
    if opened.benchmark is None:
        yield opened
        return
    with open_zip(path) as archive:
        members, flaws, _ = sort_members(archive)
        matching = names.match(opened.benchmark, members, names.wrapper_of(members))
        opened.files = {name: members[own] for name, own in matching.found.items() if own not in flaws}
        if isinstance(opened.benchmark, VideoBenchmark):
            opened.films = {name: film_of(member) for name, member in opened.files.items()}
            opened.lengths = {name: video.num_frames for name, video in report.videos.items()}
        yield opened


def _open_folder(path: Path, folder: Path | None, progress: Progress) -> Opened:
    benchmark = task_of(path)
    if benchmark is None:
        raise UsageError(
            f"Nothing in {path} belongs to a submission.",
            "Give a zip, or the folder that holds {participant}/{sequence}/cam_{serial}/*.png or meshes.",
        )
    counts = FrameCounts({}, {}, ())
    if isinstance(benchmark, VideoBenchmark):
        counts = frame_counts(benchmark, settings.existing_folder(folder), settings.find_url())
    renders = scan(benchmark, path, counts, progress)
    opened = Opened(renders.report, benchmark, lengths=renders.lengths, is_packed=False)
    opened.files = renders.members
    for source in renders.videos:
        name = source.slot.path
        opened.films[name] = _film_of_pngs(source) if source.frames else film_of(opened.files[name])
    return opened


def film_of(member: Member) -> Film:
    """Films an encoded video, decoding it from its beginning in constant memory."""

    def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        wanted, t = set(timesteps), -1
        try:
            with member.open() as file, open_video(file) as (container, stream):
                for t, frame in enumerate(container.decode(stream)):
                    if t in wanted:
                        scale = longest / max(frame.width, frame.height)
                        yield Shot(t, to_rgb(frame, scale if scale < 1 else None))
                    if t >= timesteps[-1]:
                        return
        except (*DAMAGE, *UNREADABLE) as error:
            raise InvalidInputError(f"It does not decode after frame {t}: {reason(error)}.") from error

    return film


def film_of_file(path: Path) -> Film:
    """Films an intact video on disk. Of the frames in between, it decodes only those that others refer to."""

    def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        with closing(VideoReader(path)) as reader:
            for t in timesteps:
                if t < reader.n_frames:
                    frame = reader.frame(t)
                    scale = longest / max(frame.width, frame.height)
                    yield Shot(t, to_rgb(frame, scale if scale < 1 else None))

    return film


def _film_of_pngs(source: VideoSource) -> Film:
    """Films PNGs. One that cannot be read is left out, and the film breaks off at its end."""

    def film(timesteps: Sequence[int], longest: int) -> Iterator[Shot]:
        broken: list[Exception] = []
        for t in timesteps:
            if t < len(source.frames):
                try:
                    image = source.read(t)
                except (InvalidInputError, OSError) as error:
                    broken.append(error)
                    continue
                yield Shot(t, shrink(image, longest))
        if broken:
            raise broken[0]

    return film

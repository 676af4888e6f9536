"""Carrying out an export: what is missing is written, whole files only, and nothing else is touched."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nersemble_cli import __version__
from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.export.images import ImageFile, encoded_files
from nersemble_cli.core.export.selection import Camera, Selection
from nersemble_cli.core.export.shards import Sample, Shard, in_order, member_size, plan_shards, write_shard
from nersemble_cli.core.files import free_space, replacing
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.threads import NullProgress, Progress

RECORD = "export.json"
CROP = "crop.json"
README = "README.md"
_SAMPLES = 4  # images that are encoded to estimate the size of all
_SPARE = 1.05


@dataclass(eq=False)
class Export:
    """What an export consists of.

    `images` are written first. `large` files (point clouds) are made one at a time, if they are not there;
    `small` ones at the end, every time. `losses` are what readers of the format lose or ignore. `lines` are
    commands that train on it, with `{out}` for the folder as a shell's argument, `{path}` for its bare path. Both
    go into the README. `fixed` are settings that must be the same when it is resumed, because images that are
    there already depend on them. With `shard_size` (bytes), images go into tar files, with what `sample` adds to
    each.
    """

    format: str
    selection: Selection
    images: list[ImageFile]
    small: Mapping[str, Callable[[], bytes]]
    large: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    alpha_inside: bool = False
    shard_size: int | None = None
    sample: Sample | None = None
    world: str = "The world is the benchmark's: in metres, not moved, not turned."


@dataclass
class Exported:
    """What was done. `num_bytes` are those of the images that were written; for a dry run, an estimate."""

    out: Path
    format: str
    num_images: int
    num_there: int
    num_bytes: int
    free_bytes: int
    losses: list[str]
    notes: list[str]
    lines: Mapping[str, str]
    held_out: tuple[str, ...]
    dry_run: bool = False


def write_file(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all, over an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_bytes(content)


def run_export(
    export: Export,
    out: Path,
    *,
    workers: int | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Writes what is missing of an export into `out`.

    Raises `UsageError` if `out` holds something else or there is too little space, OSError if the disk is full all
    the same; files that are there by then are whole, and the next run goes on from them.
    """
    progress = progress or NullProgress()
    workers = workers or cpu_count()
    _check_out(export, out)
    shards: list[Shard] = []
    if export.shard_size is None:
        missing = [file for file in export.images if not all((out / name).is_file() for name in file.files)]
        size = _estimate(export, missing) * len(missing)
    else:
        sample_size = _estimate(export, export.images)
        shards = plan_shards(export.images, export.shard_size, sample_size)
        shards = [shard for shard in shards if not (out / shard.name).is_file()]
        missing = [file for shard in shards for file in shard.files]
        size = sample_size * len(missing)
    free = free_space(out)
    path = str(out.resolve())
    lines = {
        name: line.replace("{out}", shlex.quote(path)).replace("{path}", path)
        for name, line in export.lines.items()
    }
    done = Exported(
        out, export.format, len(export.images), len(export.images) - len(missing), size, free,
        export.losses, export.notes, lines, export.selection.held_out, dry_run,
    )  # fmt: skip
    if dry_run:
        return done
    if size * _SPARE > free:
        raise UsageError(
            f"{out} needs about {_megabytes(size)}, but only {_megabytes(free)} are free there.",
            "Choose another disk, fewer timesteps (-t), a smaller --scale, or --format jpg.",
        )
    write_file(out / RECORD, _record(export, complete=False))
    done.num_bytes = 0
    progress.start(f"Exporting {export.format}", len(missing), "images")
    for n_bytes in _write_images(export, out, missing, shards, workers):
        done.num_bytes += n_bytes
        progress.advance()
    for name, make in export.large.items():
        if not (out / name).is_file():
            write_file(out / name, make())
    for name, make in export.small.items():
        write_file(out / name, make())
    if export.selection.request.center:
        write_file(out / CROP, crop_record(export.selection.rig))
    write_file(out / README, _readme(export, lines).encode())
    write_file(out / RECORD, _record(export, complete=True))
    return done


def crop_record(rig: Mapping[str, Camera]) -> bytes:
    """Where the benchmark's image is in a camera's padded one, in pixels. `submission.crop` reads it."""
    boxes = {}
    for serial, camera in rig.items():
        pad = camera.padding
        boxes[serial] = {
            "padded_width": camera.width,
            "padded_height": camera.height,
            "left": pad.left,
            "top": pad.top,
            "width": camera.width - pad.left - pad.right,
            "height": camera.height - pad.top - pad.bottom,
        }
    return (json.dumps({"schema_version": 1, "cameras": boxes}, indent=1) + "\n").encode()


def _settings(export: Export) -> dict[str, Any]:
    """What the images depend on, beside the selection."""
    request = export.selection.request
    return {
        "format": export.format,
        "benchmark": export.selection.benchmark.name,
        "participant": export.selection.data.participant,
        "scale": request.scale,
        "image_format": request.image_format,
        "center": request.center,
        "points": request.n_points,
        "alpha_inside": export.alpha_inside,
        **export.fixed,
    }


def _record(export: Export, complete: bool) -> bytes:
    selection = export.selection
    document = {
        "schema_version": 1,
        "written_by": f"nersemble {__version__}",
        "complete": complete,
        "settings": _settings(export),
        "sequences": list(selection.sequences),
        "timesteps": {sequence: list(steps) for sequence, steps in selection.timesteps.items()},
        "cameras": [serial for serial in selection.cameras if serial not in selection.held_out],
        "held_out": list(selection.held_out),
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _check_out(export: Export, out: Path) -> None:
    """Raises `UsageError` unless `out` can be made, is empty, or holds an earlier run of the same export."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file.", "Name a folder, which need not exist yet.")
    record = out / RECORD
    if not record.is_file():
        if any(out.iterdir()):
            raise UsageError(f"{out} holds files that are not of an export.", "Name a new or an empty folder.")
        return
    try:
        before = json.loads(record.read_text("utf-8"))["settings"]
        now = json.loads(json.dumps(_settings(export)))
        different = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{record} is not readable.", "Name a new folder.") from None
    if different:
        says = "; ".join(f"{key} was {before.get(key)}, is {now.get(key)}" for key in different)
        raise UsageError(f"{out} holds another export ({says}).", "Use the same options, or a new folder.")


def _write_images(
    export: Export, out: Path, missing: list[ImageFile], shards: list[Shard], workers: int
) -> Iterator[int]:
    """Writes images to files or shards, and yields the bytes of each view."""
    encoded = encoded_files(export.selection, missing, workers, alpha_inside=export.alpha_inside)
    with closing(encoded):
        if export.sample is not None:
            ordered = in_order(missing, encoded)
            for shard in shards:
                yield from write_shard(out / shard.name, shard, ordered, export.sample)
            return
        for _, contents in encoded:
            for name, content in contents.items():
                write_file(out / name, content)
            yield sum(map(len, contents.values()))


def _estimate(export: Export, files: list[ImageFile]) -> int:
    """Bytes that one of these views takes on average, from encoding a few of them."""
    if not files:
        return 0
    samples = files[:: max(1, len(files) // _SAMPLES)][:_SAMPLES]
    total = 0
    for file, contents in encoded_files(export.selection, samples, 1, alpha_inside=export.alpha_inside):
        more = export.sample(file.view) if export.sample is not None else {}
        sizes = [len(data) for data in (*contents.values(), *more.values())]
        total += sum(map(member_size, sizes) if export.sample is not None else sizes)
    return total // len(samples)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n:,} {what}s"


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _readme(export: Export, commands: Mapping[str, str]) -> str:
    selection = export.selection
    lines = [
        f"# {selection.benchmark.title}, participant {selection.data.participant}: {export.format}",
        "",
        f"Written by `nersemble export {export.format}`, version {__version__}:"
        f" {_count(len(export.images), 'image')} from {_count(len(selection.cameras), 'camera')}. {export.world}",
        "",
        "## Use",
        "",
    ]
    for name, line in commands.items():
        lines += [f"{name}:", "", f"    {line}", ""]
    if selection.held_out:
        lines += ["## Held out", "", "Not in the training split; score your renders of these:", ""]
        lines += [f"- {name}" for name in selection.held_out]
        lines += [""]
    if export.losses:
        lines += ["## What readers lose", ""]
        lines += [f"- {loss}" for loss in export.losses]
        lines += [""]
    if export.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in export.notes), ""]
    return "\n".join(lines)

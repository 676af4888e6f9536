"""Per-frame values of videos that were scored before, by what was in their files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nersemble_cli.core.score.sources import Job, digest

VERSION = 1
"""Another one for every change that changes a value."""


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nersemble" / "score"


@dataclass
class Entry:
    """What is known of one pair of videos: metrics by timestep, metrics of the video by their settings, and by how
    many frames the render is late (None if that was not looked at)."""

    path: Path | None = None
    frames: dict[int, dict[str, float | None]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    whole: dict[str, float] = field(default_factory=dict)
    shift: int | None = None

    def save(self) -> None:
        """Writes it if it has a path; a cache that cannot be written is none."""
        if self.path is None:
            return
        document = {
            "frames": {str(t): values for t, values in self.frames.items()},
            "dropped": sorted(self.dropped),
            "whole": self.whole,
            "shift": self.shift,
        }
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.tmp")
            temporary.write_text(json.dumps(document))
            temporary.replace(self.path)


def open_entry(job: Job, folder: Path | None) -> Entry:
    """The entry of what is in a job's files, with what is known; a new one if nothing is. `folder` of None: no
    cache.

    A change of any byte, of the codec or of the mask makes another entry. Raises OSError if a file cannot be read.
    """
    if folder is None:
        return Entry()
    sources = [job.render, job.truth, *([] if job.alpha is None else [job.alpha])]
    settings = [VERSION, job.codec, str(job.fps), job.rendered, *(digest(source) for source in sources)]
    entry = Entry(folder / f"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()}.json")
    assert entry.path is not None
    try:
        document: Any = json.loads(entry.path.read_text("utf-8"))
        entry.frames = {int(t): dict(values) for t, values in document["frames"].items()}
        entry.dropped = set(document["dropped"])
        entry.whole, entry.shift = dict(document["whole"]), document["shift"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Entry(entry.path)  # there is none, or it is damaged
    return entry

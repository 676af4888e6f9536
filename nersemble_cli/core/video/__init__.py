"""Everything that knows PyAV or ffmpeg."""

from __future__ import annotations

from pathlib import Path


def file_url(path: Path | str) -> str:
    """The name under which FFmpeg opens the file at `path`.

    FFmpeg takes what comes before a colon for a protocol (`2024-05-01T12:30/cam.mp4`, `pipe:1`, `concat:a|b`), and
    its command line takes a leading `-` for an option. Its `file:` protocol takes what follows as it is.
    """
    return f"file:{path}"

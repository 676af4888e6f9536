"""Frames as they arrive after an upload: encoded as packing does it, and decoded again."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import Cancelled
from nersemble_cli.core.platform import NamedPipe
from nersemble_cli.core.threads import Cancel
from nersemble_cli.core.video.encode import CRF, encode_video
from nersemble_cli.core.video.reader import open_video


def through_codec(
    frames: Iterable[NDArray[np.uint8]], width: int, height: int, fps: Fraction, crf: int = CRF
) -> Generator[av.VideoFrame, None, None]:
    """The frames of the video that `encode_video` makes of `frames`, decoded while it is encoded.

    ffmpeg writes into a named pipe, so that neither disk nor memory grows with the video. Systems without named
    pipes (Windows) get a temporary file. Raises what `encode_video` and `frames` raise.
    """
    cancel = Cancel()
    failure: list[BaseException] = []
    with tempfile.TemporaryDirectory(prefix="nersemble_") as place:
        path = Path(place) / "video.h264"  # without a container; the pictures are the same
        pipe = NamedPipe(path)

        def encode() -> None:
            try:
                encode_video(frames, path, width, height, fps, crf, cancel)
            except BaseException as error:
                failure.append(error)
            finally:
                pipe.release()

        thread = threading.Thread(target=encode, daemon=True)
        thread.start()
        try:
            if not pipe.exists:
                thread.join()
            with open_video(str(path)) as (container, stream):
                yield from container.decode(stream)
            thread.join()
        except av.FFmpegError:
            thread.join()
            if not failure:
                raise
        finally:
            cancel.set()
            thread.join()
        if failure and not isinstance(failure[0], Cancelled):
            raise failure[0]

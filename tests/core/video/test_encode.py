from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.errors import Cancelled, EncodingError
from nersemble_cli.core.threads import Cancel
from nersemble_cli.core.video import encode
from nersemble_cli.core.video.encode import encode_video

FRAME = np.zeros((512, 512, 3), np.uint8)


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that starts a child and reads nothing; the file that names the child."""
    if os.name == "nt":
        pytest.skip("a shell script")
    program = tmp_path / "ffmpeg"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > '{tmp_path}/child'\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(encode, "find_ffmpeg", lambda: str(program))
    return tmp_path / "child"


def is_running(child: Path) -> bool:
    try:
        state = Path(f"/proc/{int(child.read_text())}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[2] != "Z"


def ends(child: Path) -> bool:
    """Whether it is gone soon: a kill takes a moment."""
    for _ in range(100):
        if not is_running(child):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_ffmpeg_that_hangs_is_ended_with_its_children(
    hanging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "STALLED_AFTER", 1)
    with pytest.raises(EncodingError, match="made no progress for 1 seconds"):
        encode_video([FRAME] * 3, tmp_path / "a.mp4", 512, 512, Fraction(24))
    assert ends(hanging)


@pytest.mark.slow
def test_cancelling_ends_a_write_that_hangs(hanging: Path, tmp_path: Path) -> None:
    cancel = Cancel()
    threading.Thread(target=lambda: (time.sleep(0.5), cancel.set())).start()
    with pytest.raises(Cancelled):
        encode_video([FRAME] * 3, tmp_path / "a.mp4", 512, 512, Fraction(24), cancel=cancel)
    assert ends(hanging)


def test_another_package_called_ffmpeg_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyfvvdp's, whose empty `__init__` takes the place of ffmpeg-python's."""
    import ffmpeg

    for name in ("input", "output", "compile"):
        monkeypatch.delattr(ffmpeg, name, raising=False)
    encode_video([FRAME], tmp_path / "v.mp4", 512, 512, Fraction(73))
    assert (tmp_path / "v.mp4").stat().st_size > 0

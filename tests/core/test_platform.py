"""Where functions of POSIX are missing, the rest works: tried in processes that have lost them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nersemble_cli.core import platform
from tests.conftest import ROOT

# What Windows' Python does not have, as far as this package or a library that it uses asks for it.
WITHOUT_POSIX = """
import os, signal, sys
sys.modules["fcntl"] = None
for name in ("fork", "register_at_fork", "sched_getaffinity", "posix_fadvise", "getuid", "O_NOFOLLOW",
             "killpg", "mkfifo", "setsid"):
    if hasattr(os, name): delattr(os, name)
for name in ("SIGHUP", "pthread_kill"):
    if hasattr(signal, name): delattr(signal, name)
"""


def run_without_posix(code: str, *arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Runs code in such a process; `before` is what libraries built for Linux need, while it is whole."""
    command = [sys.executable, "-c", before + WITHOUT_POSIX + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


COMMAND = """
sys.argv = ["nersemble", *sys.argv[1:]]
from nersemble_cli.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [("inspect", "-f", "FOLDER"), ("export", "colmap", "388", "OUT", "-f", "FOLDER"), ("doctor",)],
    ids=lambda arguments: arguments[0],
)
def test_commands_work_without_posix(synthetic: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    places = {"FOLDER": str(synthetic), "OUT": str(tmp_path / "out")}
    done = run_without_posix(COMMAND, *(places.get(argument, argument) for argument in arguments))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.slow
def test_a_video_is_encoded_and_read_back_without_posix(tmp_path: Path) -> None:
    code = """
import numpy as np
from fractions import Fraction
from pathlib import Path
from nersemble_cli.core.video.encode import encode_video
from nersemble_cli.core.video.reader import borrow_reader
path = Path(sys.argv[1])
encode_video([np.full((32, 48, 3), 40 * t, np.uint8) for t in range(5)], path, 48, 32, Fraction(73))
with borrow_reader(path) as reader:
    print(reader.n_frames, int(reader.rgb(2).mean()))
"""
    done = run_without_posix(code, tmp_path / "video.mp4")
    assert done.stdout.split()[0] == "5" and abs(int(done.stdout.split()[1]) - 80) <= 2, done.stderr


@pytest.mark.slow
def test_frames_go_through_the_codec_without_posix() -> None:
    code = """
import numpy as np
from fractions import Fraction
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.roundtrip import through_codec
frames = [np.full((32, 48, 3), 40 * t, np.uint8) for t in range(5)]
print(*(int(to_rgb(frame).mean().round()) for frame in through_codec(frames, 48, 32, Fraction(73))))
"""
    means = list(map(int, run_without_posix(code).stdout.split()))
    assert len(means) == 5 and all(abs(mean - 40 * t) <= 2 for t, mean in enumerate(means))


@pytest.mark.parametrize("has_groups", [True, False])
def test_a_child_is_ended(monkeypatch: pytest.MonkeyPatch, has_groups: bool) -> None:
    if not has_groups:
        monkeypatch.delattr(os, "killpg", raising=False)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **platform.without_ctrl_c())
    with child:
        platform.kill_group(child)
        assert child.wait(20) != 0


@pytest.mark.slow
def test_a_part_is_locked_or_written_all_the_same_without_posix(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from nersemble_cli.core.files import locked_part, part_path
target = Path(sys.argv[1])
with locked_part(target, lambda: None) as file:
    file.write(b"beginning")
print(part_path(target).read_text())
"""
    assert run_without_posix(code, tmp_path / "file").stdout == "beginning\n"


@pytest.mark.slow
def test_samples_are_cached_without_posix(synthetic: Path) -> None:
    pytest.importorskip("torch")
    code = """
from nersemble_cli import NVSDataset
dataset = NVSDataset(sys.argv[1], 388, "GLASSES", cache="memory")
first = dataset[0]["image"]
print((dataset[0]["image"] == first).all().item())
"""
    done = run_without_posix(code, synthetic, before="import torch.utils.data")
    assert done.stdout == "True\n", done.stderr


def test_all_processors_count_where_a_process_cannot_be_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert platform.cpu_count() == os.cpu_count()


def test_signals_that_do_not_exist_are_left_out() -> None:
    assert platform.signals("SIGINT", "SIGNOTHING") == [signal.SIGINT]


@pytest.mark.parametrize("has_pthread_kill", [True, False])
def test_a_signal_arrives(monkeypatch: pytest.MonkeyPatch, has_pthread_kill: bool) -> None:
    if not has_pthread_kill:
        monkeypatch.delattr(signal, "pthread_kill", raising=False)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        platform.send_signal(threading.get_ident(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_a_child_on_windows_gets_a_group_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    assert platform.without_ctrl_c() == {"creationflags": 0x200}


def test_without_a_file_system_in_memory_temporary_files_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "_SHARED_MEMORY", tmp_path / "missing")
    monkeypatch.setattr(platform.tempfile, "tempdir", str(tmp_path))
    assert platform.folder_in_memory("test_").parent == tmp_path

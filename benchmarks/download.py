"""How fast `nersemble download` is, beside the official downloader and curl, on servers of this machine.

    python benchmarks/download.py --official OFFICIAL_VENV/bin/python [--rounds 3] [--only svfr|file]

The official downloader accepts the URL of the real server only, so that check is left out. Each figure is the
median over the rounds of the ratio of two runs that follow each other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from nersemble_cli.core.benchmarks import SVFR, files  # noqa: E402

GIGABYTE = 1_000_000_000
GIGABIT = 125_000_000
VIDEO = "388/sequences/GLASSES/images/cam_222200042.mp4"
OFFICIAL = """
import nersemble_benchmark.scripts.download_data as command
command.validate_nersemble_benchmark_url = lambda: None
command.main_cli()
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent)}


def png(size: int) -> bytes:
    """A valid PNG of about `size` bytes that cannot be compressed."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width, height = 512, max(1, size // 1537)
    rows = b"".join(b"\0" + os.urandom(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def make_svfr(folder: Path) -> None:
    """All 391 images, 320 kB each as the real ones."""
    image = png(320_000)
    for file in files(SVFR):
        path = folder / "svfr" / file.path
        path.parent.mkdir(parents=True)
        path.write_bytes(image)


def make_video(folder: Path) -> None:
    """One file of 1 GB that has an mp4's outer structure."""
    (folder / "nvs").mkdir()
    (folder / "nvs" / "metadata.json").write_text(
        '{"sequences": {"388": {"sequence_name": "GLASSES", "timesteps": [0]}}}'
    )
    path = folder / "nvs" / VIDEO
    path.parent.mkdir(parents=True)
    start = struct.pack(">I4s8sI4s", 16, b"ftyp", b"isom\0\0\2\0", 8, b"moov")
    with path.open("wb") as file:
        file.write(start + struct.pack(">I4s", GIGABYTE - len(start), b"mdat"))
        block = os.urandom(1 << 20)
        while (left := GIGABYTE - file.tell()) > 0:
            file.write(block[:left])


@contextmanager
def serving(folder: Path, delay: float = 0.0, rate: float = 0.0) -> Iterator[str]:
    command = [
        sys.executable,
        str(HERE / "static_server.py"),
        str(folder),
        "--delay",
        str(delay),
        "--rate",
        str(rate),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def timed(command: list[str], url: str) -> tuple[float, int]:
    """Seconds, and the peak memory of the process in bytes."""
    begun = time.perf_counter()
    environment = ENVIRONMENT | {"NERSEMBLE_BENCHMARK_URL": url}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - begun, usage.ru_maxrss * 1024


def compare(
    title: str, ours: Callable[[], tuple[float, int]], theirs: Callable[[], tuple[float, int]], rounds: int
) -> None:
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratio = statistics.median(theirs_[0] / ours_[0] for ours_, theirs_ in pairs)
    seconds = [statistics.median(pair[i][0] for pair in pairs) for i in (0, 1)]
    memory = max(ours_[1] for ours_, _ in pairs) / 1e6
    print(
        f"{title}: {ratio:.2f}× ({seconds[0]:.2f} s, the other {seconds[1]:.2f} s; {memory:.0f} MB)",
        flush=True,
    )


def nersemble(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "nersemble_cli", "download", *arguments, "-f", str(folder)]


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def measure_svfr(scratch: Path, official: str, rounds: int) -> None:
    """391 small files, each answer delayed by 20 ms; then again over the complete folder."""
    make_svfr(scratch / "server")
    ours, theirs = scratch / "ours", scratch / "theirs"
    theirs_command = [official, "-c", OFFICIAL, str(theirs), "svfr"]
    with serving(scratch / "server", delay=0.02) as url:
        compare(
            "391 images",
            lambda: timed(nersemble(emptied(ours), "svfr"), url),
            lambda: (emptied(theirs), timed(theirs_command, url))[1],
            rounds,
        )
        compare(
            "391 images, nothing to fetch",
            lambda: timed(nersemble(ours, "svfr"), url),
            lambda: timed(theirs_command, url),
            rounds,
        )
    difference = [
        "diff",
        "-r",
        "-x",
        ".nersemble-manifest.jsonl",
        "-x",
        "metadata.json",
        str(ours),
        str(theirs),
    ]
    print("trees", "identical" if subprocess.run(difference, check=False).returncode == 0 else "DIFFERENT")


def measure_file(scratch: Path, rounds: int) -> None:
    """One file of 1 GB, beside curl."""
    make_video(scratch / "server")
    arguments = ("nvs", "-p", "388", "-c", "222200042", "-a", "images")
    for title, rate in (("1 GB at 1 Gbit/s", GIGABIT), ("1 GB, no limit", 0)):
        with serving(scratch / "server", rate=rate) as url:
            compare(
                title,
                lambda: timed(nersemble(emptied(scratch / "ours"), *arguments), url),
                lambda: timed(["curl", "-s", "-o", str(scratch / "curl"), f"{url}/nvs/{VIDEO}"], url),
                rounds,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", help="the Python of a virtual environment with the official toolkit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("svfr", "file"))
    options = parser.parse_args()
    for name in ("svfr", "file"):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as scratch:
                (Path(scratch) / "server").mkdir()
                if name == "file":
                    measure_file(Path(scratch), options.rounds)
                elif options.official:
                    measure_svfr(Path(scratch), options.official, options.rounds)


if __name__ == "__main__":
    main()

"""Downloading from servers of this machine, as whole processes.

The official downloader accepts the URL of the real server only, so that check of its is left out.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from lab import Lab, serving
from measure import NERSEMBLE, Row, Run, run

from nersemble_cli.core.benchmarks import SVFR, files

GIGABYTE = 1_000_000_000
GIGABIT = 125_000_000
DELAY = 0.02  # seconds before each answer
VIDEO = "nvs/388/sequences/GLASSES/images/cam_222200042.mp4"
OFFICIAL = """
import nersemble_benchmark.scripts.download_data as command
command.validate_nersemble_benchmark_url = lambda: None
command.main_cli()
"""


def rows(lab: Lab) -> Iterator[Row]:
    yield from _many_small(lab)
    yield from _one_large(lab)


def fetch(folder: Path, url: str, *arguments: str, anew: bool = True) -> Run:
    """`nersemble download`, into an empty folder unless not `anew`."""
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    return run([*NERSEMBLE, "download", *arguments, "-f", folder, "--url", url])


def fetch_video(folder: Path, url: str) -> Run:
    return fetch(folder, url, "nvs", "-p", "388", "-c", "222200042", "-a", "images")


def _many_small(lab: Lab) -> Iterator[Row]:
    """All SVFR images, 320 kB each as the real ones."""
    server, folder, theirs = (lab.folder / name for name in ("svfr_server", "svfr_ours", "svfr_official"))
    image = _png(320_000)
    for file in files(SVFR):
        path = server / "svfr" / file.path
        path.parent.mkdir(parents=True)
        path.write_bytes(image)

    def official(url: str, anew: bool) -> Run:
        if anew:
            shutil.rmtree(theirs, ignore_errors=True)
        return lab.run_official(OFFICIAL, theirs, "svfr", env={"NERSEMBLE_BENCHMARK_URL": url})

    with serving(server, delay=DELAY) as url:
        for title, anew, asked in (
            (f"download 391 images, {DELAY * 1000:.0f} ms before each answer", True, 6.0),
            ("the same again, nothing to fetch", False, 25.0),
        ):
            yield Row(
                title,
                ours=lambda anew=anew: fetch(folder, url, "svfr", anew=anew),  # type: ignore[misc]
                official=(lambda anew=anew: official(url, anew)) if lab.official else None,  # type: ignore[misc]
                asked=asked,
                rounds=2,
            )
    if lab.official:
        ours_only = ("-x", ".nersemble-manifest.jsonl", "-x", "metadata.json")
        if subprocess.run(["diff", "-r", *ours_only, folder, theirs], check=False).returncode:
            sys.exit("The two downloaders fetched different files.")


def _one_large(lab: Lab) -> Iterator[Row]:
    server = lab.folder / "video_server"
    write_video(server, GIGABYTE)
    for title, rate, asked in (
        ("download 1 GB at 1 Gbit/s", GIGABIT, 1.03),
        ("download 1 GB, no limit", 0, 2.0),
    ):
        with serving(server, rate=rate) as url:
            curl = ["curl", "-s", "-o", str(lab.folder / "curl"), f"{url}/{VIDEO}"]
            yield Row(
                title,
                ours=lambda url=url: fetch_video(lab.folder / "video_ours", url),  # type: ignore[misc]
                limit=lambda curl=curl: run(curl),  # type: ignore[misc]
                limit_is="curl",
                asked_of_limit=asked,
                rounds=3,
            )
    for path in (server, lab.folder / "video_ours"):
        shutil.rmtree(path, ignore_errors=True)
    (lab.folder / "curl").unlink(missing_ok=True)


def write_video(server: Path, n_bytes: int) -> None:
    """A file that has an mp4's outer structure, and the metadata that say it is there."""
    (server / "nvs").mkdir(parents=True, exist_ok=True)
    (server / "nvs" / "metadata.json").write_text(
        '{"sequences": {"388": {"sequence_name": "GLASSES", "timesteps": [0]}}}'
    )
    path = server / VIDEO
    path.parent.mkdir(parents=True, exist_ok=True)
    start = struct.pack(">I4s8sI4s", 16, b"ftyp", b"isom\0\0\2\0", 8, b"moov")
    with path.open("wb") as file:
        file.write(start + struct.pack(">I4s", n_bytes - len(start), b"mdat"))
        block = os.urandom(1 << 20)
        while (left := n_bytes - file.tell()) > 0:
            file.write(block[:left])


def _png(size: int) -> bytes:
    """A valid PNG of about `size` bytes that cannot be compressed."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    width, height = 512, max(1, size // 1537)
    rows = b"".join(b"\0" + os.urandom(3 * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(rows, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

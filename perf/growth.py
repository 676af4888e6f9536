"""How time and memory grow with the work."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from download import fetch_video, write_video
from lab import PARTICIPANT, SEQUENCE, Lab, serving
from measure import NERSEMBLE, Run, run

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.submission.writer import write_zip

SIZES = (1, 2, 4, 8)
FRAMES_PER_VIDEO = 16
BYTES = 125_000_000
ITERATE = """
import sys
from nersemble_cli import NVSDataManager
for image in NVSDataManager(sys.argv[1], 475).iter_images("HAIR", sys.argv[2], as_uint8=True): pass
"""


@dataclass(frozen=True)
class Growth:
    """Something that is done at each of `SIZES`."""

    title: str
    work: Callable[[int], Run]


def growths(lab: Lab) -> Iterator[Growth]:
    frames = sorted(lab.frames.iterdir())[:FRAMES_PER_VIDEO]

    def pack(n: int) -> Run:
        renders = lab.folder / f"renders_{n}"
        for slot in NVS.slots[:n]:
            camera = (renders / slot.path).with_suffix("")
            camera.mkdir(parents=True)
            for frame in frames:
                (camera / frame.name).hardlink_to(frame)
        out = lab.folder / "growth.zip"
        return run([*NERSEMBLE, "pack", "nvs", renders, out, "--allow-incomplete", "--overwrite"])

    def validate(n: int) -> Run:
        path = lab.folder / "growth.zip"
        write_zip(path, {slot.path: lab.video for slot in NVS.slots[:n]})
        return run([*NERSEMBLE, "validate", path], statuses=(1,))  # the other videos are missing

    def download(n: int) -> Run:
        server, folder = lab.folder / "growth_server", lab.folder / "growth_ours"
        write_video(server, n * BYTES)
        with serving(server) as url:
            done = fetch_video(folder, url)
        shutil.rmtree(server)
        shutil.rmtree(folder)
        return done

    def iterate(n: int) -> Run:
        folder = lab.folder / f"iterate_{n}"
        path = NVSDataManager(folder, PARTICIPANT).get_images_path(SEQUENCE, NVS.train_serials[0])
        lab.link(lab.long_video(n), path)
        return run([sys.executable, "-c", ITERATE, folder, NVS.train_serials[0]])

    yield Growth(f"pack 1, 2, 4, 8 NVS videos of {FRAMES_PER_VIDEO} frames", pack)
    yield Growth("validate 1, 2, 4, 8 NVS videos of 259 frames", validate)
    yield Growth(f"download {', '.join(str(n * BYTES // 1_000_000) for n in SIZES)} MB", download)
    yield Growth("iter_images, 259 frames 1, 2, 4, 8 times", iterate)

"""The proof sheet of a whole NVS submission beside validating it: time, memory and size.

    python perf/sheet.py [--frames N]

Every video is the photograph that moves, with noise, 1604×1100, as long as its sequence, or N frames. Takes some
ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from data_access import write_calibration
from lab import N_FRAMES, Lab
from measure import MEGABYTE, NERSEMBLE, run

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.submission.writer import write_zip
from nersemble_cli.core.video.encode import find_ffmpeg


def video_of(lab: Lab, n_frames: int) -> Path:
    """The lab's video, repeated and cut without encoding it again."""
    path = lab.folder / f"sheet_{n_frames}.mp4"
    if not path.exists():
        loops = -(-n_frames // N_FRAMES) - 1
        command = [find_ffmpeg(), "-v", "error", "-stream_loop", str(loops), "-i", str(lab.video)]
        subprocess.run([*command, "-frames:v", str(n_frames), "-c", "copy", str(path)], check=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, metavar="N", help="frames of each video")
    wanted = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as resources:
        lab = Lab(Path(scratch), None, resources)
        folder, submission, page = lab.folder / "benchmark", lab.folder / "out.zip", lab.folder / "sheet.html"
        videos = {}
        for slot in NVS.slots:
            videos[slot.path] = video_of(lab, wanted or NVS.n_frames[slot.participant, slot.sequence])
            data = NVSDataManager(folder, slot.participant)
            if not Path(data.get_camera_calibration_path()).exists():
                write_calibration(Path(data.get_camera_calibration_path()))
                for serial in NVS.train_serials:
                    lab.link(videos[slot.path], data.get_images_path(slot.sequence, serial))
        write_zip(submission, videos)
        arguments = [submission, "-f", folder]
        checked = run([*NERSEMBLE, "validate", *arguments, "--no-compare"], statuses=(0, 1))
        drawn = run([*NERSEMBLE, "visualize", "submission", *arguments, "-o", page])
        print(f"validate      {checked.seconds:7.1f} s  {checked.peak_bytes / MEGABYTE:7.0f} MB at the peak")
        print(f"proof sheet   {drawn.seconds:7.1f} s  {drawn.peak_bytes / MEGABYTE:7.0f} MB at the peak")
        print(f"sheet.html    {page.stat().st_size / MEGABYTE:7.1f} MB")


if __name__ == "__main__":
    main()

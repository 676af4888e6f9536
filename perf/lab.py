"""What the measurements work on: frames of a photograph, videos of them, meshes, and servers of this machine."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import Run, run, run_inner

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.video.encode import encode_video, find_ffmpeg

N_FRAMES = 259
PARTICIPANT, SEQUENCE = 475, "HAIR"  # the shortest of the NVS videos, of 259 frames
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Lab:
    """A scratch folder, the official toolkit's Python if there is one, and what both need."""

    folder: Path
    official: str | None
    resources: ExitStack  # what is open until the end

    @functools.cached_property
    def frames(self) -> Path:
        """PNGs of a photograph that moves, with new noise in every frame."""
        folder = self.folder / "frames"
        folder.mkdir()
        with ProcessPoolExecutor() as pool:
            list(pool.map(functools.partial(_photo_frame, folder=folder), range(N_FRAMES)))
        return folder

    @functools.cached_property
    def video(self) -> Path:
        """These frames as a submission's video."""
        path = self.folder / "video.mp4"
        assert NVS.fps is not None
        encode_video((read_rgb(p) for p in sorted(self.frames.iterdir())), path, NVS.width, NVS.height, NVS.fps)
        return path

    def long_video(self, times: int) -> Path:
        """The video, `times` times in succession."""
        path = self.folder / f"video_{times}.mp4"
        if not path.exists():
            command = [find_ffmpeg(), "-v", "error", "-stream_loop", str(times - 1), "-i", str(self.video)]
            subprocess.run([*command, "-c", "copy", str(path)], check=True)
        return path

    def link(self, video: Path, path: str) -> None:
        """Puts the video at `path` too."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).hardlink_to(video)

    @functools.cached_property
    def metadata_folder(self) -> Path:
        """A benchmark folder with nothing but the frame counts, which the official validator asks a server for."""
        sequences = {
            str(p): {"sequence_name": s, "timesteps": list(range(N_FRAMES))}
            for p, (s,) in NVS.test_sequences.items()
        }
        path = self.folder / "metadata" / "nvs" / "metadata.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"sequences": sequences}))
        return path.parent.parent

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        """The official toolkit needs ffmpeg on PATH, and gets the one that we use."""
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "ffmpeg").symlink_to(find_ffmpeg())
        url = self.resources.enter_context(serving(self.metadata_folder))
        return {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "NERSEMBLE_BENCHMARK_URL": url,
        }

    @functools.cached_property
    def home(self) -> Path:
        """A home folder of both toolkits."""
        path = self.folder / "home"
        path.mkdir()
        return path

    def run_official(self, script: str, *arguments: str | Path, env: dict[str, str] | None = None) -> Run:
        """The script in the official toolkit's Python, as a whole process."""
        assert self.official is not None
        return run([self.official, "-W", "ignore", "-c", script, *arguments], {**self._environment, **(env or {})})

    def run_inner(self, python: str, script: str, *arguments: str | Path) -> Run:
        """A script that prints the seconds that count."""
        return run_inner([python, "-W", "ignore", "-c", script, *arguments], self._environment)


def _photo_frame(t: int, folder: Path) -> None:
    import cv2
    from skimage import data

    height, width = NVS.height, NVS.width
    photo = cv2.resize(data.astronaut()[..., ::-1], (width + 300, height + 296), interpolation=cv2.INTER_CUBIC)
    x, y = int(150 + 100 * np.sin(t / 20)), int(140 + 100 * np.cos(t / 17))
    noise = np.random.default_rng(t).integers(-4, 5, (height, width, 3), dtype=np.int16)
    frame = np.clip(photo[y : y + height, x : x + width] + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / f"{t:05d}.png"), frame)


@contextmanager
def serving(folder: Path, delay: float = 0.0, rate: float = 0.0) -> Iterator[str]:
    """`static_server.py` in a process of its own; gives its URL."""
    command = [
        sys.executable,
        str(HERE / "static_server.py"),
        str(folder),
        "--delay",
        str(delay),
        "--rate",
        str(rate),
    ]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

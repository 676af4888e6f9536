"""Runs the core in an environment that lacks pyvista, VTK, OpenCV and trimesh, in the folder that a demo left.

    python .ci/light.py FOLDER

What does not need these packages works; what does says what to install, and never calls itself a bug.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

WORKS = [
    "doctor",
    "inspect",
    "inspect made_up.zip",
    "inspect nersemble_benchmark/nvs/388/calibration/camera_params.json",
    "validate made_up.zip",
    "validate made_up_mono.zip",
    "pack nvs renders light.zip",
]
NEEDS_MORE = [
    "visualize cameras 388 -o light.png",
    "visualize pointcloud 388 -o light.png",
]
CODE = """
from nersemble_cli import BENCHMARK_NVS_TRAIN_SERIALS, MonoFlameAvatarDataManager, NVSDataManager
nvs = NVSDataManager("nersemble_benchmark", 388)
assert nvs.load_image("GLASSES", BENCHMARK_NVS_TRAIN_SERIALS[0], 1, as_uint8=True).shape == (1604, 1100, 3)
assert nvs.load_alpha_map("GLASSES", BENCHMARK_NVS_TRAIN_SERIALS[0], 1).shape == (1604, 1100, 1)
assert len(nvs.load_pointcloud("GLASSES", 0)[0])
assert nvs.load_camera_calibration().world_2_cam
mono = MonoFlameAvatarDataManager("nersemble_benchmark", 393)
assert mono.load_image("EXP-1-head", "222200037", 1).shape == (512, 512, 3)
assert mono.load_flame_tracking("FREE") is not None
"""


def main(place: Path) -> int:
    there = [name for name in ("pyvista", "vtk", "cv2", "trimesh") if importlib.util.find_spec(name)]
    failures = [f"{name} is installed" for name in there]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *words], cwd=place, capture_output=True, text=True, check=False)

    for line in WORKS:
        done = run("-m", "nersemble_cli", *line.split())
        if done.returncode:
            failures.append(f"nersemble {line}: {done.returncode}\n{done.stdout}{done.stderr}")
    for line in NEEDS_MORE:
        done = run("-m", "nersemble_cli", *line.split())
        if done.returncode not in (1, 2) or "pip install" not in done.stderr or "bug" in done.stderr:
            failures.append(f"nersemble {line}: {done.returncode}\n{done.stdout}{done.stderr}")
    done = run("-c", CODE)
    if done.returncode:
        failures.append(f"Python: {done.stderr}")
    print("\n".join(failures) or f"{len(WORKS)} commands work, {len(NEEDS_MORE)} say what to install.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""The live viewer on 13 videos of 1604×1100: how soon there is a picture, and how fast thumbnails play.

python perf/viewer.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from data_access import write_calibration
from lab import PARTICIPANT, SEQUENCE, Lab

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.data.managers import NVSDataManager

TIMES = 4  # the sequence has this many times 259 frames
# A browser is not part of it: what is counted is decoding, scaling and encoding, and handing images to viser.
SCRIPT = """
import json, resource, sys, time
start = time.perf_counter()
from pathlib import Path
from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.viewer.results import UserResults
from nersemble_cli.core.viewer.server import Choice, Viewer
viewer = Viewer(Path(sys.argv[1]), Choice(NVS, int(sys.argv[2])), UserResults(), port=18300)
stage = viewer._page._stage
opened = time.perf_counter() - start
while not stage.frames.n_ready(0): time.sleep(0.005)
first = time.perf_counter() - start
assert stage.frames.wait(0, 60)
everyone = time.perf_counter() - start
timestep, seconds = 1, 15.0
begin = time.perf_counter()
while time.perf_counter() - begin < seconds:
    assert stage.frames.wait(timestep, 60)
    stage.show(timestep, "truth", False)
    timestep += 1
rate = (timestep - 1) / (time.perf_counter() - begin)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"opened s": opened, "first picture s": first, "all 13 pictures s": everyone,
                  "timesteps a second": rate, "peak MB": memory}))
viewer.close()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as resources:
        lab = Lab(Path(scratch), None, resources)
        folder = lab.folder / "viewer"
        nvs = NVSDataManager(folder, PARTICIPANT)
        write_calibration(Path(nvs.get_camera_calibration_path()))
        for serial in NVS.train_serials:
            lab.link(lab.long_video(TIMES), nvs.get_images_path(SEQUENCE, serial))
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder, str(PARTICIPANT)], capture_output=True, text=True, check=True
        )
    for name, value in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"{name:20} {value:8.2f}")


if __name__ == "__main__":
    main()

"""AKD and CSIM through `nersemble score`'s process beside visage itself, which gets all frames at once.

    python perf/score_faces.py --visage-python ENV/bin/python RENDERS TRUTHS [--metrics akd,csim]

RENDERS and TRUTHS are folders of PNGs of one size. visage's weights must be where it looks for them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from nersemble_cli.core.formats.png import read_rgb
from nersemble_cli.core.score.document import OF_FACES
from nersemble_cli.core.score.faces import Faces, why_not
from nersemble_cli.core.score.metrics import mean

VISAGE = """
import json, sys
import numpy as np, scipy.integrate, torch
scipy.integrate.simps = getattr(scipy.integrate, "simps", scipy.integrate.simpson)
a, b = (torch.from_numpy(np.load(path)).permute(0, 3, 1, 2).float() / 255 for path in sys.argv[1:3])
found = {}
if "akd" in sys.argv[3]:
    from visage.evaluator.keypoint_evaluator import KeypointEvaluator
    found["akd"], found["akd_face"] = map(float, KeypointEvaluator()(a, b))
if "csim" in sys.argv[3]:
    from visage.evaluator.csim_evaluator import CSIMEvaluator
    found["csim"] = float(CSIMEvaluator()(a, b))
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visage-python", type=Path, required=True)
    parser.add_argument("--metrics", default="akd,csim")
    parser.add_argument("folders", type=Path, nargs=2, metavar="FOLDER")
    arguments = parser.parse_args()
    wanted = [name for name in OF_FACES if name.split("_")[0] in arguments.metrics]
    for name in wanted:
        if reason := why_not(name, arguments.visage_python):
            parser.error(f"{name}: {reason}")
    render, truth = (np.stack([read_rgb(path) for path in sorted(f.glob("*.png"))]) for f in arguments.folders)
    with closing(Faces(arguments.visage_python, wanted)) as faces:
        rows = [faces(a, b) for a, b in zip(render, truth, strict=True)]
    with tempfile.TemporaryDirectory() as place:
        paths = [f"{place}/render.npy", f"{place}/truth.npy"]
        np.save(paths[0], render)
        np.save(paths[1], truth)
        command = [arguments.visage_python, "-W", "ignore", "-c", VISAGE, *paths, arguments.metrics]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    print("| metric | frames with a face | visage | nersemble | apart |\n|---|---|---|---|---|")
    for name in wanted:
        values = [value for row in rows if (value := row[name]) is not None]
        ours = mean(values) if values else -1
        count = f"{len(values)} of {len(rows)}"
        print(f"| {name} | {count} | {theirs[name]:.6f} | {ours:.6f} | {abs(theirs[name] - ours):.1e} |")


if __name__ == "__main__":
    main()

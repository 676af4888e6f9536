"""Agreement and speed of the image metrics, side by side with visage's own evaluator.

    python perf/score.py --reference ENV/bin/python [--frames 16] [--sizes 512x512 1604x1100]

ENV is an environment of its own, with what visage imports but does not ask for:

    pip install torch==2.13.0 torchmetrics==1.9.0 cython setuptools wheel
    pip install --no-build-isolation visage==0.2.18 dreifus matplotlib

Both compute PSNR, SSIM, MS-SSIM and LPIPS (seeded random weights) of the same frames, one after the other on one
machine. Times leave the start out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
METRICS = ("psnr", "ssim", "ms_ssim", "lpips")
# visage imports a name that matplotlib has dropped, and torchmetrics has LPIPS only beside torchvision, whose
# AlexNet is stood in for.
REFERENCE = """
import json, resource, sys, time
import matplotlib, matplotlib.cm
matplotlib.cm.get_cmap = matplotlib.colormaps.__getitem__
import numpy as np
import torchmetrics.image
from torchmetrics.image import lpip
from tests.core.score.make_reference import _lpips
lpip._TORCHVISION_AVAILABLE = True
lpip._NoTrainLpips = lambda net: _lpips()
torchmetrics.image.LearnedPerceptualImagePatchSimilarity = lpip.LearnedPerceptualImagePatchSimilarity
from visage.evaluator.paired_image_evaluator import PairedImageEvaluator
render, truth = (np.load(path) for path in sys.argv[1:3])
evaluator = PairedImageEvaluator()
begun = time.perf_counter()
found = evaluator.evaluate(list(render), list(truth))
seconds = time.perf_counter() - begun
values = {"psnr": found.psnr, "ssim": found.ssim, "ms_ssim": found.multi_scale_ssim, "lpips": found.lpips}
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"values": values, "seconds": seconds, "memory": memory}))
"""


def ours(render_path: str, truth_path: str) -> dict[str, object]:
    """What the scorer does with frames: in threads, each frame on its own."""
    import torch

    from nersemble_cli.core.score.lpips import make_lpips
    from nersemble_cli.core.score.metrics import image_metrics, summarise
    from nersemble_cli.core.threads import cpu_count, in_threads
    from tests.core.score.cases import alexnet

    render, truth = (np.load(path, mmap_mode="r") for path in (render_path, truth_path))
    torch.set_num_threads(1)
    lpips = make_lpips(alexnet())
    found: dict[str, object] = {}
    for wanted in (("psnr", "ssim"), METRICS):
        rows: dict[int, dict[str, float]] = {}

        def work(t: int, _: object, wanted: tuple[str, ...] = wanted) -> dict[str, float]:
            a, b = np.array(render[t]), np.array(truth[t])
            values = image_metrics(a, b, wanted)
            return {**values, "lpips": lpips(a, b)} if "lpips" in wanted else values

        begun = time.perf_counter()
        rows.update(in_threads(work, range(len(render)), cpu_count()))
        found["seconds, PSNR and SSIM" if len(wanted) == 2 else "seconds"] = time.perf_counter() - begun
        values = summarise([rows[t] for t in sorted(rows)])[0]
    found["values"] = {name: values[name] for name in METRICS}
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def run(command: list[str]) -> dict[str, float]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", required=True, help="a Python that has visage")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--sizes", nargs="+", default=["512x512", "1604x1100"])
    parser.add_argument("--ours", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(ours(*arguments.ours)))
        return
    print("| frames | metrics | visage | nersemble | ratio | memory, visage | nersemble |")
    print("|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        rng = np.random.default_rng(0)
        y, x = np.mgrid[0:height, 0:width]
        inside = np.hypot((x - width / 2) / width, (y - height / 2) / height)[..., None] < 0.35
        with tempfile.TemporaryDirectory() as place:
            truth = np.stack([np.where(inside, 120 + 60 * np.sin((x + 5 * t) / 9)[..., None], 255) + np.zeros(3)
                              for t in range(arguments.frames)])  # fmt: skip
            paths = [f"{place}/render.npy", f"{place}/truth.npy"]
            np.save(paths[0], (truth + rng.normal(scale=8, size=truth.shape)).clip(0, 255).astype(np.uint8))
            np.save(paths[1], truth.astype(np.uint8))
            del truth
            mine = run([sys.executable, __file__, "--reference", "-", "--ours", *paths])
            theirs = run([arguments.reference, "-W", "ignore", "-c", REFERENCE, *paths])
        n, a, b = arguments.frames, theirs["seconds"], mine["seconds"]
        memory = f"{theirs['memory'] / 1e6:.0f} MB | {mine['memory'] / 1e6:.0f} MB"
        print(f"| {n} of {size} | all four | {n / a:.2f}/s | {n / b:.2f}/s | {a / b:.1f}× | {memory} |")
        print(f"| | PSNR and SSIM | | {n / mine['seconds, PSNR and SSIM']:.1f}/s | | | |")
        for name in METRICS:
            found, expected = mine["values"][name], theirs["values"][name]  # type: ignore[index]
            print(f"| | {name} | {expected:.6f} | {found:.6f} | {abs(found - expected):.1e} apart | | |")


if __name__ == "__main__":
    main()

"""Writes `reference.json`: what torchmetrics says of `cases.py`, called as visage 0.2.18 calls it.

Run it in an environment of its own, where torchvision is not needed (its AlexNet is stood in for):

    pip install torch==2.13.0 torchmetrics==1.9.0 && python -m tests.core.score.make_reference
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torchmetrics
from torch import nn

from tests.core.score.cases import CASES, alexnet

BATCH = 16
LPIPS_CASES = ("15 frames", "17 frames", "odd", "large")


def _features() -> nn.Sequential:
    layers = [
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(True), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(True), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2),
    ]  # fmt: skip
    features = nn.Sequential(*layers)
    weights = {name.removeprefix("features."): torch.tensor(value) for name, value in alexnet().items()}
    features.load_state_dict(weights)
    return features


def _lpips() -> nn.Module:
    from torchmetrics.functional.image import lpips

    lpips._get_tv_model_features = lambda *_: _features()  # without torchvision
    return lpips._NoTrainLpips(pretrained=True, net="alex", use_dropout=True, eval_mode=True)


def main() -> None:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )
    from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    network = _lpips()
    found = {}
    for name, make in CASES.items():
        render, truth = (torch.tensor(video).permute(0, 3, 1, 2).double().div(255).float() for video in make())
        starts = range(0, len(render), BATCH)
        batches = [(render[i : i + BATCH], truth[i : i + BATCH]) for i in starts]
        small = min(render.shape[-2:])
        metrics = {"psnr": lambda a, b: psnr(a, b, data_range=1.0)}
        metrics["ssim"] = lambda a, b: ssim(a, b, data_range=1.0)
        if small >= 176:
            metrics["ms_ssim"] = lambda a, b: ms_ssim(a, b, data_range=1.0)
        if name in LPIPS_CASES:
            metrics["lpips"] = lambda a, b: network(a, b, normalize=True).mean()
        with torch.no_grad():
            values = {
                key: torch.stack([metric(a, b) for a, b in batches]).mean().item()
                for key, metric in metrics.items()
            }
            values["mse"] = nn.functional.mse_loss(render, truth).item()
        found[name] = {key: None if value == float("inf") else value for key, value in values.items()}
    versions = {"torch": torch.__version__, "torchmetrics": torchmetrics.__version__}
    text = json.dumps({"versions": versions, "values": found}, indent=1)
    Path(__file__).with_name("reference.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

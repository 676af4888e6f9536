"""LPIPS v0.1 with AlexNet, in plain torch.

Sources: Zhang, Isola, Efros, Shechtman and Wang (2018); the normalisation of features is that of torchmetrics,
which visage 0.2.18 calls with `net_type="alex", normalize=True`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from nersemble_cli.core.score.metrics import Image
from nersemble_cli.core.score.weights import LAYERS, Arrays, load_heads

if TYPE_CHECKING:
    import torch

Lpips = Callable[[Image, Image], float]

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Stride and padding of each convolution; the first three are followed by pooling or not, as `_POOLED` says.
_CONVOLUTIONS = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOLED = (True, True, False, False, False)
_EPSILON = 1e-8
SMALLEST = 63
"""The fewest rows and columns that AlexNet's layers leave anything of; 64 in torchvision's own words."""


def choose_device(name: str) -> str:
    """`auto` turned into `cuda` or `cpu`; torch must be installed."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def make_lpips(weights: Arrays, device: str = "cpu", heads: Arrays | None = None) -> Lpips:
    """A function of two (H, W, 3) uint8 RGB images of the same size.

    `weights` are AlexNet's convolutions as `weights.load` gives them. One pair at a time, so that memory does not
    depend on the length of a video. Safe to call from several threads.
    """
    import torch

    network = {name: torch.tensor(array, device=device) for name, array in weights.items()}
    linear = [torch.tensor(head, device=device)[None, :, None, None] for head in (heads or load_heads()).values()]
    shift, scale = (torch.tensor(values, device=device)[None, :, None, None] for values in (_SHIFT, _SCALE))

    def distance(a: Image, b: Image) -> float:
        with torch.inference_mode():
            pair = torch.from_numpy(np.stack([a, b])).to(device).permute(0, 3, 1, 2)
            x = ((pair.float() / 255 * 2 - 1) - shift) / scale
            total = torch.zeros((), device=device)
            for (stride, padding), layer, head, pooled in zip(
                _CONVOLUTIONS, LAYERS, linear, (False, *_POOLED), strict=False
            ):
                if pooled:
                    x = torch.nn.functional.max_pool2d(x, 3, 2)
                x = _convolve(x, network, layer, stride, padding)
                # Written so that few copies of the features are alive at once: they are most of the memory.
                norms = torch.linalg.vector_norm(x, dim=1, keepdim=True).square_().add_(_EPSILON).sqrt_()
                apart = (x[:1] / norms[:1]).sub_(x[1:] / norms[1:]).square_()
                total += torch.nn.functional.conv2d(apart, head).mean()
            return float(total)

    return distance


def _convolve(
    x: torch.Tensor, network: Mapping[str, torch.Tensor], layer: str, stride: int, padding: int
) -> torch.Tensor:
    import torch

    weight, bias = network[f"{layer}.weight"], network[f"{layer}.bias"]
    return torch.nn.functional.conv2d(x, weight, bias, stride=stride, padding=padding).relu_()


def check_itself(lpips: Lpips) -> float:
    """The distance of a fixed pair of 64 × 64 images, which tells AlexNet's real weights from any others."""
    y, x = np.mgrid[0:64, 0:64]
    waves = [128 + 100 * np.sin(x / (3 + c)) * np.cos(y / (4 + c)) for c in range(3)]
    image = np.stack(waves, axis=-1).round().astype(np.uint8)
    return lpips(image, np.ascontiguousarray(image[:, ::-1]))

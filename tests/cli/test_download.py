"""`nersemble download` against a server that misbehaves."""

from __future__ import annotations

import functools
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nersemble_cli.cli.output import count
from nersemble_cli.core.benchmarks import MONO, NVS, SVFR, VideoBenchmark
from nersemble_cli.core.download import batch as core
from nersemble_cli.core.download import fetch as transfer
from nersemble_cli.core.download import http
from nersemble_cli.core.download.manifest import FILE_NAME
from tests.conftest import ROOT, Result, Run
from tests.fault_server import Fault, FaultServer, benchmark_content, large_video

SECRETS = ("s3cret", "127.0.0.1")
VIDEO = "475/sequences/HAIR/images/cam_222200042.mp4"
ONE_VIDEO = ("nvs", "-p", "475", "-a", "images", "-c", "222200042")
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
Download = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = functools.partial(http.RetryPolicy, attempts=3, first_wait=0.01, connect_timeout=1.0, read_timeout=0.3)
    monkeypatch.setattr(http, "RetryPolicy", quick)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "benchmark"


@pytest.fixture
def download(run: Run, server: FaultServer, target: Path) -> Download:
    """Runs `nersemble download` into `target`; the secret must not be in what it says, nor in what it writes."""

    def download(*arguments: str | Path) -> Result:
        result = run("download", *arguments, "-f", target, "--url", server.url)
        written = b"".join(path.read_bytes() for path in target.rglob(".nersemble*")) if target.is_dir() else b""
        for secret in SECRETS:
            assert secret not in result.out + result.err
            assert secret.encode() not in written
        return result

    return download


def on_disk(folder: Path) -> dict[str, bytes]:
    """What lies at final names, by the names that the server has for it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".part" and path.name != FILE_NAME
    }


# What is fetched


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "arguments", "n_files"),
    [
        (NVS, (), 5 * (1 + 26 + 1)),
        (MONO, (), 5 * (1 + 18 * 2 + 22)),
        (SVFR, (), 391),
        (NVS, ("-p", "388,475", "-a", "calibration"), 2),
        (NVS, ("-p", "475", "-c", "222200042,222200040"), 1 + 4 + 1),
        (NVS, ("-s", "HAIR", "-a", "images", "-a", "alpha_maps"), 26),
        (NVS, ("-p", "388", "-a", "pointclouds", "--pointcloud-frames", "all"), 3),
        (NVS, ("-p", "388", "-a", "pointclouds", "--pointcloud-frames", "0,1-2"), 3),
        (NVS, ("-p", "388", "-a", "pointclouds", "--pointcloud-frames", "2"), 1),
        (MONO, ("-p", "393", "-a", "flame2023_tracking"), 18),
        (SVFR, ("-p", "017"), 20),
    ],
)  # fmt: skip
def test_fetches_what_is_asked_for(
    benchmark: core.Benchmark, arguments: tuple[str, ...], n_files: int, server: FaultServer,
    download: Download, target: Path,
) -> None:  # fmt: skip
    server.served = benchmark_content(benchmark)
    result = download(benchmark.name, *arguments)
    assert result.status == 0, result.err
    got = on_disk(target)
    assert len(got) == n_files + isinstance(benchmark, VideoBenchmark)  # and metadata.json
    assert all(server.served[name] == data for name, data in got.items())
    assert f"{count(n_files, 'file')} fetched" in result.out


def test_takes_the_official_name_of_the_benchmark(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(MONO)
    assert download("mono_flame_avatar", "-p", "393", "-a", "calibration").status == 0


def test_a_second_run_asks_nothing(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    download("nvs", "-p", "475")
    server.log.clear()
    result = download("nvs", "-p", "475")
    assert (result.status, server.log) == (0, [])
    assert "Nothing to fetch" in result.out


def test_json(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS)
    result = download(*ONE_VIDEO, "--json")
    document = json.loads(result.out)
    size = len(server.served[f"nvs/{VIDEO}"])
    assert document["schema_version"] == 1
    assert (document["benchmark"], document["folder"]) == ("nvs", str(target))
    assert (document["complete"], document["failures"]) == (True, [])
    assert (document["fetched_files"], document["fetched_bytes"]) == (1, size)


def test_only_the_missing_file_is_fetched_again(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS)
    download("nvs", "-p", "475")
    (target / "nvs" / VIDEO).unlink()
    server.log.clear()
    download("nvs", "-p", "475")
    assert server.requests("GET") == [f"nvs/{VIDEO}"]


def test_a_file_whose_size_no_longer_fits_is_fetched_again(
    server: FaultServer, download: Download, target: Path
) -> None:
    server.served = benchmark_content(NVS)
    download(*ONE_VIDEO)
    (target / "nvs" / VIDEO).write_bytes(b"cut")
    download(*ONE_VIDEO)
    assert (target / "nvs" / VIDEO).read_bytes() == server.served[f"nvs/{VIDEO}"]


@pytest.mark.slow
def test_overwrite_fetches_everything(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    download("nvs", "-p", "475")
    server.log.clear()
    download("nvs", "-p", "475", "--overwrite")
    assert len(server.requests("GET")) == 28 + 1


def test_files_of_another_tool_are_compared_by_size(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(SVFR)
    for name, data in server.served.items():
        if name.startswith("svfr/215/"):
            (target / name).parent.mkdir(parents=True)
            (target / name).write_bytes(data)
    other = next(path for path in (target / "svfr").rglob("rgb.png"))
    other.write_bytes(b"cut")
    result = download("svfr", "-p", "215")
    assert result.status == 0
    assert len(server.requests("HEAD")) == 13
    assert server.requests("GET") == [str(other.relative_to(target))]
    server.log.clear()
    download("svfr", "-p", "215")
    assert server.log == []


def test_a_server_without_head_is_asked_with_get(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS)
    server.always["*"] = Fault(status=405, method="HEAD")
    assert download(*ONE_VIDEO).status == 0
    assert (target / "nvs" / VIDEO).is_file()


# Dry run


def test_dry_run_shows_the_plan_and_writes_nothing(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS)
    result = download("nvs", "-p", "475", "--dry-run")
    assert result.status == 0
    assert not target.exists()
    assert "To fetch: 28 files" in result.out
    assert [line.split()[:3] for line in result.out.splitlines()[1:5]] == [
        ["475", "calibration", "1"], ["475", "images", "13"], ["475", "alpha_maps", "13"], ["475", "pointclouds", "1"],
    ]  # fmt: skip
    assert set(server.requests("GET")) == {"nvs/metadata.json"}


def test_dry_run_counts_exactly(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    download(*ONE_VIDEO)
    document = json.loads(download("nvs", "-p", "475", "--dry-run", "--json").out)
    one = len(server.served[f"nvs/{VIDEO}"])
    images = next(group for group in document["groups"] if group["asset"] == "images")
    assert (images["files"], images["bytes"]) == (13, 13 * one)
    assert (images["present_files"], images["remaining_files"], images["remaining_bytes"]) == (1, 12, 12 * one)
    assert document["complete"] is False


# Bad luck that passes


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(drop_after=1_500_000)], id="drops the connection"),
        pytest.param([Fault(drop_after=0)], id="drops it at once"),
        pytest.param([Fault(stall_after=1_500_000)], id="stalls"),
        pytest.param([Fault(status=503, headers={"Retry-After": "0"}), Fault(status=500)], id="503 and 500"),
        pytest.param([Fault(status=429)], id="429"),
        pytest.param([Fault(status=408)], id="408"),
        pytest.param([Fault(chunked=True)], id="sends chunks of unknown length"),
        pytest.param([Fault(trickle=True)], id="sends the first bytes one by one"),
        pytest.param([Fault(claim_extra=1000)], id="claims too many bytes"),
        pytest.param([Fault(drop_after=1 << 20), Fault(ignore_range=True)], id="ignores Range"),
        pytest.param([Fault(drop_after=1 << 20), Fault(status=416)], id="416"),
        pytest.param(
            [Fault(drop_after=1 << 20), Fault(headers={"Content-Range": "bytes 7-9/10"})], id="another range"
        ),
        pytest.param([Fault(drop_after=2 << 20, body=large_video(seed=1))], id="changed between two tries"),
        pytest.param([Fault(drop_after=450_000)] * 5, id="many drops, each a little further"),
    ],
)
def test_recovers(faults: list[Fault], server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.faults[f"nvs/{VIDEO}"] = list(faults)
    result = download(*ONE_VIDEO)
    assert result.status == 0, result.out + result.err
    assert server.faults[f"nvs/{VIDEO}"] == []
    assert (target / "nvs" / VIDEO).read_bytes() == large_video()
    assert not list(target.rglob("*.part"))


def test_goes_on_where_it_stopped(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=2 << 20)]
    download(*ONE_VIDEO)
    assert [wanted for method, path, wanted in server.log if method == "GET" and path.endswith(".mp4")] == [
        None, "bytes=2097152-",
    ]  # fmt: skip


@pytest.mark.slow
def test_goes_on_in_another_run(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=2 << 20)] + [Fault(status=500)] * 3
    assert download(*ONE_VIDEO).status == 1
    assert (target / "nvs" / f"{VIDEO}.part").stat().st_size == 2 << 20
    assert not (target / "nvs" / VIDEO).exists()
    server.log.clear()
    assert download(*ONE_VIDEO).status == 0
    assert ("GET", f"nvs/{VIDEO}", "bytes=2097152-") in server.log
    assert (target / "nvs" / VIDEO).read_bytes() == large_video()


def test_a_part_of_an_older_version_is_not_continued(
    server: FaultServer, download: Download, target: Path
) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video(seed=1)}
    server.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=2 << 20)] + [Fault(status=500)] * 3
    download(*ONE_VIDEO)
    server.served[f"nvs/{VIDEO}"] = large_video(seed=2)
    assert download(*ONE_VIDEO).status == 0
    assert (target / "nvs" / VIDEO).read_bytes() == large_video(seed=2)


def test_a_part_that_is_complete_is_confirmed_with_one_byte(
    server: FaultServer, download: Download, target: Path
) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    download(*ONE_VIDEO)
    manifest = target / "nvs" / FILE_NAME
    lines = [line for line in manifest.read_text().splitlines() if '"part"' in line or "metadata" in line]
    manifest.write_text("\n".join(lines) + "\n")
    (target / "nvs" / VIDEO).rename(target / "nvs" / f"{VIDEO}.part")
    server.log.clear()
    assert download(*ONE_VIDEO).status == 0
    assert ("GET", f"nvs/{VIDEO}", f"bytes={len(large_video()) - 1}-") in server.log
    assert (target / "nvs" / VIDEO).read_bytes() == large_video()


def test_without_validators_nothing_is_continued(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.etags = False
    server.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=2 << 20)]
    assert download(*ONE_VIDEO).status == 0
    assert [wanted for *_, wanted in server.log if wanted] == []
    assert (target / "nvs" / VIDEO).read_bytes() == large_video()


def test_follows_redirects(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {"moved.mp4": large_video()}
    server.always[f"nvs/{VIDEO}"] = Fault(status=302, headers={"Location": "/path-s3cret/moved.mp4"})
    assert download(*ONE_VIDEO).status == 0
    assert (target / "nvs" / VIDEO).read_bytes() == large_video()


@pytest.mark.slow
def test_waits_as_long_as_the_server_asks(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    server.faults[f"nvs/{VIDEO}"] = [Fault(status=503, headers={"Retry-After": "1"})]
    begun = time.monotonic()
    assert download(*ONE_VIDEO).status == 0
    assert time.monotonic() - begun >= 1


# Bad luck that lasts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(status=404), "does not have it (HTTP 404)"),
        (Fault(status=403), "refuses access (HTTP 403)"),
        (Fault(status=500), "overloaded or out of order (HTTP 500)"),
        (Fault(status=503, headers={"Retry-After": "86400"}), "asks to wait for more than 300 s"),
        (Fault(status=302, headers={"Location": "/path-s3cret/nvs/" + VIDEO}), "redirects in a circle"),
        (Fault(body=HTML), "is a web page (HTML), not .mp4"),
        (Fault(body=b"<?xml version='1.0'?><Error><Code>Expired</Code></Error>"), "is an XML document, not .mp4"),
        (Fault(status=429), "asks for fewer requests at a time (HTTP 429)"),
        (Fault(status=416), "answers in an unexpected way (HTTP 416)"),
        (Fault(status=301), "answers in an unexpected way (HTTP 301)"),
        (Fault(body=b""), "is empty"),
        (Fault(body=b"12345678 and no video at all"), "unlike any .mp4 file"),
        (Fault(claim_extra=10), "connection broke off"),
        (Fault(drop_after=100), "connection broke off"),
        (Fault(stall_after=100), "stopped sending"),
        (Fault(claim_extra=-1000), "is cut short"),
        (Fault(no_length=True), "does not say how long it is"),
        (Fault(body=large_video()[:-1000]), "is cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_failure_stops_no_other(
    fault: Fault, reason: str, server: FaultServer, download: Download, target: Path
) -> None:
    server.served = benchmark_content(NVS)
    server.always[f"nvs/{VIDEO}"] = fault
    result = download("nvs", "-p", "475", "-a", "images")
    assert result.status == 1
    assert reason in result.out
    assert f"nvs/{VIDEO}" in result.out
    got = on_disk(target)
    assert len(got) == 12 + 1
    assert all(server.served[name] == data for name, data in got.items())
    server.always.clear()
    server.log.clear()
    assert download("nvs", "-p", "475", "-a", "images").status == 0
    assert set(server.requests("GET")) == {f"nvs/{VIDEO}"}


@pytest.mark.slow
def test_hundreds_of_failures_are_grouped_by_cause(server: FaultServer, download: Download, target: Path) -> None:
    served = benchmark_content(SVFR)
    names = sorted(served)
    server.served = served
    for number, name in enumerate(names[5:]):
        server.always[name] = Fault(status=403) if number % 3 else Fault(body=HTML)
    result = download("svfr")
    assert result.status == 1
    assert "386 files could not be downloaded" in result.out
    lines = result.out.splitlines()
    assert sum("refuses access (HTTP 403)" in line for line in lines) == 1
    assert sum("is a web page (HTML)" in line for line in lines) == 1
    assert sum("more (--json lists them all)" in line for line in lines) == 2
    assert len(lines) < 25
    assert sorted(on_disk(target)) == names[:5]
    folders = [path for path in target.rglob("*") if path.is_dir()]
    assert [folder for folder in folders if not any(folder.iterdir())] == []


def test_markup_in_an_answer_does_not_lose_the_list_of_failures(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    for name in server.served:
        if "/images/" in name:
            server.always[name] = Fault(status=507, headers={"X-Reason": "[/red]"}, body=b"[/b]x[b] quota")
    result = download("nvs", "-p", "475", "-a", "images")
    assert result.status == 1
    assert "13 files could not be downloaded" in result.out
    assert f"nvs/{VIDEO}" in result.out
    assert "Markup" not in result.err


def test_failures_are_in_the_json(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    server.always[f"nvs/{VIDEO}"] = Fault(status=404)
    result = download(*ONE_VIDEO, "--json")
    document = json.loads(result.out)
    assert result.status == 1
    assert document["complete"] is False
    assert [failure["path"] for failure in document["failures"]] == [f"nvs/{VIDEO}"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".json", ".pcd", ".npz", ".png"])
def test_a_web_page_becomes_no_file(suffix: str, server: FaultServer, download: Download, target: Path) -> None:
    benchmark = SVFR if suffix == ".png" else MONO if suffix == ".npz" else NVS
    participant = str(benchmark.participants[0])
    served = benchmark_content(benchmark)
    server.served = {
        name: HTML if name.endswith(suffix) and not name.endswith("metadata.json") else data
        for name, data in served.items()
    }
    result = download(benchmark.name, "-p", participant)
    # If everything is a web page, as with .png here, it is the URL that is wrong.
    assert result.status == (2 if suffix == ".png" else 1)
    assert "web page" in result.out + result.err
    assert not list(target.rglob(f"*{suffix}*")) or suffix == ".json"
    assert all(served[name] == data for name, data in on_disk(target).items())


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_a_url_that_is_refused_ends_it_at_once(
    status: int, server: FaultServer, download: Download, target: Path
) -> None:
    server.served = benchmark_content(SVFR)
    server.always["*"] = Fault(status=status)
    result = download("svfr")
    assert result.status == 2
    assert "wrong or has expired" in result.err
    assert len(server.log) <= 2 * core.DEFAULT_WORKERS_SMALL
    assert on_disk(target) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(HTML, "web page"), (b"{nonsense", "not JSON"), (b'{"sequences": 3}', "not the metadata.json of nvs")],
)
def test_bad_metadata(content: bytes, reason: str, server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS) | {"nvs/metadata.json": content}
    result = download("nvs")
    assert result.status == 1
    assert reason in result.err
    assert on_disk(target) == {}


def test_unknown_keys_in_the_metadata_are_passed_over(server: FaultServer, download: Download) -> None:
    document = json.loads(benchmark_content(NVS)["nvs/metadata.json"])
    document["new"] = document["sequences"]["388"]["new"] = [1]
    document["sequences"]["999"] = {"sequence_name": "FREE", "timesteps": [0]}
    server.served = benchmark_content(NVS) | {"nvs/metadata.json": json.dumps(document).encode()}
    assert download(*ONE_VIDEO).status == 0


def test_without_metadata_the_built_in_counts_serve(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    del server.served["nvs/metadata.json"]
    result = download(*ONE_VIDEO)
    assert result.status == 0
    assert "built-in frame counts" in result.err


def test_no_server(server: FaultServer, run: Run, target: Path) -> None:
    port = server.server_port
    server.close()
    result = run("download", "svfr", "-f", target, "--url", f"http://127.0.0.1:{port}/s3cret")
    assert result.status == 1
    assert "refuses the connection" in result.err
    assert "s3cret" not in result.err


def test_a_host_that_does_not_resolve(run: Run, target: Path) -> None:
    result = run("download", "nvs", "-f", target, "--url", "http://s3cret.invalid/x")
    assert result.status == 1
    assert "does not resolve" in result.err
    assert "s3cret" not in result.err


# Disk and folder


def test_not_enough_room(
    server: FaultServer, download: Download, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.served = benchmark_content(NVS)
    monkeypatch.setattr(core, "free_space", lambda path: 1000)
    result = download("nvs", "-p", "475")
    assert result.status == 1
    assert "Not enough disk space" in result.err
    assert set(server.requests("GET")) == {"nvs/metadata.json"}


def test_a_full_disk(
    server: FaultServer, download: Download, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    server.served = benchmark_content(SVFR)
    monkeypatch.setattr(transfer, "write_all", full)
    result = download("svfr")
    assert result.status == 1
    assert "disk is full" in result.err
    assert on_disk(target) == {}


def test_a_folder_that_cannot_be_written(
    download: Download, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    result = download("svfr")
    assert result.status == 2
    assert f"{target / 'svfr'} cannot be written" in result.err


def test_a_file_where_the_folder_should_be(download: Download, target: Path) -> None:
    target.write_text("")
    result = download("svfr")
    assert result.status == 2
    assert f"{target} is a file" in result.err


def test_a_folder_where_a_file_should_be(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(NVS)
    (target / "nvs" / VIDEO).mkdir(parents=True)
    result = download("nvs", "-p", "475", "-a", "images")
    assert result.status == 1
    assert "there is a folder at" in result.out
    assert len(on_disk(target)) == 12 + 1


def test_a_torn_manifest_costs_one_question(server: FaultServer, download: Download, target: Path) -> None:
    server.served = benchmark_content(SVFR)
    download("svfr", "-p", "215")
    manifest = target / "svfr" / FILE_NAME
    manifest.write_bytes(manifest.read_bytes()[:-20])
    server.log.clear()
    assert download("svfr", "-p", "215").status == 0
    assert (len(server.requests("HEAD")), len(server.requests("GET"))) == (1, 0)
    server.log.clear()
    download("svfr", "-p", "215")
    assert server.log == []


# Wrong arguments


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "Unknown benchmark 'nope'"),
        (("nvs", "-p", "17"), "17 belongs to svfr"),
        (("nvs", "-s", "NOPE"), "GLASSES"),
        (("nvs", "-c", "222200037"), "hold-out camera"),
        (("nvs", "-c", "1"), "222200042"),
        (("nvs", "-a", "flame"), "alpha_maps"),
        (("nvs", "--pointcloud-frames", "5-1"), "neither a timestep nor a range"),
        (("nvs", "--pointcloud-frames", "x"), "neither a timestep nor a range"),
        (("nvs", "--pointcloud-frames", "99"), "none of the chosen sequences has timestep 99"),
        (("svfr", "--pointcloud-frames", "0"), "no point clouds"),
        (("nvs", "-p", "388", "-s", "FREE"), "388 has GLASSES"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...], message: str, server: FaultServer, download: Download
) -> None:
    server.served = benchmark_content(NVS)
    result = download(*arguments)
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


def test_a_timestep_that_is_not_there_is_answered_for_the_chosen_participant(
    server: FaultServer, download: Download
) -> None:
    server.served = benchmark_content(NVS)
    result = download("nvs", "-p", "388", "--pointcloud-frames", "5")
    assert (result.status, result.out) == (2, "")
    assert result.err.splitlines()[1:] == ["388 GLASSES has 0-2"]


@pytest.mark.parametrize("arguments", [("./my data", "nvs"), ("nvs", "./my data")])
def test_the_folder_as_an_argument_is_answered_with_the_right_line(arguments: tuple[str, str], run: Run) -> None:
    result = run("download", *arguments)
    assert result.status == 2
    assert result.err.splitlines()[-1] == "Use -f: nersemble download nvs -f './my data'"


# Several at once, and interruption


def command(server: FaultServer, target: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "nersemble_cli", "download", *arguments, "-f", str(target), "--url", server.url]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_two_at_once(server: FaultServer, target: Path) -> None:
    server.served = benchmark_content(SVFR) | benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=1 << 20)] * 3
    both = [
        subprocess.Popen(command(server, target, *ONE_VIDEO[:3]), env=environment(), stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    got = on_disk(target)
    assert len(got) == 28 + 1
    assert all(server.served[name] == data for name, data in got.items())
    assert not list(target.rglob("*.part"))


@pytest.mark.slow
def test_ctrl_c_keeps_what_has_arrived(server: FaultServer, target: Path) -> None:
    server.served = benchmark_content(NVS) | {f"nvs/{VIDEO}": large_video()}
    server.always[f"nvs/{VIDEO}"] = Fault(stall_after=2 << 20)
    process = subprocess.Popen(
        command(server, target, *ONE_VIDEO),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = target / "nvs" / f"{VIDEO}.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(2)
    begun = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert time.monotonic() - begun < 4
    assert "run the same command to resume" in err
    assert "Traceback" not in err
    assert part.stat().st_size > 0
    assert not (target / "nvs" / VIDEO).exists()
    assert out == ""


# Settings


def test_without_a_url_the_way_to_one_is_explained(run: Run) -> None:
    result = run("download", "svfr")
    assert result.status == 2
    assert "forms.gle" in result.err
    assert "NERSEMBLE_BENCHMARK_URL" in result.err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1/s3cret", "no scheme"),
        ("ftp://127.0.0.1/s3cret", "neither https:// nor http://"),
        ("http:///s3cret", "no host name"),
        ("http://127.0.0.1:port/s3cret", "not a valid URL"),
        ("http://127.0.0.1/s3 cret", "spaces"),
    ],
)
def test_a_url_that_is_none(url: str, message: str, run: Run) -> None:
    result = run("download", "svfr", "--url", url)
    assert result.status == 2
    assert message in result.err
    assert "s3" not in result.err


@pytest.mark.parametrize("form", [" {} ", "{}/", '"{}"', "\t{}//\n"])
def test_a_url_as_it_is_copied(form: str, server: FaultServer, run: Run, target: Path) -> None:
    server.served = benchmark_content(NVS)
    assert run("download", *ONE_VIDEO, "-f", target, "--url", form.format(server.url)).status == 0


def test_the_official_env_file_serves(server: FaultServer, run: Run, target: Path) -> None:
    server.served = benchmark_content(NVS)
    path = Path.home() / ".config" / "nersemble_benchmark" / ".env"
    path.parent.mkdir(parents=True)
    path.write_text(f'NERSEMBLE_BENCHMARK_URL = "{server.url}"\n')
    assert run("download", *ONE_VIDEO, "-f", target).status == 0


def answer(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Pretends that a person at a terminal types `answers`."""
    import typer

    typed = iter(answers)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "prompt", lambda *args, **options: next(typed))


def test_the_first_use_asks_checks_and_saves(
    server: FaultServer, run: Run, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.served = benchmark_content(NVS)
    answer(monkeypatch, "nonsense", f" {server.url}/ ")
    result = run("download", *ONE_VIDEO, "-f", target)
    assert result.status == 0
    assert "forms.gle" in result.err
    assert "no scheme" in result.err
    assert "s3cret" not in result.err + result.out
    path = Path.home() / ".config" / "nersemble_benchmark" / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"NERSEMBLE_BENCHMARK_URL='{server.url}'\n"


def test_a_url_that_is_no_good_is_not_saved(
    server: FaultServer, run: Run, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.always["*"] = Fault(status=403)
    answer(monkeypatch, *[server.url] * 3)
    result = run("download", "svfr", "-f", target)
    assert result.status == 2
    assert "wrong or has expired" in result.err
    assert not (Path.home() / ".config").exists()


def test_saving_keeps_the_other_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from nersemble_cli.core.settings import find_url, save_url

    path = Path.home() / ".config" / "nersemble_benchmark" / ".env"
    path.parent.mkdir(parents=True)
    path.write_text("# mine\nNERSEMBLE_BENCHMARK_FOLDER=/data\nNERSEMBLE_BENCHMARK_URL=http://old\n")
    save_url("https://new.example/x")
    assert find_url() == "https://new.example/x"
    assert path.read_text().startswith("# mine\nNERSEMBLE_BENCHMARK_FOLDER=/data\n")


@pytest.mark.slow
def test_a_debug_traceback_does_not_show_the_url(
    server: FaultServer, run: Run, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERSEMBLE_DEBUG", "1")
    port = server.server_port
    server.close()
    process = subprocess.run(
        [sys.executable, "-m", "nersemble_cli", "download", "nvs", "-f", str(target),
         "--url", f"http://127.0.0.1:{port}/s3cret"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" in process.stderr
    assert "s3cret" not in process.stderr
    assert str(port) not in process.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['nersemble', 'download', '--help']\n"
        "from nersemble_cli.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'requests', 'av', 'trimesh', 'cv2', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, stdout=subprocess.DEVNULL)


def test_threads_leave_no_trace(server: FaultServer, download: Download) -> None:
    server.served = benchmark_content(NVS)
    before = threading.active_count()
    download(*ONE_VIDEO)
    time.sleep(0.1)
    assert threading.active_count() <= before + 2  # the server's own, one for each open connection

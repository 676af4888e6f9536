"""The server over HTTP: what it sends is untrusted, what the environment sets is named."""

from __future__ import annotations

import gc
import gzip
import logging
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from nersemble_cli import NersembleError, UsageError, download
from nersemble_cli.core.benchmarks import NVS
from nersemble_cli.core.download import batch, fetch, http
from nersemble_cli.core.download.http import (
    RetryPolicy,
    Server,
    TransferError,
    ask_version,
    read_small,
    read_within,
)
from nersemble_cli.core.download.manifest import FILE_NAME, Manifest, Version
from nersemble_cli.core.threads import Cancel
from tests.fault_server import Fault, FaultServer, benchmark_content, large_video

VIDEO = "475/sequences/HAIR/images/cam_222200042.mp4"
JSON = "a.json"
PROXIES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    server = FaultServer()
    server.served = {JSON: b"{}"}
    yield server
    server.close()


@pytest.fixture
def server(fault_server: FaultServer) -> Iterator[Server]:
    server = Server(fault_server.url, retry=QUICK)
    yield server
    server.close()


QUICK = RetryPolicy(attempts=2, first_wait=0.01, connect_timeout=1.0, read_timeout=0.5)


def refused(server: Server, path: str = JSON) -> TransferError:
    with pytest.raises(TransferError) as error:
        read_small(server, path, Cancel())
    assert "s3cret" not in str(error.value)
    return error.value


@pytest.mark.parametrize("value", ["²", "9" * 5000, "-5", "soon", "", "Mon, 99 Foo 9999 99:99:99 GMT", "1e9"])
def test_any_retry_after_is_survived(value: str, server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(status=503, headers={"Retry-After": value.encode().decode("latin-1")})
    wait = refused(server).wait
    assert wait is None or 0 <= wait <= http.LONGEST_WAIT


def test_retry_after_goes_by_the_clock_of_the_server(server: Server, fault_server: FaultServer) -> None:
    past = time.time() - 1e6
    headers = {"Retry-After": formatdate(past + 30, usegmt=True), "Date": formatdate(past, usegmt=True)}
    assert http._retry_after(headers) == 30
    assert http._retry_after({"Retry-After": "7"}) == 7


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "none"},
        {"Content-Encoding": "aws-chunked"},
        {"Content-Encoding": "utf-8"},
        {"ETag": "\x80" * 10, "Last-Modified": "?" * 10_000},
        {"Content-Range": "bytes ²-³/⁴".encode().decode("latin-1")},
    ],
)
def test_odd_headers_change_nothing(headers: dict[str, str], server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(headers=headers)
    assert read_small(server, JSON, Cancel()) == b"{}"


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
def test_a_compressed_body_is_decompressed(coding: str, server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(body=gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": coding})
    assert read_small(server, JSON, Cancel()) == b'{"a": 1}'


def test_what_only_claims_to_be_compressed_is_refused(server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(body=b"no gzip at all", headers={"Content-Encoding": "gzip"})
    assert "decompressed" in refused(server).message


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://[", "ftp://x/y", "http://:0/", "//", "²", "http://"]
)
def test_a_bad_redirect_is_an_error_of_this_one_file(
    location: str, server: Server, fault_server: FaultServer
) -> None:
    fault_server.always["*"] = Fault(status=302, headers={"Location": location.encode().decode("latin-1")})
    assert "redirect" in refused(server).message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_circle_of_redirects_ends(status: int, server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(status=status, headers={"Location": "/again"})
    assert "in a circle" in refused(server).message


def test_a_network_that_asks_for_a_login_is_not_the_server_s_fault(
    server: Server, fault_server: FaultServer
) -> None:
    fault_server.always["*"] = Fault(status=511)
    error = refused(server)
    assert "the network of this machine asks for a login" in error.message and error.unreachable


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_lengths_are_not_http(server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(headers={"Content-Length": "5, 7"}, no_length=True)
    assert "not valid HTTP" in refused(server).message
    gc.collect()  # urllib3 forgets the socket; nobody else is to be warned of it


def test_get_decides_where_head_is_not_answered(server: Server, fault_server: FaultServer) -> None:
    for status in (400, 403, 404, 405, 500, 501):
        fault_server.always["*"] = Fault(status=status, method="HEAD")
        assert ask_version(server, JSON, Cancel()).size == 2


def test_the_limit_in_time_covers_everything(server: Server, fault_server: FaultServer) -> None:
    fault_server.always["*"] = Fault(stall_after=1)
    with pytest.raises(TransferError, match=r"within 0\.1 s"):
        read_within(server, JSON, 0.1)


def test_deep_json_and_huge_bodies_end_as_errors(
    server: Server, fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SMALL_SIZE", 100)
    fault_server.served[JSON] = b"[" * 100_000
    assert "more than 100 bytes" in refused(server).message


# The environment


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "http_proxy", "HTTP_PROXY"])
@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("ftp://user:pass-s3cret@127.0.0.1:1", "scheme ftp://"),
        ("socks9://127.0.0.1:1", "scheme socks9://"),
        ("http://127.0.0.1:port", "not a valid URL"),
        ("http://", "not a valid URL"),
        ("http://127.0.0.1:9", "does not answer"),
        ("socks5://127.0.0.1:9", "does not answer"),
        ("socks5h://127.0.0.1:9", "does not answer"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    variable: str, proxy: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(NersembleError) as error:
        read_small(Server("http://192.0.2.1/s3cret", retry=QUICK), JSON, Cancel())
    assert reason in str(error.value)
    assert f"The proxy in {variable}".lower() in str(error.value).lower()
    assert "s3cret" not in str(error.value)


def test_certificates_that_are_missing_or_garbage_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("nonsense")
    for path, reason in ((tmp_path / "missing.pem", "does not exist"), (garbage, "cannot be read")):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        with pytest.raises(UsageError, match=f"REQUESTS_CA_BUNDLE {reason}: {path}"):
            read_small(Server("https://127.0.0.1:9/s3cret", retry=QUICK), JSON, Cancel())


def test_debug_logs_of_a_program_do_not_show_the_url(
    server: Server, fault_server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    import requests

    with caplog.at_level(logging.DEBUG):
        read_small(server, JSON, Cancel())
        fault_server.always["*"] = Fault(status=500)
        refused(server)
        server.close()
        assert "s3cret" not in caplog.text
        assert str(fault_server.server_port) not in caplog.text
        requests.get(f"http://127.0.0.1:{fault_server.server_port}/of-the-program", timeout=5)
    assert "of-the-program" in caplog.text


# Whole files


def get(server: FaultServer, folder: Path) -> batch.Result:
    return download("nvs", folder, [475], serials=["222200042"], assets=["images"], url=server.url, workers=2)


@pytest.fixture
def benchmark(fault_server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> FaultServer:
    monkeypatch.setattr(http, "RetryPolicy", lambda: QUICK)
    fault_server.served = benchmark_content(NVS, ["calibration", "images"])
    return fault_server


def test_download_returns_what_was_fetched(
    benchmark: FaultServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = get(benchmark, tmp_path)
    assert result.fetched == [tmp_path / "nvs" / VIDEO]
    assert result.bytes == len(benchmark.served[f"nvs/{VIDEO}"]) == result.fetched[0].stat().st_size
    assert result.failures == []
    assert get(benchmark, tmp_path).fetched == []
    assert capsys.readouterr() == ("", "")


def test_download_returns_what_failed_and_leaves_no_empty_folder(benchmark: FaultServer, tmp_path: Path) -> None:
    benchmark.always[f"nvs/{VIDEO}"] = Fault(status=404)
    result = get(benchmark, tmp_path / "new")
    assert [failure.path for failure in result.failures] == [f"nvs/{VIDEO}"]
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == [FILE_NAME, "metadata.json", "nvs"]


def test_a_surprise_with_one_file_costs_no_other(
    benchmark: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = fetch.check_content

    def surprised(file: Any, name: str) -> None:
        if "222200042" in name:
            raise RuntimeError("nobody expected this")
        check(file, name)

    monkeypatch.setattr(fetch, "check_content", surprised)
    result = download("nvs", tmp_path, ["475"], assets=["images"], url=benchmark.url)
    assert [failure.path for failure in result.failures] == [f"nvs/{VIDEO}"]
    assert "RuntimeError" in result.failures[0].reason
    assert len(result.fetched) == 12


def test_download_can_only_plan(benchmark: FaultServer, tmp_path: Path) -> None:
    result = download("nvs", tmp_path / "new", ["475"], assets=["calibration"], url=benchmark.url, dry_run=True)
    assert result.remaining == [tmp_path / "new" / "nvs" / "475/calibration/camera_params.json"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fault", [Fault(status=404), Fault(status=410), Fault(body=b"<html>portal</html>")])
def test_a_url_without_a_benchmark_ends_it_with_one_word(
    fault: Fault, benchmark: FaultServer, tmp_path: Path
) -> None:
    benchmark.always["*"] = fault
    with pytest.raises(UsageError, match="benchmark URL is wrong or outdated"):
        download("svfr", tmp_path / "new", [17], url=benchmark.url)
    assert not (tmp_path / "new").exists()


def test_an_error_message_of_the_right_type_is_refused(benchmark: FaultServer, tmp_path: Path) -> None:
    path = "nvs/475/calibration/camera_params.json"
    benchmark.always[path] = Fault(body=b'{"error": "quota exceeded"}')
    result = download("nvs", tmp_path, [475], assets=["calibration"], url=benchmark.url)
    assert "is not a calibration" in result.failures[0].reason
    assert not (tmp_path / path).exists()


def test_a_206_without_a_range_is_the_whole_file(benchmark: FaultServer, tmp_path: Path) -> None:
    size = len(benchmark.served[f"nvs/{VIDEO}"])
    benchmark.always[f"nvs/{VIDEO}"] = Fault(status=206, headers={"Content-Range": f"bytes 0-{size - 1}/{size}"})
    assert len(get(benchmark, tmp_path).fetched) == 1


def test_a_part_that_nobody_vouches_for_is_not_continued(benchmark: FaultServer, tmp_path: Path) -> None:
    """The file changes, and the server neither minds If-Range nor sends an ETag or a date."""
    old, new = large_video(seed=1), large_video(seed=2)
    benchmark.served[f"nvs/{VIDEO}"] = old
    benchmark.faults[f"nvs/{VIDEO}"] = [Fault(drop_after=2 << 20), Fault(status=500)]
    assert get(benchmark, tmp_path).failures
    benchmark.served[f"nvs/{VIDEO}"] = new
    benchmark.etags, benchmark.minds_if_range = False, False
    assert get(benchmark, tmp_path).failures == []
    assert (tmp_path / "nvs" / VIDEO).read_bytes() == new


def test_a_body_without_end_does_not_fill_the_disk(
    benchmark: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nersemble_cli.core.download import fetch

    monkeypatch.setattr(fetch, "LARGEST", 0)
    monkeypatch.setattr(fetch, "SMALL_SIZE", 1 << 20)
    benchmark.served[f"nvs/{VIDEO}"] = large_video()
    benchmark.always[f"nvs/{VIDEO}"] = Fault(chunked=True)
    assert "more than 1,048,576 bytes" in get(benchmark, tmp_path).failures[0].reason
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "line",
    [b'{"path": "a", "size": "5"}', b'{"path": "a", "size": 5, "etag": 3}', b'{"path": "a", "size": -1}', b"[]",
     b'{"path": "a", "size": true}', b'{"path": "a", "size": 5, "etag": "\\r\\nX: y"}', b"[" * 100_000, b"\xff"],
)  # fmt: skip
def test_a_line_of_the_manifest_with_wrong_types_is_passed_over(line: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(line + b'\n{"path": "b", "size": 5}\n')
    manifest = Manifest(tmp_path)
    assert (manifest.file("a"), manifest.file("b")) == (None, Version(5))

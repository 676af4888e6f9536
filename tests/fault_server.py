"""A benchmark server on this machine, which misbehaves on request; and the small files that it serves."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import re
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from nersemble_cli.core.benchmarks import MONO, NVS, SERIALS, Benchmark, files
from tests.made_up import N_FRAMES, png, video, write_metadata

STALL = 5.0  # seconds; longer than any test waits
AUTHORIZATION = "Basic " + base64.b64encode(b"user-s3cret:pass-s3cret").decode()
MONDAY = 1_700_000_000


@functools.lru_cache
def content(suffix: str) -> bytes:
    """A small right file of a type, by a real writer where there is one."""
    if suffix == ".mp4":
        return video("mono")
    if suffix == ".png":
        return png(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    if suffix == ".json":
        pose = np.eye(4).tolist()
        intrinsics = [[8000.0, 0, 550], [0, 8000.0, 802], [0, 0, 1]]
        return json.dumps(
            {"world_2_cam": dict.fromkeys(SERIALS, pose), "intrinsics": dict.fromkeys(SERIALS, intrinsics)}
        ).encode()
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **tracking())
        return buffer.getvalue()
    return pointcloud()


def tracking(n: int = N_FRAMES) -> dict[str, Any]:
    widths = {"expression": 100, "rotation": 3, "translation": 3, "jaw": 3, "neck": 3, "eyes": 6}
    arrays = {name: np.zeros((n, width), np.float32) for name, width in widths.items()}
    arrays["rotation_matrices"] = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
    return arrays | {"shape": np.zeros((1, 300)), "frames": np.arange(n), "scale": np.ones((1, 1))}


def pointcloud(data: str = "BINARY", n: int = 50) -> bytes:
    """A point cloud written by pypcd4."""
    from pypcd4.pypcd4 import Encoding, PointCloud

    # Points that can be compressed: the writer leaves it otherwise.
    points = np.arange(3 * n, dtype=np.float32).reshape(n, 3) // 10
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.pcd"
        PointCloud.from_xyz_points(points).save(path, encoding=getattr(Encoding, data))
        return path.read_bytes()


def large_video(size: int = 3 << 20, seed: int = 0) -> bytes:
    """A right video, larger by a box of `size` bytes that readers pass over."""
    noise = np.random.default_rng(seed).bytes(size)
    return video("mono") + struct.pack(">I4s", size + 8, b"free") + noise


def benchmark_content(benchmark: Benchmark, assets: Iterable[str] | None = None) -> dict[str, bytes]:
    """All files of a benchmark as the server has them, point clouds of every timestep included."""
    served: dict[str, bytes] = {}
    if benchmark in (NVS, MONO):
        with tempfile.TemporaryDirectory() as folder:
            path = write_metadata(Path(folder)) / benchmark.folder / "metadata.json"
            served[f"{benchmark.folder}/metadata.json"] = path.read_bytes()
    names = [asset.name for asset in benchmark.assets] if assets is None else list(assets)
    for file in files(benchmark, names, timesteps=lambda participant, sequence: range(N_FRAMES)):
        served[f"{benchmark.folder}/{file.path}"] = content(Path(file.path).suffix)
    return served


@dataclass
class Fault:
    """How one request goes wrong. `after` counts bytes of the body that arrive before it does."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    drop_after: int | None = None
    stall_after: int | None = None
    claim_extra: int = 0
    ignore_range: bool = False
    no_length: bool = False
    chunked: bool = False
    trickle: bool = False  # the first bytes come one by one
    method: str = "GET"


class FaultServer(ThreadingHTTPServer):
    """Serves `served` (path → bytes). `faults[path]` are used up, one for each request of their method."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.etags = True
        self.minds_if_range = True
        self.log: list[tuple[str, str, str | None]] = []  # method, path, Range
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """With a secret in the host's and the path's part, which must not show up anywhere."""
        return f"http://user-s3cret:pass-s3cret@127.0.0.1:{self.server_port}/path-s3cret"

    def requests(self, method: str) -> list[str]:
        return [path for logged, path, _ in self.log if logged == method]

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that go away are part of the tests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True
    server: FaultServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(self.path).split("?")[0].removeprefix("/path-s3cret").lstrip("/")
        self.server.log.append((self.command, path, self.headers.get("Range")))
        if self.headers.get("Authorization") != AUTHORIZATION:
            self._answer(401, b"", {})
            return
        fault = self._fault(path)
        if fault.status is not None and fault.status >= 300:
            self._answer(fault.status, fault.body or b"", fault.headers)
            return
        if path not in self.server.served:
            self._answer(404, b"no such file", {})
            return
        body = self.server.served[path] if fault.body is None else fault.body
        etag = f'"{hashlib.sha1(body).hexdigest()}"'
        date = formatdate(MONDAY + len(body) % 1000, usegmt=True)
        headers = {"ETag": etag, "Last-Modified": date} if self.server.etags else {}
        status, start = 200, 0
        wanted = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        vouched = self.headers.get("If-Range") in (etag, date) or not self.server.minds_if_range
        if wanted and not fault.ignore_range and vouched:
            status, start = 206, int(wanted[1])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._answer(fault.status or status, body[start:], headers | fault.headers, fault)

    do_HEAD = do_GET  # noqa: N815

    def _fault(self, path: str) -> Fault:
        for faults in (self.server.faults.get(path, []), self.server.faults.get("*", [])):
            if faults and faults[0].method == self.command:
                return faults.pop(0)
        always = self.server.always.get(path) or self.server.always.get("*")
        return always if always and always.method == self.command else Fault()

    def _answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        fault = fault or Fault()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.no_length:
            self.send_header("Connection", "close")
            self.close_connection = True
        elif fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) + fault.claim_extra))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = min((n for n in (fault.drop_after, fault.stall_after) if n is not None), default=len(body))
        if fault.chunked:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
            return
        first = 10 if fault.trickle else 0
        for i in range(first):
            self.wfile.write(body[i : i + 1])
            time.sleep(0.005)
        self.wfile.write(body[first:cut])
        self.wfile.flush()
        if fault.stall_after is not None:
            time.sleep(STALL)
        if fault.drop_after is not None or fault.claim_extra or fault.stall_after is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

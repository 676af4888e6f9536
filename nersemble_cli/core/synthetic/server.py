"""A lean static file server on this machine, which the made-up benchmark is downloaded from.

HTTP/1.1 with kept-alive connections, HEAD, and ranges.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import unquote

CHUNK = 1 << 18


async def start_server(folder: Path, delay: float = 0.0, rate: float = 0.0) -> asyncio.Server:
    """Serves the files of `folder` on a free port of the loopback interface.

    `delay` is what passes before each answer (seconds), `rate` what a connection gets (bytes per second; 0: all).
    """
    return await asyncio.start_server(lambda r, w: _answer(r, w, folder.resolve(), delay, rate), "127.0.0.1", 0)


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serves `folder` from a thread while the block runs; gives the URL."""
    started: SimpleQueue[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = SimpleQueue()

    async def run() -> None:
        server, end = await start_server(folder), asyncio.Event()
        started.put((url_of(server), asyncio.get_running_loop(), end))
        await end.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    url, loop, end = started.get()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: Path, delay: float, rate: float
) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while request := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
            await asyncio.sleep(delay)
            path = (folder / unquote(target.partition("?")[0]).lstrip("/")).resolve()
            if not path.is_file() or not path.is_relative_to(folder):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            status = path.stat()
            start, end = 0, status.st_size
            if wanted := re.search(rb"\r\nRange: bytes=(\d+)-(\d*)", request, re.IGNORECASE):
                start = int(wanted[1])
            head = [
                f"HTTP/1.1 {206 if start else 200} OK",
                f"Content-Length: {end - start}",
                f'ETag: "{status.st_mtime_ns:x}-{end:x}"',
                "Accept-Ranges: bytes",
            ]
            if start:
                head.append(f"Content-Range: bytes {start}-{end - 1}/{end}")
            writer.write("\r\n".join([*head, "", ""]).encode())
            if method == "GET":
                await _send(writer, path, start, rate)
            await writer.drain()
    writer.close()


async def _send(writer: asyncio.StreamWriter, path: Path, start: int, rate: float) -> None:
    with path.open("rb") as file:
        if not rate:
            await asyncio.get_running_loop().sendfile(writer.transport, file, start)
            return
        file.seek(start)
        begun, sent = time.perf_counter(), 0
        while chunk := file.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
            if (ahead := sent / rate - (time.perf_counter() - begun)) > 0:
                await asyncio.sleep(ahead)

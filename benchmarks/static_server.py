"""A lean static file server for measurements: a delay before each answer, a limited rate, a log of requests.

    python benchmarks/static_server.py FOLDER --delay 0.02 --rate 125000000

Prints its port and serves until it is killed. HTTP/1.1 with kept-alive connections, HEAD, and ranges.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path
from urllib.parse import unquote

CHUNK = 1 << 18


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: Path, delay: float, rate: float
) -> None:
    try:
        while request := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = request.split(b"\r\n", 1)[0].decode().split(" ")
            await asyncio.sleep(delay)
            path = folder / unquote(target.partition("?")[0]).lstrip("/")
            if not path.is_file():
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
                await send(writer, path, start, rate)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def send(writer: asyncio.StreamWriter, path: Path, start: int, rate: float) -> None:
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


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--rate", type=float, default=0.0, help="bytes per second and connection; 0: no limit")
    options = parser.parse_args()
    server = await asyncio.start_server(
        lambda r, w: serve_connection(r, w, options.folder, options.delay, options.rate), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""The static file server of the made-up benchmark in a process of its own, for measurements.

    python perf/static_server.py FOLDER --delay 0.02 --rate 125000000

Prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from nersemble_cli.core.synthetic.server import start_server


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--rate", type=float, default=0.0, help="bytes per second and connection; 0: no limit")
    options = parser.parse_args()
    server = await start_server(options.folder, options.delay, options.rate)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

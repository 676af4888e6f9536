"""Reads many damaged files of every kind: `python perf/fuzz.py [-n INPUTS] [--seed SEED] [--kind KIND]`.

Prints each fault with the command that repeats it, and a line per kind. Exit status 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.fuzzing import KINDS, fuzz

SHOWN = 5
BATCH = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="inputs in all (default: 100,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    kinds = arguments.kind or list(KINDS)
    share = -(-arguments.n // len(kinds))

    def run(batch: tuple[str, int]) -> tuple[str, int, list[tuple[int, str]], float]:
        name, first = batch
        end = min(first + BATCH, share)
        start = time.perf_counter()
        return name, end - first, list(fuzz(name, arguments.seed, first, end)), time.perf_counter() - start

    batches = [(name, first) for first in range(0, share, BATCH) for name in kinds]
    n_inputs = 0
    faults = dict.fromkeys(kinds, 0)
    with ThreadPoolExecutor(arguments.workers) as threads:
        for name, n, found, seconds in threads.map(run, batches):
            n_inputs += n
            for number, what in found:
                faults[name] += 1
                if faults[name] <= SHOWN:
                    print(f"{name} {number}: {what}")
                    print(f"  python -m tests.fuzzing FOLDER {name} {arguments.seed} {number} {number + 1}")
            print(
                f"{n_inputs:,} inputs, {sum(faults.values())} faults; {name}: {n} in {seconds:.0f} s", flush=True
            )
    print(
        f"{n_inputs:,} damaged files of {len(kinds)} kinds, seed {arguments.seed}: {sum(faults.values())} faults."
    )
    return 1 if any(faults.values()) else 0


if __name__ == "__main__":
    sys.exit(main())

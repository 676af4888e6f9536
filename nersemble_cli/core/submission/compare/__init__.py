"""Is it the right submission? Its files compared with the user's training data and with each other."""

from __future__ import annotations

from pathlib import Path

from nersemble_cli.core.benchmarks import Benchmark, MeshBenchmark, VideoBenchmark
from nersemble_cli.core.submission.compare.meshes import MeshComparison
from nersemble_cli.core.submission.compare.videos import VideoComparison

Comparison = VideoComparison | MeshComparison


def start_comparison(benchmark: Benchmark, folder: Path | None) -> Comparison:
    """The comparison of a submission to `benchmark` with what the benchmark `folder` holds, if there is one."""
    if isinstance(benchmark, VideoBenchmark):
        return VideoComparison(benchmark, folder)
    assert isinstance(benchmark, MeshBenchmark)
    return MeshComparison(benchmark)

"""Which meshes of a submission are not what their names say."""

from __future__ import annotations

from nersemble_cli.core.benchmarks import MeshBenchmark, MeshSlot
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.submission.mesh_checks import MeshObserver


class MeshComparison:
    """Takes note of the meshes of one submission as they are read, and compares them at the end."""

    def __init__(self, benchmark: MeshBenchmark) -> None:
        self._benchmark = benchmark

    def observer(self, slot: MeshSlot) -> MeshObserver:
        """What is to see a mesh that was read, with its (7, 3) landmarks if it has any."""
        return lambda mesh, landmarks: None

    def finish(self, report: Report) -> None:
        """Adds what was found to `report`, and sets its `compared` and why."""

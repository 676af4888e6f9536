from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nersemble_cli.core.export.run import Export, Exported, run_export
from nersemble_cli.core.export.selection import Request, Selection, select

Write = Callable[..., Exported]


@pytest.fixture
def write(synthetic: Path, tmp_path: Path) -> Write:
    """Exports a participant to `tmp_path / "out"`, or only plans it with `dry_run=True`."""

    def write(
        make: Callable[[Selection], Export], participant: str = "388", dry_run: bool = False, **request: Any
    ) -> Exported:
        everything = request.pop("everything", False)
        selection = select(
            Request(participant, **request), synthetic, every_timestep=everything, every_sequence=everything
        )
        return run_export(make(selection), tmp_path / "out", workers=2, dry_run=dry_run)

    return write

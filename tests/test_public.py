"""What a document may import, and what importing it costs."""

from __future__ import annotations

import nersemble_cli


def test_every_public_name_can_be_imported() -> None:
    for name in nersemble_cli._HOME_OF:
        assert getattr(nersemble_cli, name) is not None
        assert name in dir(nersemble_cli)

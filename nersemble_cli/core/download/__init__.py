"""Getting the data: what is wanted, what remains, fetching it."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """`prepare` and `run`, which the README of 0.1.0 imported from here."""
    if name in ("prepare", "run"):
        return getattr(importlib.import_module("nersemble_cli.core.download.batch"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Moved: `from nersemble_cli import parse_selection`. Goes with 0.3."""

from nersemble_cli.core.download.selection import parse_selection as parse_selection

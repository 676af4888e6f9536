"""Use `nersemble_cli.download`. Goes with 0.3."""

from nersemble_cli.core.download.selection import parse_selection as parse_selection

"""Moved: `from nersemble_cli import survey`. Goes with 0.3."""

from nersemble_cli.core.inspect.folder import survey as survey

"""Moved: `from nersemble_cli import inspect_file`. Goes with 0.3."""

from nersemble_cli.core.inspect.file import inspect_file as inspect_file

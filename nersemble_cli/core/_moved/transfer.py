"""Use `nersemble_cli.download`. Goes with 0.3."""

from nersemble_cli.core.download.http import Server as Server

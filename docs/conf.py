"""The documentation site: `sphinx-build -W docs docs/_build`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

from nersemble_cli import __version__

project = "nersemble"
copyright = "the authors of nersemble, Apache-2.0"  # noqa: A001
release = version = __version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"nersemble {__version__}"
html_static_path: list[str] = []
html_theme_options = {"sidebar_hide_name": False}
add_module_names = False

generate.write_pages()

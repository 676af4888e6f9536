"""The library behind the command line. Private: `nersemble_cli` is the public door.

Import paths that the README of 0.1.0 named keep working in this release, through the modules in `_moved/`.
"""

import os

__path__.append(os.path.join(os.path.dirname(__file__), "_moved"))  # noqa: PTH118, PTH120  # pathlib costs too much here

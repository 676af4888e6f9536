"""Writes the shells' completion scripts, the table that answers a TAB, and the stub of the public names.

    python completions/generate.py            writes what is not current
    python completions/generate.py --check    only says so: exit status 1

The scripts are those that `nersemble --install-completion` installs, but for the first TAB in zsh.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import typer

import nersemble_cli
from nersemble_cli import _HOME_OF
from nersemble_cli.cli.app import app
from nersemble_cli.cli.completion import INSTRUCTION, TABLE
from nersemble_cli.core.benchmarks import BENCHMARKS, MONO, NVS, Benchmark

STUB = Path(nersemble_cli.__file__).with_suffix(".pyi")
HERE = Path(__file__).parent
SCRIPTS = {"bash": "nersemble.bash", "zsh": "_nersemble", "fish": "nersemble.fish"}

# zsh runs the file at the first TAB, as a function of the file's name. Typer's script only defines things then.
FIRST_TAB = """
if [[ $funcstack[1] = _nersemble ]]; then
  _nersemble_completion
fi
"""


# The benchmarks whose participants and sequences a command is for, where these are not all.
ONLY = {"cameras": (NVS, MONO), "flame": (MONO,), "pointcloud": (NVS,)}


def values(benchmark: Benchmark) -> dict[str, Any]:
    """What a parameter of each name takes; participants with their sequences."""
    return {
        "participant": {str(p): list(benchmark.sequences(p)) for p in benchmark.participants},
        "camera": list(benchmark.image_serials),
        "asset": [asset.name for asset in benchmark.assets],
    }


def parameter(of: Any, command: str) -> dict[str, Any]:
    alternatives = (of.metavar or "").split("|")  # nvs|mono|svfr
    choices = [word for word in alternatives if word.isalnum()] if len(alternatives) > 1 else []
    benchmarks = [benchmark.name for benchmark in ONLY.get(command, BENCHMARKS.values())]
    return {"name": of.name, "choices": choices, "benchmarks": benchmarks}


def describe(command: Any, parent: typer.Context | None = None) -> dict[str, Any]:
    """What can be typed after a command, and after its own commands."""
    context = typer.Context(command, parent=parent, **command.context_settings)
    shown = [p for p in command.get_params(context) if not getattr(p, "hidden", False)]
    return {
        "help": command.get_short_help_str(limit=100),
        "options": [
            {
                **parameter(p, command.name),
                "names": sorted([*p.opts, *p.secondary_opts], key=len, reverse=True),
                "help": (p.help or "").partition("\n")[0],
                "is_flag": p.is_flag,
                "is_repeatable": p.multiple,
            }
            for p in shown
            if p.param_type_name == "option"
        ],
        "arguments": [parameter(p, command.name) for p in shown if p.param_type_name == "argument"],
        "commands": {name: describe(sub, context) for name, sub in getattr(command, "commands", {}).items()},
    }


def script(shell: str) -> str:
    command = [sys.executable, "-m", "nersemble_cli"]
    environment = {**os.environ, INSTRUCTION: f"source_{shell}"}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    text = printed.strip() + "\n"  # zsh wants #compdef in the first line
    return text + FIRST_TAB if shell == "zsh" else text


def stub() -> str:
    """`nersemble_cli/__init__.pyi`: what its `__getattr__` gives, in the words of a type checker."""
    imports = [f"from {module} import {original} as {name}" for name, (module, original) in _HOME_OF.items()]
    return "\n".join(
        ['"""Written by completions/generate.py."""', "", *sorted(imports), "", "__version__: str", ""]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    only_check = parser.parse_args().check
    benchmarks = {b.name: values(b) for b in BENCHMARKS.values()}
    benchmarks[MONO.folder] = benchmarks[MONO.name]  # what the official toolkit calls it
    table = {"benchmarks": benchmarks, "command": describe(typer.main.get_command(app))}
    contents = {TABLE: json.dumps(table, indent=1) + "\n"}
    contents |= {HERE / name: script(shell) for shell, name in SCRIPTS.items()}
    contents[STUB] = stub()
    stale = [path for path, text in contents.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        if not only_check:
            path.write_text(contents[path], "utf-8")
        print(path.name, "is not current" if only_check else "written")
    return 1 if only_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

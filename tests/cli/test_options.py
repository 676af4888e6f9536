"""What every command understands in its arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from nersemble_cli.cli.app import app
from nersemble_cli.cli.options import _Command


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for child, inner in command.commands.items():
            yield from commands(inner, f"{name} {child}".strip())
    else:
        yield name, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def takes_a_path(parameter: Any) -> bool:
    return parameter.type_descriptor.annotation is Path


PATHS = [
    (name, parameter.name)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if takes_a_path(parameter)
]


def test_every_command_has_paths_to_test() -> None:
    assert {"download", "pack", "validate", "inspect", "export colmap"} <= {name for name, _ in PATHS}
    assert ("pack", "renders") in PATHS and ("visualize flame", "flame_model") in PATHS


@pytest.mark.parametrize(("name", "parameter"), PATHS)
def test_home_is_expanded_in_every_path(name: str, parameter: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, _Command)
    (wanted,) = [p for p in command.params if p.name == parameter]
    if wanted.param_type_name == "argument":
        before = [p for p in command.params if p.param_type_name == "argument"]
        spellings = [["x"] * before.index(wanted) + ["~/data"]]
    else:
        long = next(option for option in wanted.opts if option.startswith("--"))
        short = [option for option in wanted.opts if not option.startswith("--")]
        spellings = [[f"{long}=~/data"], [long, "~/data"]]
        spellings += [[option, "~/data"] for option in short] + [[f"{option}~/data"] for option in short]
    for arguments in spellings:
        context = command.make_context(name, list(arguments), resilient_parsing=True)
        found = context.params[parameter]
        found = found[0] if isinstance(found, (list, tuple)) else found
        assert Path(found) == Path.home() / "data"

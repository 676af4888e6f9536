"""Writes the pages that the code determines, into docs/_generated: commands, Python names, finding codes, rooms.

Sphinx does this at each build, so that nothing of it is committed. A command or an option without help, or a
public name without a docstring, ends the build.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import typer

import nersemble_cli
from nersemble_cli.cli.app import app
from nersemble_cli.core.submission.findings import CODES

PACKAGE = Path(nersemble_cli.__file__).parent
TARGET = Path(__file__).parent / "_generated"
PIPE = "\\|"  # inside a table


class Undocumented(Exception):
    """Something that a user meets has no explanation."""


def write_pages() -> None:
    TARGET.mkdir(exist_ok=True)
    pages = {"commands.md": commands(), "python.md": python(), "findings.md": findings(), "rooms.svg": rooms()}
    for name, text in pages.items():
        path = TARGET / name
        if not path.is_file() or path.read_text("utf-8") != text:  # what is unchanged need not be built again
            path.write_text(text, "utf-8")


# Commands


def commands() -> str:
    root = typer.main.get_command(app)
    intro = (
        "# Commands\n\nThis page is made from the program. `nersemble COMMAND --help` prints the same.\n\n"
        "Options that take a list take commas, or come again: `-p 388,422` is `-p 388 -p 422`.\n"
    )
    return "\n".join([intro, *describe(root, "nersemble", None)])


def describe(command: Any, name: str, parent: Any) -> Iterator[str]:
    """A section per command, in the order of the help."""
    context = typer.Context(command, info_name=name.split()[-1], parent=parent, **command.context_settings)
    shown = [p for p in command.get_params(context) if not getattr(p, "hidden", False)]
    if not command.help:
        raise Undocumented(f"{name} has no help.")
    if undocumented := [p.opts[-1] for p in shown if not getattr(p, "help", None)]:
        raise Undocumented(f"{name}: {', '.join(undocumented)} has no help.")
    if parent is not None:
        yield f"## `{name}`\n"
    yield f"```text\n{context.get_usage().removeprefix('Usage: ')}\n```\n"
    yield f"{markdown(command.help)}\n"
    yield from table("Argument", [p for p in shown if p.param_type_name == "argument"])
    yield from table("Option", [p for p in shown if p.param_type_name == "option"])
    if command.epilog and "Example" in command.epilog:
        examples = command.epilog.split("\n\n")[1:]
        yield "```text\n" + "\n".join(examples) + "\n```\n"
    elif parent is not None and not getattr(command, "commands", {}):
        raise Undocumented(f"{name} has no example.")
    for sub in getattr(command, "list_commands", lambda _: [])(context):
        yield from describe(command.get_command(context, sub), f"{name} {sub}", context)


def table(kind: str, parameters: list[Any]) -> Iterator[str]:
    if not parameters:
        return
    yield f"| {kind} | Meaning |\n|---|---|"
    for parameter in parameters:
        if kind == "Argument":
            label = parameter.metavar or parameter.name.upper()
        else:
            label = ", ".join([*parameter.opts, *parameter.secondary_opts])
            label += f" {parameter.metavar}" if parameter.metavar else ""
        meaning = markdown(parameter.help).replace("\n", " ")
        if isinstance(parameter.show_default, str):
            meaning += f" Default: {markdown(parameter.show_default)}."
        elif parameter.show_default and parameter.default not in (None, False, ()):
            meaning += f" Default: {parameter.default}."
        yield f"| `{label.replace('|', PIPE)}` | {meaning.replace('|', PIPE)} |"
    yield ""


def markdown(text: str) -> str:
    """Plain text as Markdown: nothing in it is a placeholder or emphasis."""
    return re.sub(r"([*_<>{}\[\]~$])", r"\\\1", text)


# Finding codes


def findings() -> str:
    rows = "\n".join(
        f"| `{code}` | {about.severity} | {cell(about.meaning)} | {cell(about.hint)} |"
        for code, about in CODES.items()
    )
    return f"""# Finding codes

An **error** is what the server rejects, or what spoils a score. A **warning** is worth a look; `--strict` counts
warnings as errors. `unexpected_file` and `junk_file` are errors for `svfr`, where the official check counts all
files. `validate --json` gives each finding with `expected`, `actual` and `hint`.

| code | severity | meaning | what to do |
|---|---|---|---|
{rows}
"""


def cell(text: str) -> str:
    return markdown(text).replace("|", "\\|").replace("\n", " ")


# Python


def python() -> str:
    groups: dict[str, list[str]] = {}
    for name, (module, _) in nersemble_cli._HOME_OF.items():
        groups.setdefault(module, []).append(name)
    parts = [
        "# Python\n\nEverything here is imported from `nersemble_cli`. This page is made from the docstrings.\n",
        "```{contents}\n:local:\n:depth: 1\n```\n",
    ]
    constants = groups.pop("nersemble_cli.constants")
    for names in groups.values():
        for name in names:
            parts += [f"## `{name}`\n", *describe_name(name)]
    parts += ["## Constants\n", *(f"- `{name}` {shown(getattr(nersemble_cli, name))}" for name in constants), ""]
    return "\n".join(parts)


def shown(value: object) -> str:
    text = repr(value)
    return f"= `{text}`" if len(text) < 90 else f"({type(value).__name__}, {len(value)} entries)"  # type: ignore[arg-type]


def describe_name(name: str) -> Iterator[str]:
    thing = getattr(nersemble_cli, name)
    doc = docstring(thing, name)
    yield f"```text\n{name}{signature(thing)}\n```\n\n{doc}\n"
    if not inspect.isclass(thing):
        return
    for member_name, member in members(thing):
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        text = inspect.getdoc(function) or ""  # a name such as get_images_path may say enough
        call = (
            "" if isinstance(member, property) or not callable(function) else signature(function, is_method=True)
        )
        yield f"**`{member_name}{call}`**\n\n{prose(text)}\n"


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The class's own public methods and properties, those of its private bases included."""
    seen = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("nersemble_cli"):
            continue
        for name, member in vars(base).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            if inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod)):
                yield name, member


def docstring(thing: Any, name: str) -> str:
    if text := inspect.getdoc(thing):
        return prose(text)
    raise Undocumented(f"{name} has no docstring.")


def prose(text: str) -> str:
    """A docstring as Markdown: headings, lists and code stay; what only looks like markup is escaped."""
    return re.sub(r"(`[^`]*`)|([*<>{}\[\]$])", lambda m: m[1] or f"\\{m[2]}", text)


def signature(function: Any, is_method: bool = False) -> str:
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    parameters = list(found.parameters.values())
    if is_method and parameters and parameters[0].name in ("self", "cls"):
        found = found.replace(parameters=parameters[1:])
    return re.sub(r"nersemble_cli(\.\w+)+\.|ForwardRef(?=\()|'|numpy\.", "", str(found))


# Rooms


WIDTH, HEIGHT, GAP = 130, 40, 56


def room_of(module: str) -> str | None:
    """`nersemble_cli.core.video.reader` → `video`."""
    parts = module.split(".")
    if parts[:2] == ["nersemble_cli", "cli"]:
        return "cli"
    return parts[2] if parts[:2] == ["nersemble_cli", "core"] and len(parts) > 2 and parts[2][0] != "_" else None


def imports() -> Counter[tuple[str, str]]:
    """How many modules of one room import from another."""
    found: Counter[tuple[str, str]] = Counter()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(("nersemble_cli", *path.relative_to(PACKAGE).with_suffix("").parts))
        source = room_of(module)
        tree = ast.parse(path.read_text("utf-8"))
        # The command line imports inside functions, to start quickly; elsewhere that is for optional things.
        nodes = ast.walk(tree) if source == "cli" else tree.body
        names = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        for target in {room_of(name) for name in names}:
            if source and target and source != target:
                found[source, target] += 1
    return found


def layers(below: dict[str, set[str]]) -> list[list[str]]:
    """The rooms by the longest way down to them, so that no arrow leads up. Raises `CycleError`."""
    depth: dict[str, int] = {}
    above = {room: {source for source, targets in below.items() if room in targets} for room in below}
    for room in TopologicalSorter(above).static_order():
        depth[room] = max((depth[source] + 1 for source in above[room]), default=0)
    return [sorted(room for room in depth if depth[room] == n) for n in range(max(depth.values()) + 1)]


def reaches(below: dict[str, set[str]], source: str, target: str) -> bool:
    return any(room == target or reaches(below, room, target) for room in below[source])


def rooms() -> str:
    """The rooms of the package as layers, with an arrow for each import that no other way implies."""
    edges = imports()
    known = sorted({room for edge in edges for room in edge})
    below = {room: {target for source, target in edges if source == room} for room in known}
    stack = layers(below)
    width = max(map(len, stack)) * (WIDTH + 24) + 16
    places = {
        room: ((width - len(layer) * (WIDTH + 24) + 24) / 2 + column * (WIDTH + 24), 16 + row * (HEIGHT + GAP))
        for row, layer in enumerate(stack)
        for column, room in enumerate(layer)
    }
    arrows = [
        arrow(places[source], places[target])
        for source, target in edges
        if not any(reaches(below, room, target) for room in below[source])
    ]
    boxes = [
        f'<rect x="{x:.0f}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text x="{x + WIDTH / 2:.0f}" y="{y + HEIGHT / 2 + 5:.0f}">{room}</text>'
        for room, (x, y) in places.items()
    ]
    height = 32 + len(stack) * (HEIGHT + GAP) - GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"><style>{STYLE}</style>'
        f"{TIP}<rect width='100%' height='100%' class='paper'/>{''.join(arrows)}{''.join(boxes)}</svg>\n"
    )


STYLE = (
    "rect{fill:#eef3fa;stroke:#4a6fa5}.paper{fill:white;stroke:none}"
    "text{font:15px sans-serif;text-anchor:middle;fill:#1c2b40}"
    ".arrow{fill:none;stroke:#4a6fa5;stroke-width:1.4;marker-end:url(#tip)}#tip path{fill:#4a6fa5}"
)
TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto" '
    'markerUnits="userSpaceOnUse"><path d="M0,0 L8,4 L0,8z"/></marker></defs>'
)


def arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    x1, y1, x2, y2 = source[0] + WIDTH / 2, source[1] + HEIGHT, target[0] + WIDTH / 2, target[1]
    bend = min((y2 - y1) * 0.5, 60)
    curve = f"{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} {x2:.0f},{y2}"
    return f'<path class="arrow" d="M{x1:.0f},{y1} C{curve}"/>'


if __name__ == "__main__":
    for (source, target), n in sorted(imports().items()):
        print(f"{source} -> {target}: {n}")

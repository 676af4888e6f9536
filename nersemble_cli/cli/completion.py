"""Answers a TAB from a table, without Typer: with it, even an empty program takes more than its import twice.

The shells' scripts and their protocol are Typer's; `completions/generate.py` makes the table. Other shells than
bash, zsh and fish are left to Typer.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

TYPE_CHECKING = False  # importing `typing` would take time
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

INSTRUCTION = "_NERSEMBLE_COMPLETE"
TABLE = Path(__file__).parent.parent / "data" / "completion.json"

Items = dict[str, str]
"""What can be put in → what it means, or an empty text."""


def complete(table: Mapping[str, Any], words: list[str], incomplete: str) -> Items:
    """What `incomplete` may become after `words` (without the program's name). Empty: anything, so a file."""
    command, options = table["command"], _options(table["command"])
    wanted, n_arguments, used, only_arguments = None, 0, [], False
    for word in words:
        if wanted:
            wanted = None
        elif word == "--" and not only_arguments:
            only_arguments = True
        elif word.startswith("-") and not only_arguments:
            name, has_value, _ = word.partition("=")
            if option := options.get(name):
                used.append(option)
                wanted = None if has_value or option["is_flag"] else option
        elif word in command["commands"]:
            command = command["commands"][word]
            options = _options(command)
        else:
            n_arguments += 1
    if wanted:
        return _values(table, wanted, words, incomplete)
    if incomplete.startswith("-") and not only_arguments:
        name, has_value, value = incomplete.partition("=")
        if has_value:
            found = _values(table, options[name], words, value) if name in options else {}
            return {f"{name}={item}": meaning for item, meaning in found.items()}
        return {
            name: option["help"]
            for name, option in options.items()
            if name.startswith(incomplete) and (option["is_repeatable"] or option not in used)
        }
    if command["commands"]:
        return {n: c["help"] for n, c in command["commands"].items() if n.startswith(incomplete)}
    if n_arguments < len(command["arguments"]):
        return _values(table, command["arguments"][n_arguments], words, incomplete)
    return {}


def _options(command: Mapping[str, Any]) -> dict[str, Any]:
    return {name: option for option in command["options"] for name in option["names"]}


def _values(table: Mapping[str, Any], parameter: Mapping[str, Any], words: list[str], incomplete: str) -> Items:
    """The parameter's values that begin like what was typed after its last comma."""
    benchmarks, name = table["benchmarks"], parameter["name"]
    # What one benchmark knows, if one was typed; else what any does that the command is for.
    meant = [benchmarks[word] for word in words if word in benchmarks] or [
        benchmarks[benchmark] for benchmark in parameter["benchmarks"]
    ]
    if name == "sequence":
        people = {person: has for b in meant for person, has in b["participant"].items()}
        typed_people = {part for word in words for part in word.split(",") if part in people}
        names = [sequence for person in typed_people or people for sequence in people[person]]
    else:
        names = parameter["choices"] or [value for b in meant for value in b.get(name, ())]
    typed, comma, last = incomplete.rpartition(",")
    there = typed.split(",")
    return {f"{typed}{comma}{n}": "" for n in names if n.startswith(last) and n not in there}


def _typed(environment: Mapping[str, str], shell: str) -> tuple[list[str], str]:
    """The complete words after the program's name, and the incomplete one at the cursor."""
    if shell == "bash":
        words = _split(environment["COMP_WORDS"])
        position = int(environment["COMP_CWORD"])
        before, last = words[1:position], words[position] if position < len(words) else ""
        # Bash makes three words of --option=value.
        return [word for word in before if word != "="], "" if last == "=" else last
    line = environment["_TYPER_COMPLETE_ARGS"]
    words = _split(line)[1:]
    return (words, "") if not words or line.endswith(" ") else (words[:-1], words[-1])


def _split(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:  # a quote that is not closed yet: the word is all that follows it
        words.append(lexer.token)
    return words


def _as_zsh(items: Items) -> str:
    if not items:
        return "_files"
    escape = str.maketrans({"\\": "\\\\", '"': "”", "'": "’", "$": "\\$", "`": "\\`", ":": "\\\\:"})
    quoted = [[f'"{text.translate(escape)}"' for text in item if text] for item in items.items()]
    listed = "\n".join(map(":".join, quoted))
    return f"_arguments '*: :(({listed}))'"


def answer(environment: Mapping[str, str] | None = None) -> tuple[str, int] | None:
    """What to print and the exit status, if the environment has a TAB to be answered; else None."""
    environment = os.environ if environment is None else environment
    instruction, _, shell = environment.get(INSTRUCTION, "").partition("_")
    if instruction != "complete" or shell not in ("bash", "zsh", "fish"):
        return None
    table = json.loads(TABLE.read_text("utf-8"))
    items = complete(table, *_typed(environment, shell))
    if shell == "bash":
        return "\n".join(items), 0
    if shell == "zsh":
        return _as_zsh(items), 0
    if environment.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return "", 0 if items else 1
    return "\n".join(f"{item}\t{meaning}" if meaning else item for item, meaning in items.items()), 0

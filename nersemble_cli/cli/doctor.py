"""`nersemble doctor`: the state of this machine."""

from __future__ import annotations

from typing import Any

from nersemble_cli.cli.options import FolderOption, JsonOption

DRAWING = {
    "display": "windows and files",
    "egl": "files only, there is no display (EGL)",
    "osmesa": "files only, there is no display (OSMesa)",
}


def doctor(folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """Show what nersemble finds on this machine.

    Versions, ffmpeg, OpenGL, FLAME model, settings and free space: what to paste into a bug report. Your
    benchmark URL is not shown.
    """
    from nersemble_cli.cli.output import Output, plain_table
    from nersemble_cli.core.inspect.machine import diagnose

    out = Output(as_json)
    found = diagnose(folder)
    table = plain_table("", "")
    table.show_header = False
    table.columns[1].overflow = "fold"
    for name, text, style in _rows(found):
        table.add_row(name, text, style=style)
    out.table(table)
    out.json({"schema_version": 1, **found})


def _rows(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What it is, what was found, and a style."""
    from nersemble_cli.cli.output import human_size
    from nersemble_cli.core.errors import install_command
    from nersemble_cli.core.flame.model import EMBEDDINGS_PAGE

    def row(name: str, text: str | None, otherwise: str) -> tuple[str, str, str]:
        return (name, text, "") if text else (name, otherwise, "yellow")

    libraries = found["libraries"]
    ffmpeg, model, folder = found["ffmpeg"], found["flame_model"], found["folder"]
    installed = [f"{name} {version}" for name, version in libraries.items() if version]
    missing = ", ".join(name for name, version in libraries.items() if version is None and name != "torch")
    permission = "" if folder["writable"] else ", not writable"
    state = f"{folder['path']} ({'there' if folder['exists'] else 'not there yet'}{permission})"
    return [
        ("nersemble", f"{found['nersemble']}, Python {found['python']}, {found['system']}", ""),
        row("libraries", ", ".join(installed), "none"),
        *([("", f"missing: {missing}", "red")] if missing else []),
        row(
            "ffmpeg",
            ffmpeg and f"{ffmpeg['version']} with libx264, {ffmpeg['path']}",
            "none with libx264: apt-get install ffmpeg, or conda install ffmpeg",
        ),
        row(
            "OpenGL",
            DRAWING.get(found["drawing_on"]),
            "none, so there are no pictures: apt-get install libgl1 libegl1 libglib2.0-0",
        ),
        row("torch", libraries["torch"], f"not installed, needed for FLAME: {install_command('flame')}"),
        row(
            "FLAME model",
            model["path"] if model["found"] else None,
            f"not at {model['path']}: download flame2023.pkl from https://flame.is.tue.mpg.de",
        ),
        row(
            "FLAME landmarks",
            None if model["missing_embeddings"] else "both embeddings are beside the model",
            f"not beside the model: {' and '.join(model['missing_embeddings'])}; download from {EMBEDDINGS_PAGE}",
        ),
        row(
            "URL",
            "configured" if found["url_configured"] else None,
            "not configured: nersemble download svfr says how to get access",
        ),
        *(("settings", problem, "red") for problem in found["env_problems"]),
        ("folder", f"{state}, {human_size(folder['free_bytes'])} free", ""),
    ]

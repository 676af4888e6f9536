"""Starting the command line, how it ends, and what a terminal makes of its output."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from nersemble_cli.cli.output import Output, count, human_size, plain_table, printable
from nersemble_cli.core.errors import NersembleError
from tests.conftest import ROOT, Run

COMMAND = [sys.executable, "-m", "nersemble_cli"]


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "--help"], ["pack", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from nersemble_cli.cli.app import main\n"
        f"sys.argv = ['nersemble', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit as end: status = end.code\n"
        "heavy = {'numpy', 'cv2', 'av', 'trimesh', 'vtk', 'torch', 'requests', 'pyvista'} & set(sys.modules)\n"
        "sys.exit(f'{heavy} {status}' if heavy or status else 0)"
    )
    root = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr


# One style of errors


@pytest.mark.parametrize(
    ("arguments", "message", "usage"),
    [
        (["pack", "nvs"], "Missing argument 'RENDERS'", "nersemble pack [OPTIONS] nvs|mono|svfr RENDERS OUT.zip"),
        (["validate", "x.zip", "--frob"], "No such option: --frob", "nersemble validate"),
        (["vaildate"], "No such command 'vaildate'", "nersemble [OPTIONS] COMMAND"),
        (["pack", "nvs", "a", "b.zip", "--crf", "x"], "'--crf'", "nersemble pack"),
    ],
)
def test_a_wrong_command_line_is_an_error_like_any_other(
    arguments: list[str], message: str, usage: str, run: Run
) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: ") and "╭" not in result.err
    assert message in result.err and f"Usage: {usage}" in result.err and "--help" in result.err


def test_help_shows_neither_types_of_flags_nor_braces(run: Run) -> None:
    for words in ([], ["download"], ["validate"], ["visualize", "cameras"], ["pack"]):
        text = run(*words, "--help").out
        assert (
            "<bool>" not in text
            and "<str>" not in text
            and "<Path>" not in text
            and "{" not in text.split("\n")[1]
        )


@pytest.mark.parametrize(
    ("module", "package"), [("cv2.foo", "opencv-python"), ("vtkmodules.vtkRenderingCore", "vtk")]
)
def test_a_missing_library_is_not_a_bug(
    module: str, package: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr("nersemble_cli.core.submission.validation.validate_submission", fail)
    result = run("validate", "x.zip")
    assert result.status == 2
    assert f"{package}, which is not installed" in result.err and f"pip install {package}" in result.err


# Any terminal


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["0", "-3", "wide", "", "1", "99999999999"])
def test_a_width_that_cannot_be_true_hides_nothing(columns: str) -> None:
    done = subprocess.run(
        [*COMMAND, "pack", "nvs"], capture_output=True, text=True, check=False,
        env=environment(COLUMNS=columns, TERMINAL_WIDTH=columns),
    )  # fmt: skip
    assert done.returncode == 2
    assert "Missing argument 'RENDERS'" in done.stderr
    done = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, check=False,
        env=environment(COLUMNS=columns, TERMINAL_WIDTH=columns),
    )  # fmt: skip
    assert "validate" in done.stdout and len(done.stdout) < 100_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudoterminal")
def test_a_terminal_without_a_size_shows_everything() -> None:
    ours, theirs = pty.openpty()  # 0 × 0
    settings = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run(
        [*COMMAND, "doctor"], stdout=theirs, stderr=theirs, stdin=theirs, env=settings, check=False
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    except OSError:  # the end, on Linux
        pass
    os.close(ours)
    assert done.returncode == 0 and b"nersemble" in shown and b"Python" in shown


# Untrusted text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[red]x[/red] [v2] :smile:", "[red]x[/red] [v2] :smile:"),
        ("a\x1b[31mb\x9b2Jc", r"a\x1b[31mb\x9b2Jc"),
        ("valid.\n0 errors\r\tx", r"valid.\n0 errors\r\tx"),
        ("\u202egnp.exe \ud800 \u2028", r"\u202egnp.exe \ud800 \u2028"),
        ("Ärger 头 ✓", "Ärger 头 ✓"),
    ],
)
def test_text_is_shown_verbatim_and_harmless(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printable(text) == shown
    out = Output()
    table = plain_table(text)
    table.add_row(text)
    out.print(text)
    out.table(table)
    out.note(text)
    out.warning(text)
    out.error(NersembleError(text, text.replace("\n", "").replace("\r", "").replace("\u2028", "")))
    captured = capsys.readouterr()
    assert captured.out.count(shown) == 3
    assert captured.err.count(shown) >= 3
    assert not {"\x1b", "\x9b", "\r", "\u202e", "\u2028"} & set(captured.out + captured.err)


def test_names_in_a_zip_cannot_forge_a_line(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "[bold]x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("388/GLASSES/[/red]\nforged.zip is a valid nvs submission.", b"")
        archive.writestr("388/GLASSES/\x1b[2Jcam_1.mp4", b"")
    for arguments in (["validate", path, "--benchmark", "nvs"], ["inspect", path]):
        result = run(*arguments)
        assert "\x1b" not in result.out + result.err
        assert "\nforged" not in result.out and "[bold]x.zip" in result.out
    assert r"[/red]\nforged" in run("validate", path, "--benchmark", "nvs").out


def test_sizes_and_counts() -> None:
    assert [human_size(n) for n in (0, 1, 999, 18_500_000, 3.34e9)] == [
        "0 bytes", "1 byte", "999 bytes", "18.5 MB", "3.3 GB",
    ]  # fmt: skip
    assert (count(1, "file"), count(1200, "file")) == ("1 file", "1,200 files")


# How it ends


@pytest.mark.slow
def test_a_reader_that_goes_away_is_not_an_answer(tmp_path: Path) -> None:
    big = tmp_path / "big.zip"
    with zipfile.ZipFile(big, "w") as archive:
        for number in range(500):
            archive.writestr(f"388/GLASSES/{'x' * 200}{number}", b"")
    for arguments in (["inspect", str(big)], ["inspect", "--json", str(big)], ["--help"]):
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        )
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read().decode()
        process.stderr.close()
        assert (process.wait(), err) == (141, "")


SLEEPER = """
import sys, time
import nersemble_cli.cli.app as app
from nersemble_cli.core.inspect import machine

def work(folder):
    print("ready", flush=True)
    {work}

machine.diagnose = work
sys.argv = ["nersemble", "doctor"]
app.main()
"""
PLAIN = "time.sleep(60)"
SWALLOWED = """
    try:
        time.sleep(60)
    except BaseException:
        pass  # as trimesh does, in many places
    time.sleep(60)
"""
RETURNED = """
    try:
        time.sleep(60)
    except BaseException:
        pass
    return {"nersemble": "1", "python": "", "system": ""}
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("work", [PLAIN, SWALLOWED, RETURNED], ids=["plain", "swallowed", "returned"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_program_with_its_status(work: str, number: signal.Signals, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(work=work)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_nohup_is_respected() -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", SLEEPER.format(work="time.sleep(1); sys.exit(7)")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_a_closed_stdout_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    from nersemble_cli.cli.app import _check_terminal

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    _check_terminal()
    print("✓", file=sys.stderr)  # noqa: T201
    sys.stdout.close()

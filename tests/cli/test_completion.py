"""TAB in the real shells: what a user sees there, and that it needs no more than Python and a table."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing, write_program

pytestmark = pytest.mark.slow

COMPLETIONS = ROOT / "completions"
SHELLS = ("bash", "zsh", "fish")
PATIENCE = 30.0  # seconds
STYLES = re.compile(r"\x1b\[[0-9;]*m|\x1b[=>]|\x07")
MOVES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")

Press = Callable[[str], set[str]]
"""Types a line and TAB; gives every word that the shell then shows."""

# A key that shows the line as it is now, so that the test knows that the shell is done with the TAB.
START = {
    "bash": [
        "bind 'set show-all-if-ambiguous on'; bind 'set bell-style none'; bind 'set page-completions off'",
        "bind 'set completion-query-items 0'; bind 'set enable-bracketed-paste off'",
        r"""bind -x '"\C-o": printf "\nLINE %s END\n" "$READLINE_LINE"; READLINE_LINE='""",
        "source '{completions}/nersemble.bash'",
    ],
    "zsh": [
        "unset zle_bracketed_paste; fpath=('{completions}' $fpath); autoload -Uz compinit; compinit -u -D",
        "LISTMAX=1000; unsetopt beep list_ambiguous; zstyle ':completion:*' menu no",
        r"""show() { zle -I; print -r -- "LINE $BUFFER END"; BUFFER=; zle -Rc; }; zle -N show; bindkey '^O' show""",
    ],
}
COMMAND = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A working directory with files, and an environment in which `nersemble` is this checkout's."""
    place = tmp_path_factory.mktemp("shell")
    (place / "renders").mkdir()
    (place / "submission.zip").touch()
    program = write_program(place)
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(place),
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
    }
    return place, environment


class Terminal:
    """An interactive shell that is typed into."""

    def __init__(self, shell: str, place: Path, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            COMMAND[shell], stdin=theirs, stdout=theirs, stderr=theirs, cwd=place, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.terminal = ours
        for line in START[shell]:
            self._write(line.replace("{completions}", str(COMPLETIONS)) + "\n")
        self._write("stty cols 200; echo rea''dy\n")
        self._read_to("ready\n")

    def _write(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def _read_to(self, end: str) -> str:
        text, limit = "", time.monotonic() + PATIENCE
        while end not in text:
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, limit - time.monotonic()))
            assert ready, f"The shell does not answer. It shows: {text!r}"
            text += os.read(self.terminal, 1 << 16).decode(errors="replace")
            text = text.replace("\r\n", "\n")
        return MOVES.sub(" ", STYLES.sub("", text))

    def press_tab(self, line: str) -> set[str]:
        self._write("\x0f")  # whatever is still to come from the line before
        self._read_to(" END\n")
        self._write(line + "\t\x0f")
        return set(re.split(r"\s+", self._read_to(" END\n")))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture(scope="module", params=SHELLS)
def press(request: pytest.FixtureRequest, surroundings: tuple[Path, dict[str, str]]) -> Iterator[Press]:
    shell = request.param
    place, environment = surroundings
    if not shutil.which(shell):
        missing(f"{shell} is", shell)
    if shell == "fish":
        yield lambda line: press_in_fish(line, place, environment)
        return
    terminal = Terminal(shell, place, environment)
    yield terminal.press_tab
    terminal.close()


def press_in_fish(line: str, place: Path, environment: dict[str, str]) -> set[str]:
    script = COMPLETIONS / "nersemble.fish"
    process = subprocess.run(
        ["fish", "--no-config", "-c", f"source '{script}'; complete -C '{line}'"],
        cwd=place, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return {shown.partition("\t")[0] for shown in process.stdout.splitlines()}


@pytest.mark.parametrize(
    ("line", "expected", "unexpected"),
    [
        ("nersemble ", {"download", "inspect", "pack", "validate"}, {"submission.zip", "nvs"}),
        ("nersemble val", {"validate"}, {"download"}),
        ("nersemble download ", {"nvs", "mono", "svfr"}, {"submission.zip"}),
        ("nersemble download nvs --", {"--participant", "--dry-run", "--help"}, {"--crf"}),
        ("nersemble pack --c", {"--crf"}, {"--camera"}),
        ("nersemble download nvs -p ", {"388", "422", "443", "445", "475"}, {"393", "submission.zip"}),
        ("nersemble download mono -p 388,4", {"388,404", "388,461"}, {"388,422"}),
        ("nersemble download nvs -s ", {"GLASSES", "FREE"}, {"EXP-1-head"}),
        ("nersemble download nvs -p 388,422 -s ", {"GLASSES", "EXP-2-eyes"}, {"FREE"}),
        ("nersemble download mono --sequence EXP-3", {"EXP-3-cheeks+nose"}, {"EXP-2-eyes"}),
        ("nersemble download nvs -c 22070", {"220700191"}, {"222200037"}),
        ("nersemble download mono_flame_avatar -a fl", {"flame2023_tracking", "flame2023_tracking_v2"}, {"images"}),
        ("nersemble vis", {"visualize"}, {"validate"}),
        ("nersemble visualize ", {"cameras", "flame", "pointcloud"}, {"download"}),
        ("nersemble visualize flame ", {"393", "486"}, {"388"}),
        ("nersemble visualize pointcloud 388 -s ", {"GLASSES"}, {"FREE"}),
        ("nersemble visualize pointcloud 388 --color ", {"rgb", "normals"}, {"renders/"}),
        ("nersemble validate --benchmark ", {"nvs", "mono", "svfr"}, {"submission.zip"}),
        ("nersemble validate sub", {"submission.zip"}, {"renders/"}),
        ("nersemble pack nvs ren", {"renders/"}, {"submission.zip"}),
        ("nersemble inspect -f ren", {"renders/"}, {"submission.zip"}),
    ],
)  # fmt: skip
def test_tab(press: Press, line: str, expected: set[str], unexpected: set[str]) -> None:
    shown = press(line)
    assert expected <= shown
    assert not unexpected & shown


def test_scripts_and_table_are_current() -> None:
    command = [sys.executable, str(COMPLETIONS / "generate.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (process.stdout, process.returncode) == ("", 0), process.stderr


@pytest.mark.parametrize(
    ("shell", "file", "ours"),
    [
        ("bash", ".bash_completions/nersemble.sh", "nersemble.bash"),
        ("zsh", ".zfunc/_nersemble", "_nersemble"),
        ("fish", ".config/fish/completions/nersemble.fish", "nersemble.fish"),
    ],
)
def test_install_completion_in_an_empty_home(shell: str, file: str, ours: str, tmp_path: Path) -> None:
    if not shutil.which(shell):
        missing(f"{shell} is", shell)
    home = tmp_path / "empty"
    home.mkdir()
    # Typer looks which shell it was started from.
    script = f"PYTHONPATH='{ROOT}' '{sys.executable}' -m nersemble_cli --install-completion; true"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    process = subprocess.run([shell, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert (home / file).read_text().strip() in (COMPLETIONS / ours).read_text()


def test_tab_loads_neither_typer_nor_what_is_heavier() -> None:
    code = (
        "import sys\n"
        "from nersemble_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit(str({'typer', 'rich', 'numpy', 'requests', 'dotenv', 'typing'} & set(sys.modules) or ''))\n"
    )
    environment = {
        "PYTHONPATH": str(ROOT),
        "_NERSEMBLE_COMPLETE": "complete_bash",
        "COMP_WORDS": "nersemble download nvs -p 4",
        "COMP_CWORD": "4",
    }
    command = [sys.executable, "-S", "-c", code]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert process.stderr == "\n"
    assert process.stdout.split() == ["422", "443", "445", "475"]

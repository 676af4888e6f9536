"""The `nersemble` command: answers the shell's TAB, else runs the command line."""

from __future__ import annotations

import sys


def main() -> None:
    from nersemble_cli.cli.completion import answer

    found = answer()
    if found is None:
        from nersemble_cli.cli.app import main as run

        run()
    else:
        text, status = found
        print(text)  # noqa: T201
        sys.exit(status)


if __name__ == "__main__":
    main()

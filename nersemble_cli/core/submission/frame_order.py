"""The order of frames, from the numbers in their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from nersemble_cli.core.errors import InvalidInputError, listing

# A sign counts where a separator or nothing stands before it: frame_-2, but not 2024-11 and not frame-2.
_NUMBER = re.compile(
    r"(?P<sign>(?<![^\s_.=(\[/-])[-+\u2212])?(?P<digits>[0-9]+(?:\.[0-9]+)?(?:[eE][-+][0-9]{1,3})?)"
)


@dataclass(frozen=True)
class FrameNumbers:
    """Frames in order. `numbers` are theirs; `step` is the usual distance, and `missing` the numbers left out."""

    order: tuple[int, ...]  # indices into the names
    numbers: tuple[Decimal, ...]
    missing: tuple[int, ...] = ()


class AmbiguousOrderError(InvalidInputError):
    """The names do not say which frame comes first."""


class DuplicateFrameError(InvalidInputError):
    """Several names have the same number."""


def order_frames(names: Sequence[str]) -> FrameNumbers:
    """Orders names, without their suffixes, by the number that varies between them.

    If several numbers vary, they must agree on the order; the last one counts. Every name has a number. Raises
    `DuplicateFrameError` if two names have the same numbers and `AmbiguousOrderError` if the names can be read in
    more than one way.
    """
    columns = _columns(names)
    varying = [column for column in columns if len(set(column)) > 1]
    if not varying:
        if len(names) == 1:
            return FrameNumbers((0,), (columns[-1][0],))
        same = ", ".join(str(column[0]) for column in columns)
        raise DuplicateFrameError(f"All {len(names)} names have the same number ({same}): {listing(names, 3)}.")
    unique = [column for column in varying if len(set(column)) == len(names)]
    if not unique and len(varying) == 1:
        ((number, _),) = Counter(varying[0]).most_common(1)
        same = listing([name for name, value in zip(names, varying[0], strict=True) if value == number], 3)
        twice = sum(count > 1 for count in Counter(varying[0]).values())
        occur = "1 number occurs" if twice == 1 else f"{twice} numbers occur"
        raise DuplicateFrameError(f"{occur} more than once, such as {number}: {same}.")
    if not unique:
        raise AmbiguousOrderError(f"{_vary(varying)}, and none of them is different in every name: {_few(names)}.")
    whole = [column for column in unique if all(value == int(value) for value in column)]
    chosen = (whole or unique)[-1]
    order = tuple(sorted(range(len(names)), key=lambda i: chosen[i]))
    for column in varying:
        if any(column[a] > column[b] for a, b in pairwise(order)):
            raise AmbiguousOrderError(f"{_vary(varying)} and disagree about the order: {_few(names)}.")
    numbers = tuple(chosen[i] for i in order)
    return FrameNumbers(order, numbers, _missing(numbers) if chosen in whole else ())


def _columns(names: Sequence[str]) -> list[tuple[Decimal, ...]]:
    """The numbers at each place of the names; of names with unequal many, the first and the last."""
    rows = [list(_NUMBER.finditer(name)) for name in names]
    if without := [name for name, row in zip(names, rows, strict=True) if not row]:
        raise AmbiguousOrderError(f"{_count(len(without), 'name')} without a number: {_few(without)}.")
    if len({len(row) for row in rows}) > 1:
        rows = [[row[0], row[-1]] for row in rows]
    columns = []
    for matches in zip(*rows, strict=True):
        digits = [match["digits"] for match in matches]
        fractions = [text.partition(".")[2] for text in digits]
        if len(set(map(len, fractions))) > 1 and any(len(f) > 1 and f.endswith("0") for f in fractions):
            message = f"It is not clear whether {digits[0]} is a decimal number: {_few(names)}."
            raise AmbiguousOrderError(message)
        columns.append(
            tuple(
                -Decimal(text) if negative else Decimal(text)
                for text, negative in zip(digits, _negative(names, matches), strict=True)
            )
        )
    return columns


def _negative(names: Sequence[str], matches: Sequence[re.Match[str]]) -> list[bool]:
    """Which numbers are below zero. In frame-1, frame0 the hyphen is a sign, in frame-0, frame-1 it is not."""
    before = [name[: match.start()] for name, match in zip(names, matches, strict=True)]
    hyphens = [
        text.endswith(("-", "\u2212")) and not match["sign"] for text, match in zip(before, matches, strict=True)
    ]
    has_sign = any(hyphens) and not all(hyphens) and not any(match["sign"] for match in matches)
    return [
        match["sign"] in ("-", "\u2212") or (has_sign and hyphen)
        for match, hyphen in zip(matches, hyphens, strict=True)
    ]


def _missing(numbers: Sequence[Decimal]) -> tuple[int, ...]:
    """The whole numbers that are left out of an ordered sequence with an otherwise constant step."""
    steps = {int(b - a) for a, b in pairwise(numbers)}
    if len(steps) < 2:
        return ()
    first, last, step = int(numbers[0]), int(numbers[-1]), min(steps)
    if (last - first) // step > 100 * len(numbers):
        return ()  # time stamps, not counted frames
    return tuple(sorted(set(range(first, last + 1, step)) - {int(n) for n in numbers}))


def _vary(columns: Sequence[Sequence[Decimal]]) -> str:
    samples = " and ".join(f"{column[0]}, {column[1]}, …" for column in columns)
    return f"{len(columns)} numbers vary in the names ({samples})"


def _few(names: Sequence[str]) -> str:
    return listing(names, 3)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def has_number(name: str) -> bool:
    return _NUMBER.search(name) is not None

"""Videos that show the right subject at the wrong time: another sequence, a shift, another order of frames.

A painted head moves only about as the real one does, so the videos of a sequence are also looked at together: a
mistake that all of them share stands out where one video alone would leave it open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoSlot
from nersemble_cli.core.submission.compare import timing
from nersemble_cli.core.submission.compare.reference import Reference, SequenceKey
from nersemble_cli.core.submission.compare.signals import VideoSignals
from nersemble_cli.core.submission.compare.timing import Moves
from nersemble_cli.core.submission.findings import Finding

IN_STEP = 0.4  # correlation of motion from which on it says something
SHIFT, SHIFT_SPREAD, SHIFT_GAIN = 0.6, 0.55, 0.015  # frames, frames, correlation
WINDOW, IN_WINDOWS = 12, 0.6  # frames; the share of windows that must be off
REVERSED_GAIN, REVERSED_LAG = 0.08, 1.0  # correlation, frames
ORDER_GAIN = 0.15
SEQUENCE_GAIN = 0.05
SHARED_GAIN = 0.005  # of each video by an order that explains all of them
# A lost or repeated frame: what the correlation gains by it, and what it must be from there on …
STEP_GAIN, STEP_SCORE = 0.007, 0.7
STEP_GAIN_HEAD, STEP_SCORE_HEAD = 0.03, IN_STEP  # … if only the head is known


class Explanation(NamedTuple):
    """A finding without a path, and the order (T,) in which the video's frames would be right."""

    finding: Finding
    order: NDArray[np.intp]


def _moves(signals: VideoSignals, expected: timing.Cells) -> Moves | None:
    """None if there are too few frames to tell anything."""
    moves = timing.compared(signals.cells, expected)
    return moves if moves.n_frames >= timing.FEWEST_FRAMES else None


def is_in_step(signals: VideoSignals, expected: timing.Cells) -> bool:
    """Whether a video moves as cells (T, C) do."""
    moves = _moves(signals, expected)
    return moves is not None and moves.score() >= IN_STEP


def find_sequence(
    slot: VideoSlot, signals: VideoSignals, reference: Reference, others: Mapping[SequenceKey, Reference]
) -> Finding | None:
    """Another sequence of the same participant that the video moves with, better than with its own at any lag."""
    named = _moves(signals, reference.expected[slot.serial].cells)
    scores = {
        sequence: moves.score()
        for (participant, sequence), its in others.items()
        if participant == slot.participant
        and slot.serial in its.expected
        and (moves := _moves(signals, its.expected[slot.serial].cells)) is not None
    }
    best = max(scores, key=scores.__getitem__, default="")
    if named is None or not best or scores[best] < IN_STEP:
        return None
    own = timing.find_shift(timing.lag_curve(named.motion(), named.expected_motion())).score
    if scores[best] < own + SEQUENCE_GAIN:
        return None
    return Finding(
        "wrong_sequence", slot.path,
        f"It moves like sequence {best}, not like {slot.sequence} (correlation {scores[best]:.2f}, by its name"
        f" {own:.2f}).",
        expected=slot.sequence, actual=best, evidence={"own": own, "better": scores[best]},
    )  # fmt: skip


def find_timing(videos: Mapping[VideoSlot, VideoSignals], reference: Reference) -> dict[VideoSlot, Finding]:
    """The videos of a sequence that are shifted, reversed or out of order, by how they move."""
    known = {slot: _moves(signals, reference.expected[slot.serial].cells) for slot, signals in videos.items()}
    moving = {slot: moves for slot, moves in known.items() if moves is not None}
    shared = _find_shared(list(moving.values()), reference.is_whole)
    found = {}
    for slot, moves in moving.items():
        explanations = [e for e in (_find_order(moves, reference.is_whole), shared) if e is not None]
        best = max(explanations, key=lambda e: moves.score(e.order), default=None)
        if best is not None and moves.score(best.order) > moves.score():
            finding: Finding | None = best.finding
        else:
            finding = _find_disorder(moves)
        if finding is not None:
            found[slot] = replace(finding, path=slot.path)
    return found


def _find_shared(videos: Sequence[Moves], is_whole: bool) -> Explanation | None:
    """The order in which all videos move better, each by itself and together."""
    if len(videos) < 2:
        return None
    shared = _find_order(timing.side_by_side(videos), is_whole)
    if shared is None or min(v.score(shared.order) - v.score() for v in videos) < SHARED_GAIN:
        return None
    return shared


def _find_order(moves: Moves, is_whole: bool) -> Explanation | None:
    """The order of frames, the same for all videos in `moves`, in which they move better."""
    n = moves.n_frames
    actual, expected = moves.motion(), moves.expected_motion()
    shift = timing.find_shift(timing.lag_curve(actual, expected))
    backwards = np.arange(n)[::-1]
    turned = timing.find_shift(timing.lag_curve(moves.motion(backwards), expected))
    if turned.score > max(shift.score + REVERSED_GAIN, IN_STEP) and abs(turned.lag) < REVERSED_LAG:
        message = (
            f"It moves as it should when it is played backwards ({turned.score:.2f}, as it is {shift.own:.2f})."
        )
        finding = Finding(
            "reversed_video", None, message, expected="forwards", actual="backwards",
            evidence={"own": shift.own, "better": turned.score, "lag": turned.lag, "videos": moves.n_videos},
        )  # fmt: skip
        return Explanation(finding, backwards)
    by_number = np.argsort(timing.lexicographic_order(n))
    in_order = moves.score(by_number)
    if in_order > max(shift.score + ORDER_GAIN, IN_STEP):
        message = (
            "It moves as it should if its frames were sorted as text (0, 1, 10, …) and are put in order"
            f" ({in_order:.2f}, as it is {shift.own:.2f})."
        )
        finding = Finding(
            "disordered_frames", None, message, expected="0, 1, 2, …", actual="0, 1, 10, …",
            hint="Sort the frames by number, not by name.",
            evidence={"own": shift.own, "better": in_order, "videos": moves.n_videos},
        )  # fmt: skip
        return Explanation(finding, by_number)
    if max(shift.score, shift.own) < IN_STEP:
        return None  # a static or flickering video says nothing of time
    return _find_step(moves, is_whole) or _find_shift(moves, shift)


def _find_shift(moves: Moves, shift: timing.Shift) -> Explanation | None:
    frames = round(shift.lag)
    windows = timing.local_lags(moves.motion(), moves.expected_motion(), WINDOW)
    steady = windows[windows[:, 2] > IN_STEP, 1]
    is_steady = (
        len(steady)
        and np.median(np.abs(steady - shift.lag)) < SHIFT_SPREAD
        and (np.abs(steady) > SHIFT / 2).mean() > IN_WINDOWS
    )
    is_clear = abs(shift.lag) > SHIFT and shift.spread < SHIFT_SPREAD and shift.score > shift.own + SHIFT_GAIN
    if not frames or not is_clear or not is_steady:
        return None
    early = frames > 0
    message = (
        f"It is {abs(frames)} frame{'s'[: abs(frames) > 1]} {'early' if early else 'late'}: its frame 0 shows "
    )
    message += f"timestep {frames}." if early else "what comes before timestep 0."
    finding = Finding(
        "time_shift", None, message, expected=0, actual=frames,
        hint="Start at timestep 0, and render each timestep once.",
        evidence={
            "own": shift.own, "better": shift.score, "lag": shift.lag, "spread": shift.spread,
            "videos": moves.n_videos,
        },
    )  # fmt: skip
    return Explanation(finding, _later(moves.n_frames, frames))


def _find_step(moves: Moves, is_whole: bool) -> Explanation | None:
    least = STEP_GAIN if is_whole else STEP_GAIN_HEAD / moves.n_videos**0.5
    step = timing.find_step(moves.motion(), moves.expected_motion(), WINDOW, least)
    if step is None or step.score < (STEP_SCORE if is_whole else STEP_SCORE_HEAD):
        return None
    is_lost = step.lag > 0
    message = (
        f"Near timestep {step.timestep} a frame is {'lost' if is_lost else 'repeated'}: from there on it is"
        f" {abs(step.lag)} frame{'s'[: abs(step.lag) > 1]} {'early' if is_lost else 'late'}."
    )
    finding = Finding(
        "disordered_frames", None, message, expected=0, actual=step.lag,
        evidence={
            "own": step.own, "better": step.score, "lag": step.lag, "timestep": step.timestep,
            "videos": moves.n_videos,
        },
    )  # fmt: skip
    return Explanation(finding, _later(moves.n_frames, step.lag, step.timestep))


def _later(n: int, frames: int, start: int = 0) -> NDArray[np.intp]:
    """The order in which what comes from `start` on is shown that many frames later."""
    t = np.arange(n)
    order: NDArray[np.intp] = np.where(t < start, t, (t - frames).clip(0, n - 1))
    return order


def _find_disorder(moves: Moves) -> Finding | None:
    """Single frames that are out of place, in a video that is in step."""
    if moves.score() < IN_STEP:
        return None
    n = moves.n_frames
    swapped = timing.swapped_pairs(moves.cells, moves.expected)
    if 0 < len(swapped) <= n // 4:
        message = f"Frames {swapped[0]} and {swapped[0] + 1} are in the wrong order"
        message += "." if len(swapped) == 1 else f", and {len(swapped) - 1} more such pairs."
        return Finding(
            "disordered_frames", None, message, expected=[int(swapped[0]), int(swapped[0]) + 1],
            actual=[int(swapped[0]) + 1, int(swapped[0])],
            evidence={"pairs": len(swapped), "timestep": int(swapped[0])},
        )  # fmt: skip
    repeated = timing.repeated_frames(moves.cells, moves.expected)
    inner = repeated[(repeated > 2) & (repeated < n - 2)]
    if 0 < len(inner) <= n // 4:
        message = f"Frame {inner[0]} repeats the one before it, while the training cameras see motion"
        message += "." if len(inner) == 1 else f", and so do {len(inner) - 1} more."
        return Finding(
            "disordered_frames", None, message, expected="motion", actual=int(inner[0]),
            evidence={"frames": len(inner), "timestep": int(inner[0])},
        )  # fmt: skip
    return None

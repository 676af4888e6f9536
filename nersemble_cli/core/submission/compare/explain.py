"""Which explanation of a video is clearly better than that it is what its name says.

The thresholds here and in `explain_time` were chosen on the made-up benchmark, far from what honest renders reach:
see `perf/compare.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoSlot
from nersemble_cli.core.submission.compare import colour, matching
from nersemble_cli.core.submission.compare.explain_time import find_sequence, find_timing, is_in_step
from nersemble_cli.core.submission.compare.reference import Reference, SequenceKey, View
from nersemble_cli.core.submission.compare.signals import VideoSignals
from nersemble_cli.core.submission.findings import Finding

# An explanation must agree about as well as a training camera does with what the others say of it …
TRUSTED = 0.88  # of that; a static avatar agrees with other people up to 0.86
TRUSTED_HEAD = 0.78  # … if only the head is known, which side cameras see less well than the training camera
FEWEST = 0.4  # and no less than this
# … and better than the video's own name, in whole and in what the video shows, and at each timestep.
GAIN, GAIN_SHOWN = 0.25, 0.15
CAMERA_GAIN = 0.12  # for Mono, where two cameras are close to each other
# Reframed, it must agree better in whole and in what the video shows, and nearly as well as the control.
FRAMING_GAIN, FRAMING_GAIN_SHOWN, FRAMED = 0.02, 0.012, 0.85
FRAMING_CONTROL = 0.6  # else expectations are too rough
HEAD_DOUBT, HEAD_FRAMED = 0.95, 0.85  # of the control: a painted head is less exact than a hull
HEAD_GAIN = 0.08  # in what the video shows
SMALLEST_SCALE, SMALLEST_MOVE = 0.04, 0.005  # of the size, and of the picture's height
SAME_SCALE = 0.016  # of what is only moved: a subject without hair looks smaller and lower
MOVE_SPREAD = 0.0035  # between timesteps; more is motion
LEAST_OPACITY, LEAST_COVER = 0.5, 0.5
FEWEST_PATCHES = 12
COLOR_OFF, COLOR_BETTER = 12.0, 0.5  # levels, and the share of them that is left
TONE_OFF, TONE_BETTER, TONE_CLOSE = 25.0, 0.55, 25.0
LARGEST_TINT = 1.4  # between channels
BLURRED = -4.9  # log2 of the detail of the training views: about a blur of σ 12.5 of 1604 pixels

Transformed = NDArray[np.uint8]


class Alternative(NamedTuple):
    """An explanation: `images` of the video, perhaps turned, compared with what `view` says, at timesteps `at`."""

    code: str
    what: str
    images: Transformed
    view: View
    at: tuple[tuple[int, ...], tuple[int, ...]]  # indices of timesteps: the video's, the view's
    is_whole: bool  # see `Reference`


def _shared(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The places in `a` and in `b` of the timesteps that both have."""
    both = sorted(set(a) & set(b))
    return tuple(a.index(t) for t in both), tuple(b.index(t) for t in both)


def _alternatives(
    slot: VideoSlot, signals: VideoSignals, reference: Reference, others: Mapping[SequenceKey, Reference]
) -> Iterator[Alternative]:
    images, own = signals.thumbnails, reference.expected[slot.serial]
    at, whole = _shared(signals.timesteps, reference.timesteps), reference.is_whole
    for what, turn in matching.MIRRORS.items():
        yield Alternative("mirrored_video", what, turn(images), own, at, whole)
    for what, turn in matching.TURNS.items():
        yield Alternative("rotated_render", what, turn(images), own, at, whole)
    for serial, view in {**reference.seen, **reference.expected}.items():
        if serial not in (slot.serial, reference.nearest[slot.serial]):
            yield Alternative("wrong_camera", serial, images, view, at, whole)
    for (participant, sequence), its in others.items():
        if slot.serial in its.expected:
            same_person = participant == slot.participant
            code = "wrong_sequence" if same_person else "wrong_participant"
            what = sequence if same_person else f"{participant:03d}"
            shared = _shared(signals.timesteps, its.timesteps)
            yield Alternative(code, what, images, its.expected[slot.serial], shared, its.is_whole)


def _agreement(alternative: Alternative, shown: bool) -> NDArray[np.float64]:
    mine, theirs = (list(places) for places in alternative.at)
    view = alternative.view
    if not alternative.is_whole:
        return matching.agreement(
            alternative.images[mine], view.images[theirs], view.masks[theirs], is_whole=False
        )
    masks = None if shown else view.masks[theirs]
    return matching.agreement(alternative.images[mine], view.images[theirs], masks)


def control_level(reference: Reference, serial: str) -> float:
    """How well the training camera beside `serial` agrees with what the others say of it."""
    beside = reference.nearest[serial]
    if beside not in reference.controls:
        return 1.0
    control = reference.controls[beside]
    seen = reference.seen[beside].images
    return float(matching.agreement(seen, control.images, control.masks, reference.is_whole).mean())


def is_far(alternative: Alternative) -> bool:
    """Whether what the alternative says must differ much from what the name says."""
    return alternative.is_whole or alternative.code != "wrong_camera"


def find_identity(
    slot: VideoSlot, signals: VideoSignals, reference: Reference, others: Mapping[SequenceKey, Reference]
) -> Finding | None:
    """The camera, participant, mirror or turn that explains the pictures clearly better than the name."""
    at = _shared(signals.timesteps, reference.timesteps)
    own = Alternative("", "", signals.thumbnails, reference.expected[slot.serial], at, reference.is_whole)
    own_whole, own_shown = _agreement(own, shown=False), None
    control = control_level(reference, slot.serial)
    best: tuple[float, Alternative] | None = None
    for alternative in _alternatives(slot, signals, reference, others):
        mine = [at[0].index(place) for place in alternative.at[0]]
        if not mine:
            continue
        whole = _agreement(alternative, shown=False)
        score = float(whole.mean())
        if (
            score >= max((TRUSTED if reference.is_whole else TRUSTED_HEAD) * control, FEWEST)
            and (whole - own_whole[mine]).mean() > (GAIN if is_far(alternative) else CAMERA_GAIN)
            and (whole - own_whole[mine]).min() > 0
            and (best is None or score > best[0])
        ):
            own_shown = _agreement(own, shown=True) if own_shown is None else own_shown
            shown_gain = GAIN_SHOWN if is_far(alternative) else CAMERA_GAIN
            if (_agreement(alternative, shown=True) - own_shown[mine]).mean() > shown_gain:
                best = score, alternative
    if best is None:
        return None
    score, alternative = best
    own_score = float(own_whole.mean())
    named = {
        "wrong_camera": slot.serial,
        "wrong_participant": f"{slot.participant:03d}",
        "wrong_sequence": slot.sequence,
    }
    name = named.get(alternative.code, "as its name says")
    message, hint = _IDENTITY[alternative.code]
    return Finding(
        alternative.code,
        slot.path,
        message.format(what=alternative.what, name=name)
        + f" (agreement {score:.2f}, by its name {own_score:.2f}).",
        expected=name,
        actual=alternative.what,
        hint=hint.format(what=alternative.what, name=name),
        evidence={"own": own_score, "better": score, "control": control, "timesteps": len(own_whole)},
    )


_IDENTITY = {
    "mirrored_video": ("It agrees better with its camera when it is mirrored", ""),
    "rotated_render": ("It agrees better with its camera when it is {what}", ""),
    "wrong_camera": (
        "It looks like camera {what}, not like {name}",
        "Was {what} rendered in place of {name}, or are both swapped?",
    ),
    "wrong_participant": ("It looks like participant {what}, not like {name}", ""),
    "wrong_sequence": ("It looks like sequence {what}, not like {name}", ""),
}


def find_framing(slot: VideoSlot, signals: VideoSignals, reference: Reference) -> Finding | None:
    """A scale or shift of all pictures under which they agree better."""
    view, beside = reference.expected[slot.serial], reference.nearest[slot.serial]
    mine, theirs = map(list, _shared(signals.timesteps, reference.timesteps))
    images, expected, masks = signals.thumbnails[mine], view.images[theirs], view.masks[theirs]
    control = control_level(reference, slot.serial)
    if control < FRAMING_CONTROL:
        return None
    found = matching.find_framing(images, expected)
    if beside in reference.controls:  # what the silhouettes' finite number does to every camera
        usual = matching.find_framing(reference.seen[beside].images, reference.controls[beside].images)
    else:
        usual = matching.Framing(1, 0, 0)
    scale = found.scale / usual.scale
    move = float(np.hypot(found.right - usual.right, found.down - usual.down))
    if abs(scale - 1) < SMALLEST_SCALE and (move < SMALLEST_MOVE or abs(scale - 1) > SAME_SCALE):
        return None
    each = [matching.find_framing(images[k : k + 1], expected[k : k + 1]) for k in range(len(images))]
    spread = max(
        float(np.ptp([f.right for f in each])),
        float(np.ptp([f.down for f in each])),
        0.3 * float(np.ptp([f.scale for f in each])),
    )
    if len(each) < 2 or spread > MOVE_SPREAD + 0.25 * max(move, abs(scale - 1)):
        return None
    moved, _ = matching.framed(expected, masks, found)
    where = matching.foreground(moved) | matching.foreground(images)
    own = float(matching.agreement(images, expected, masks).mean())
    better = float(matching.agreement(images, moved, where).mean())
    if better < max(own + FRAMING_GAIN, FRAMED * control, FEWEST):
        return None
    # Hair or shoulders that are missing look like another framing, but not in what is there.
    gains = matching.agreement(images, moved, None) - matching.agreement(images, expected, None)
    if gains.min() <= 0 or gains.mean() < FRAMING_GAIN_SHOWN:
        return None
    moves = found.right - usual.right, found.down - usual.down
    evidence = {"own": own, "better": better, "control": control, "scale": scale, "move": move, "spread": spread}
    return _wrong_framing(slot, matching.Framing(scale, *moves), evidence)


def find_head_framing(slot: VideoSlot, signals: VideoSignals, reference: Reference) -> Finding | None:
    """A scale or shift of all pictures under which the head agrees much better, and with which the video moves in
    step: a static avatar's head is where it is on average."""
    view = reference.expected[slot.serial]
    mine, theirs = map(list, _shared(signals.timesteps, reference.timesteps))
    images, expected, masks = signals.thumbnails[mine], view.images[theirs], view.masks[theirs]
    control = control_level(reference, slot.serial)
    own = float(matching.agreement(images, expected, masks, is_whole=False).mean())
    if own > HEAD_DOUBT * control:
        return None
    found = matching.find_head_framing(images, expected, masks)
    moved, where = matching.framed(expected, masks, found)
    better = float(matching.agreement(images, moved, where, is_whole=False).mean())
    # Hair that is missing looks like another framing, but not in what is there.
    shown = matching.foreground(images)
    own_shown = matching.agreement(images, expected, masks & shown, is_whole=False)
    gain = float((matching.agreement(images, moved, where & shown, is_whole=False) - own_shown).mean())
    cells = matching.framed_cells(view.cells, found, images.shape[2] / images.shape[1])
    if better < HEAD_FRAMED * control or gain < HEAD_GAIN or not is_in_step(signals, cells):
        return None
    move = float(np.hypot(found.right, found.down))
    evidence = {"own": own, "better": better, "control": control, "scale": found.scale, "move": move}
    return _wrong_framing(slot, found, evidence)


def _wrong_framing(slot: VideoSlot, framing: matching.Framing, evidence: Mapping[str, float]) -> Finding:
    right, down = round(framing.right * 100, 2), round(framing.down * 100, 2)
    message = (
        f"The subject is {framing.scale:.2f} times as large as it should be, {right:+.1f} % of the picture's"
        f" height to the right and {down:+.1f} % down of where it should be."
    )
    return Finding(
        "wrong_framing", slot.path, message, expected={"scale": 1, "right": 0, "down": 0},
        actual={"scale": round(framing.scale, 3), "right": right, "down": down}, evidence=evidence,
    )  # fmt: skip


def find_missing(slot: VideoSlot, signals: VideoSignals, reference: Reference) -> Finding | None:
    """A subject that is transparent, or mostly not there."""
    view = reference.expected[slot.serial]
    mine, theirs = map(list, _shared(signals.timesteps, reference.timesteps))
    images, expected, masks = signals.thumbnails[mine], view.images[theirs], view.masks[theirs]
    opacity, cover = colour.opacity(images, expected, masks), colour.cover(images, masks)
    if cover >= LEAST_COVER and opacity >= LEAST_OPACITY:
        return None
    message = (
        f"The subject covers {100 * cover:.0f} % of the area that it should, with {100 * opacity:.0f} % of the"
        " expected contrast to white."
    )
    return Finding(
        "missing_subject", slot.path, message, expected=1.0, actual=round(min(cover, opacity), 3),
        evidence={"cover": cover, "opacity": opacity},
    )  # fmt: skip


def find_colors(slot: VideoSlot, signals: VideoSignals, reference: Reference) -> Finding | None:
    """Swapped channels, or another tone."""
    view = reference.expected[slot.serial]
    mine, theirs = map(list, _shared(signals.timesteps, reference.timesteps))
    actual, expected = colour.patches(signals.thumbnails[mine], view.images[theirs], view.masks[theirs])
    if len(actual) < FEWEST_PATCHES:
        return None
    own, swapped = colour.up_to_gain(actual, expected), colour.up_to_gain(actual[:, ::-1], expected)
    if own > COLOR_OFF and swapped < COLOR_BETTER * own:
        message = (
            f"With red and blue swapped, it is {swapped:.0f} levels off what it should be; as it is, {own:.0f}."
        )
        return Finding(
            "swapped_channels", slot.path, message, expected="RGB", actual="BGR",
            evidence={"own": own, "better": swapped, "patches": len(actual)},
        )  # fmt: skip
    distance = colour.distance(actual, expected)
    tones = {name: colour.distance(curve(expected), actual) for name, curve in colour.TONES.items()}
    name = min(tones, key=tones.__getitem__)
    if distance > TONE_OFF and tones[name] < min(TONE_BETTER * distance, TONE_CLOSE):
        message = (
            f"Read as {name}, it is {tones[name]:.0f} levels off what it should be; read as sRGB, {distance:.0f}."
        )
        return Finding(
            "wrong_tone", slot.path, message, expected="sRGB", actual=name,
            evidence={"own": distance, "better": tones[name], "patches": len(actual)},
        )  # fmt: skip
    gains = colour.channel_gains(actual, expected)
    tinted = colour.distance(expected * gains, actual)
    if gains.max() > LARGEST_TINT * gains.min() and distance > COLOR_OFF and tinted < COLOR_BETTER * distance:
        message = (
            "Its red, green and blue are {:.2f}, {:.2f} and {:.2f} times as bright as they should be.".format(
                *gains
            )
        )
        return Finding(
            "wrong_tone", slot.path, message, expected=[1, 1, 1], actual=[round(float(gain), 3) for gain in gains],
            evidence={"own": distance, "better": tinted, "patches": len(actual)},
        )  # fmt: skip
    return None


def find_blur(slot: VideoSlot, signals: VideoSignals, reference: Reference) -> Finding | None:
    """A video whose pictures are blurred even when they are small. One that does not move with its camera may be a
    static avatar, which is blurred for that."""
    if not is_in_step(signals, reference.expected[slot.serial].cells):
        return None
    theirs = reference.seen[reference.nearest[slot.serial]].images
    own, usual = matching.detail(signals.thumbnails), matching.detail(theirs)
    missing = float(np.log2(max(own, 1e-9) / max(usual, 1e-9)))
    if missing > BLURRED:
        return None
    message = f"It has 1/{2**-missing:.0f} of the detail that the training views have."
    return Finding(
        "blurred_video", slot.path, message, expected=1.0, actual=round(2**missing, 4),
        evidence={"detail": missing},
    )  # fmt: skip


def explain(
    videos: Mapping[VideoSlot, VideoSignals], reference: Reference, others: Mapping[SequenceKey, Reference]
) -> list[Finding]:
    """What explains videos of a sequence clearly better than their names: at most one finding of a kind for each,
    none that follows from another. `others` are the references of other sequences."""
    found: list[Finding | None] = []
    right = {}  # those that show what they should, though perhaps not as they should
    for slot, signals in videos.items():
        if slot.serial not in reference.expected or not set(signals.timesteps) & set(reference.timesteps):
            continue
        wrong = find_missing(slot, signals, reference) or find_identity(slot, signals, reference, others)
        if wrong is None:
            right[slot] = signals
        found.append(wrong)
    late = {slot: find_sequence(slot, signals, reference, others) for slot, signals in right.items()}
    late |= find_timing({slot: signals for slot, signals in right.items() if late[slot] is None}, reference)
    for slot, signals in right.items():
        colors = find_colors(slot, signals, reference)
        found += [late[slot], colors]
        if reference.is_whole:
            found.append(find_blur(slot, signals, reference))
        if late[slot] is None and colors is None:  # or pictures are compared that differ in time or tone
            find = find_framing if reference.is_whole else find_head_framing
            found.append(find(slot, signals, reference))
    return [finding for finding in found if finding is not None]

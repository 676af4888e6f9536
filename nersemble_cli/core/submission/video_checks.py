"""What is wrong with one video of a submission."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoBenchmark
from nersemble_cli.core.errors import Cancelled, InvalidInputError, listing
from nersemble_cli.core.submission.findings import Finding, VideoReport
from nersemble_cli.core.submission.members import Member
from nersemble_cli.core.threads import Cancel
from nersemble_cli.core.video.pixels import convert, plane_rows
from nersemble_cli.core.video.reader import open_video, reason

if TYPE_CHECKING:
    LumaSample = NDArray[np.int16]

FrameObserver = Callable[[int, "av.VideoFrame"], None]

STRIDE = 8  # luma is looked at on every eighth row and column
CORNER = 8  # the upper corners, in samples: 64 × 64 pixels
BEYOND_WHITE = 248
WHITE_LUMA = 225  # white is 235 in limited range; a head never fills both upper corners
BLANK_SPREAD = 4
STILL_DIFFERENCE = 8  # above what CRF 14 makes of equal frames, below what a moving eyelid does
STILL_FROM = 8  # a video of fewer frames may stand still
LARGEST_PIXEL_RATIO = 16  # a picture much larger than it should be is not decoded at all
LONGEST_RATIO = 2  # and of a video much longer than it should be, no more than this many times as much
# ITU-T H.273 matrix coefficients as FFmpeg numbers them: unspecified and the two names of BT.601.
BT601_COLORSPACES = (2, 5, 6)
FULL_RANGE = 2
# Formats whose first plane is luma, with its bits in the low end of each sample.
LUMA_FIRST = re.compile(r"(?:yuvj?4\d\dp|gray|nv\d\d)(?P<bits>9|1\d)?(?P<order>le|be)?")
CONTAINER = "mp4"
# The first byte of an H.264 NAL unit has its type, of which 1 to 5 are slices (7.3.1 and table 7-1).
NAL_TYPE_MASK, SLICE_TYPES = 0x1F, range(1, 6)


def check_video(
    member: Member,
    benchmark: VideoBenchmark,
    expected_frames: int | None,
    *,
    decode: bool = True,
    threads: int = 1,
    cancel: Cancel | None = None,
    on_frame: FrameObserver | None = None,
) -> VideoReport:
    """Checks a video: its header and, with `decode`, every frame to the last one.

    `expected_frames` of None means that the number is not known. `on_frame(t, frame)` sees each decoded frame.
    Memory does not grow with the video. Raises nothing but `Cancelled`; what is wrong is in the report.
    """
    cancel = cancel or Cancel()
    longest = LONGEST_RATIO * (expected_frames or max(benchmark.n_test_frames.values()))
    try:
        with member.open() as file, open_video(file, threads) as (container, stream):
            report = _read_header(member.path, stream)
            findings = _check_header(report, benchmark, container, stream)
            too_large = (report.width or 0) * (report.height or 0) > LARGEST_PIXEL_RATIO * (
                benchmark.width * benchmark.height
            )
            if decode and not too_large:
                contents = _decode(container, stream, longest, cancel, on_frame)
                findings += _check_contents(report, contents, findings)
                # After damage, the frames that follow are not counted: the header's number says more.
                if not contents.damage and not contents.is_endless:
                    report = replace(report, num_frames_from_content=contents.num_frames)
    except Cancelled:
        raise
    except Exception as error:  # a damaged file makes PyAV raise almost anything
        return VideoReport(member.path, findings=(unreadable_video(member.path, error),))
    if report.num_frames_from_header is None:
        findings.insert(0, _no_count_in_header(member.path, expected_frames))
    elif expected_frames is not None and report.num_frames != expected_frames:
        findings.insert(0, wrong_frame_count(member.path, expected_frames, report.num_frames))
    return replace(report, findings=tuple(findings))


def _no_count_in_header(path: str, expected: int | None) -> Finding:
    return Finding(
        "wrong_frame_count",
        path,
        "Its header does not say how many frames it has, and the server counts no further.",
        expected=expected,
        actual=None,
        hint="Encode an ordinary mp4, not a fragmented one (-movflags frag_keyframe, empty_moov).",
    )


def unreadable_video(path: str, error: BaseException) -> Finding:
    """The finding that a video cannot be opened, whatever the reason."""
    why = reason(error)
    return Finding("unreadable_video", path, f"It cannot be opened as a video: {why}.", "an h264 mp4", why)


def encoding_hint(benchmark: VideoBenchmark) -> str:
    """The whole ffmpeg command that makes a video as the benchmark wants it."""
    return (
        f"Encode your frames again: ffmpeg -framerate {float(benchmark.fps):g} -i %05d.png -an -c:v libx264"
        " -pix_fmt yuv420p -crf 14 out.mp4"
    )


def wrong_frame_count(path: str, expected: int, actual: int | None) -> Finding:
    """The finding, with the likeliest reason as its hint."""
    difference = (actual or 0) - expected
    hint = ""
    if difference == -1:
        hint = "Is the first or the last timestep missing (a loop that ends too early)?"
    elif difference == 1:
        hint = "Is a frame written twice, or does a loop run once too often?"
    elif actual and actual > 1 and abs(expected / actual - round(expected / actual)) < 0.02 and expected > actual:
        hint = f"Was only one in {round(expected / actual)} timesteps rendered?"
    return Finding(
        "wrong_frame_count",
        path,
        f"It has {actual} frame{'s'[: actual != 1]}, expected {expected}.",
        expected=expected,
        actual=actual,
        hint=hint,
    )


def wrong_resolution(path: str, benchmark: VideoBenchmark, width: int, height: int, of: str = "It is") -> Finding:
    """The finding, saying so if width and height are swapped."""
    swapped = (width, height) == (benchmark.height, benchmark.width) and width != height
    return Finding(
        "wrong_resolution",
        path,
        f"{of} {width}×{height} (width×height), expected {benchmark.width}×{benchmark.height}.",
        expected=[benchmark.width, benchmark.height],
        actual=[width, height],
        hint=f"Width and height are swapped: {benchmark.name} is {benchmark.height} high." if swapped else "",
    )


def _read_header(path: str, stream: av.VideoStream) -> VideoReport:
    context = stream.codec_context
    return VideoReport(
        path,
        width=context.width,
        height=context.height,
        fps=float(stream.average_rate) if stream.average_rate else None,
        codec=context.name,
        pixel_format=context.pix_fmt,
        num_frames_from_header=stream.frames or None,
    )


def _check_header(
    report: VideoReport, benchmark: VideoBenchmark, container: av.container.InputContainer, stream: av.VideoStream
) -> list[Finding]:
    findings = []

    def add(code: str, message: str, expected: Any, actual: Any) -> None:
        findings.append(Finding(code, report.path, message, expected, actual, encoding_hint(benchmark)))

    if (report.width, report.height) != (benchmark.width, benchmark.height):
        findings.append(wrong_resolution(report.path, benchmark, report.width or 0, report.height or 0))
    fps = float(benchmark.fps)
    if report.fps is None or abs(report.fps - fps) > 0.01:
        actual = round(report.fps, 3) if report.fps else None
        add("wrong_fps", f"Its frame rate is {actual}, expected {fps:g}.", fps, actual)
    if report.codec != "h264":
        add("wrong_codec", f"It is {report.codec}, expected h264.", "h264", report.codec)
    if report.pixel_format != "yuv420p":
        message = f"Its pixel format is {report.pixel_format}, expected yuv420p."
        add("wrong_pixel_format", message, "yuv420p", report.pixel_format)
    context = stream.codec_context
    colorspace, color_range = int(context.colorspace), int(context.color_range)
    if colorspace not in BT601_COLORSPACES or color_range == FULL_RANGE:
        tags = [] if colorspace in BT601_COLORSPACES else [_colorspace_name(colorspace)]
        tags += ["full range"] if color_range == FULL_RANGE else []
        message = f"Its colour tags say {', '.join(tags)}."
        add("wrong_color_tags", message, "no colour tags", tags)
    if CONTAINER not in container.format.name.split(","):
        message = f"Its container is {container.format.name}, expected {CONTAINER}."
        add("wrong_container", message, CONTAINER, container.format.name)
    if (n_videos := len(container.streams.video)) > 1:
        add(
            "second_video_track",
            f"It has {n_videos} video tracks, and readers may differ in which one they take.",
            1,
            n_videos,
        )
    if n_audio := len(container.streams.audio):
        add("audio_track", "It has an audio track.", 0, n_audio)
    return findings


def _colorspace_name(number: int) -> str:
    return {0: "RGB", 1: "BT.709", 4: "FCC", 7: "SMPTE 240M", 9: "BT.2020", 10: "BT.2020"}.get(
        number, f"colour space {number}"
    )


@dataclass
class _Contents:
    """What decoding showed."""

    num_frames: int = 0
    is_endless: bool = False  # much longer than expected, so decoding was stopped
    damage: str = ""
    blank: tuple[int, ...] = ()
    longest_still: tuple[int, int] = (0, 0)  # first frame, length
    corner_luma: float | None = None  # median over the frames of the lighter upper corner
    rotation: int = 0
    other_size: tuple[int, int, int] | None = None  # the first frame of another size, its width and height


def _luma(frame: av.VideoFrame) -> LumaSample:
    """Every eighth luma sample of a frame in 8 bits, without copying the rest.

    The range stays as it is, 16 to 235 for a limited one: a conversion to grey would expand it.
    """
    layout = LUMA_FIRST.fullmatch(frame.format.name)
    if layout is None:
        frame, layout = convert(frame, "yuv420p"), LUMA_FIRST.fullmatch("yuv420p")
    assert layout is not None
    bits = int(layout["bits"] or 8)
    dtype = "u1" if bits == 8 else {"be": ">u2"}.get(layout["order"], "<u2")
    rows = plane_rows(frame.planes[0], dtype)
    return (rows[: frame.height : STRIDE, : frame.width : STRIDE] >> (bits - 8)).astype(np.int16)


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decoded frames. Raises `InvalidInputError` where data is broken that the decoder would swallow."""
    extradata = stream.codec_context.extradata or b""
    # Byte 4 of an avcC record (ISO/IEC 14496-15) has the size of the lengths before each NAL unit.
    length_size = (extradata[4] & 3) + 1 if stream.codec_context.name == "h264" and extradata[:1] == b"\x01" else 0
    for packet in container.demux(stream):
        if length_size and packet.size:
            _check_nal_units(memoryview(cast(bytes, packet)), length_size)
        yield from packet.decode()


def _check_nal_units(packet: memoryview, length_size: int) -> None:
    """Raises `InvalidInputError` if a slice has a hole: three zero bytes in a row.

    H.264 (7.4.1) forbids those inside a NAL unit. A decoder that meets them takes the unit to end there, and may
    make up the rest of a picture from nothing, without a word: so look blocks that were never written to disk.
    Zeros at a unit's end are padding, and other units, such as SEI, have no part in the picture. What is not a row
    of units at all is left to the decoder, which says so.
    """
    position = 0
    while position + length_size < len(packet):
        start = position + length_size
        position = start + int.from_bytes(packet[position:start], "big")
        is_slice = packet[start] & NAL_TYPE_MASK in SLICE_TYPES
        if is_slice and b"\0\0\0" in bytes(packet[start:position]).rstrip(b"\0"):
            raise InvalidInputError("zeros where there should be data")


def _decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    longest: int,
    cancel: Cancel,
    on_frame: FrameObserver | None,
) -> _Contents:
    """Decodes up to `longest` frames."""
    contents = _Contents()
    corners: list[float] = []
    blank: list[int] = []
    still_start, still_luma, first_size = 0, None, None
    try:
        for t, frame in enumerate(_frames(container, stream)):
            cancel.check()
            if t == longest:
                contents.is_endless = True
                break
            contents.num_frames = t + 1
            if frame.is_corrupt and not contents.damage:
                contents.damage = f"frame {t} does not decode"
            luma = _luma(frame)
            if int(luma.max()) - int(luma.min()) <= BLANK_SPREAD:
                blank.append(t)
            top = luma[:CORNER]
            corners.append(max(float(top[:, :CORNER].mean()), float(top[:, -CORNER:].mean())))
            if (
                still_luma is None
                or luma.shape != still_luma.shape
                or (int(np.abs(luma - still_luma).max()) > STILL_DIFFERENCE)
            ):
                still_start, still_luma = t, luma
            if t + 1 - still_start > contents.longest_still[1]:
                contents.longest_still = (still_start, t + 1 - still_start)
            contents.rotation = frame.rotation
            size = (frame.width, frame.height)
            first_size = first_size or size
            if size != first_size and contents.other_size is None:
                contents.other_size = (t, *size)
            if on_frame:
                on_frame(t, frame)
    except Cancelled:
        raise
    except Exception as error:
        contents.damage = contents.damage or f"decoding stops near frame {contents.num_frames} ({reason(error)})"
    contents.blank = tuple(blank)
    contents.corner_luma = float(np.median(corners)) if corners else None
    return contents


def _check_contents(report: VideoReport, contents: _Contents, header_findings: list[Finding]) -> list[Finding]:
    findings = []
    path, promised, n = report.path, report.num_frames_from_header, contents.num_frames
    if contents.damage:
        message = f"Its data is damaged: {contents.damage}."
        findings.append(Finding("damaged_video", path, message, expected=promised, actual=n))
    elif promised is not None and (promised <= n if contents.is_endless else promised != n):
        more = "more than " if contents.is_endless else ""
        message = f"Its header promises {promised} frames, {more}{n} decode."
        findings.append(Finding("damaged_video", path, message, expected=promised, actual=n))
    if contents.other_size:
        t, *size = contents.other_size
        message = f"From frame {t} on it is {size[0]}×{size[1]}, before {report.width}×{report.height}."
        expected_size = [report.width, report.height]
        findings.append(Finding("wrong_resolution", path, message, expected=expected_size, actual=size))
    if contents.rotation:
        message = f"It asks to be rotated by {contents.rotation}°."
        findings.append(Finding("rotated_video", path, message, expected=0, actual=contents.rotation))
    if contents.blank:
        message = (
            f"{len(contents.blank)} of {n} frames are of a single colour, at timestep {listing(contents.blank)}."
        )
        findings.append(Finding("blank_frames", path, message, expected=0, actual=len(contents.blank)))
    start, length = contents.longest_still
    if n >= STILL_FROM and 2 * length >= n and len(contents.blank) < n:
        message = f"Frames {start} to {start + length - 1} of {n} are the same."
        findings.append(Finding("frozen_video", path, message, expected="motion", actual=length))
    is_tagged = any(finding.code == "wrong_color_tags" for finding in header_findings)
    if not is_tagged and (contents.corner_luma or 0) > BEYOND_WHITE:
        message = (
            f"Its white has luma {contents.corner_luma:.0f}, expected 235: it is full range but not tagged so."
        )
        hint = "Encode in limited range, ffmpeg's default: leave out -color_range and out_range."
        findings.append(Finding("wrong_color_tags", path, message, 235, round(contents.corner_luma or 0), hint))
    if contents.corner_luma is not None and contents.corner_luma < WHITE_LUMA and len(contents.blank) < n:
        message = f"Its upper corners have luma {contents.corner_luma:.0f}, white has 235."
        findings.append(
            Finding("background_not_white", path, message, expected=235, actual=round(contents.corner_luma))
        )
    return findings

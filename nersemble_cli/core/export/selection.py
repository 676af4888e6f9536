"""What to export: the images of one participant, and the cameras as the exported images have them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import BENCHMARKS, VideoBenchmark, choose, get_benchmark, parse_participant
from nersemble_cli.core.data.cameras import crop_intrinsics, rescale_intrinsics
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager, open_data
from nersemble_cli.core.errors import MissingFileError, UsageError, unknown_name
from nersemble_cli.core.video.reader import borrow_reader

VideoData = NVSDataManager | MonoFlameAvatarDataManager
ALL = "all"
IMAGE_FORMATS = ("png", "jpg")
_FIRST = "0"


@dataclass(frozen=True)
class Request:
    """What the user asked for. Empty or None means the exporter's default; see `Selection` for what it becomes.

    `timesteps` is `all`, or numbers and ranges with both ends included and a step: `0,5,10-99:2`. `hold_out` names
    cameras or sequences to leave out of the training split. `center` pads images until the principal point is
    central. `n_points` is the most points to write per timestep, 0 for none.
    """

    participant: str
    benchmark: str | None = None
    sequences: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()
    timesteps: str | None = None
    scale: float = 1.0
    hold_out: tuple[str, ...] = ()
    n_points: int = 100_000
    image_format: str = "png"
    masks: bool | None = None
    center: bool = False


@dataclass(frozen=True)
class Padding:
    """Columns and rows of white that are added around an image, in pixels of the exported image."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera as the exported images have it.

    `width` and `height` in pixels, with the padding; `intrinsics` (3, 3) float64 in these pixels;
    `world_2_cam` (4, 4) float64, OpenCV axes, metres.
    """

    serial: str
    width: int
    height: int
    intrinsics: NDArray[np.float64]
    world_2_cam: NDArray[np.float64]
    padding: Padding = Padding()

    @property
    def off_center(self) -> float:
        """How far the principal point is from the image's centre, in pixels."""
        cx, cy = self.intrinsics[:2, 2]
        return float(np.hypot(cx - self.width / 2, cy - self.height / 2))


@dataclass(frozen=True)
class View:
    """One image of the benchmark. `held_out` ones are not for training."""

    sequence: str
    serial: str
    timestep: int
    held_out: bool


@dataclass(frozen=True, eq=False)
class Selection:
    """Which views are exported, in the order sequence, camera, timestep.

    `cameras` are those whose images are exported, `rig` all that are calibrated, the hidden test set's among them.
    """

    request: Request
    data: VideoData
    sequences: tuple[str, ...]
    cameras: Mapping[str, Camera]
    rig: Mapping[str, Camera]
    timesteps: Mapping[str, tuple[int, ...]]
    held_out: tuple[str, ...]

    @property
    def benchmark(self) -> VideoBenchmark:
        return self.data.benchmark

    def is_held_out(self, sequence: str, serial: str) -> bool:
        return sequence in self.held_out or serial in self.held_out

    def views(self) -> Iterator[View]:
        for sequence in self.sequences:
            for serial in self.cameras:
                for timestep in self.timesteps[sequence]:
                    yield View(sequence, serial, timestep, self.is_held_out(sequence, serial))

    @property
    def n_views(self) -> int:
        return len(self.cameras) * sum(map(len, self.timesteps.values()))

    def only_sequence(self, format_name: str) -> str:
        """The one sequence that is exported. Raises `UsageError` if there are several."""
        if len(self.sequences) != 1:
            raise UsageError(
                f"A {format_name} export holds one sequence; {len(self.sequences)} are selected.",
                f"Name one with -s: {', '.join(self.sequences)}",
            )
        return self.sequences[0]


def parse_timesteps(text: str) -> tuple[range, ...] | None:
    """`all` (None), or timesteps and ranges of them, both ends included, with a step: `0,5,10-99:2`."""
    if text.strip().lower() == ALL:
        return None
    ranges = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        span, _, step = part.partition(":")
        first, dash, last = span.partition("-")
        numbers = (first, last if dash else first, step or "1")
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise UsageError(f"-t: '{part}' is neither a timestep nor a range.", "For example: -t 0,5,10-99:2")
        start, stop, stride = map(int, numbers)
        if stop < start or stride < 1:
            raise UsageError(f"-t: the range '{part}' is empty.", "For example: -t 0,5,10-99:2")
        ranges.append(range(start, stop + 1, stride))
    if not ranges:
        raise UsageError("-t: no timestep given.", "For example: -t 0,5,10-99:2, or -t all")
    return tuple(ranges)


def find_benchmark(participant: str, name: str | None) -> VideoBenchmark:
    """The named benchmark, else the participant's. Raises `UsageError` if it has no videos."""
    videos = [benchmark for benchmark in BENCHMARKS.values() if isinstance(benchmark, VideoBenchmark)]
    if name is not None:
        benchmark = get_benchmark(name)
        if isinstance(benchmark, VideoBenchmark):
            return benchmark
        raise UsageError(f"{benchmark.name} has single images and no cameras to export.", "Valid: nvs, mono.")
    number = int(participant) if participant.isascii() and participant.isdigit() else -1
    for benchmark in videos:
        if number in benchmark.participants:
            return benchmark
    hint = "; ".join(f"{b.name} has {', '.join(map(str, b.participants))}" for b in videos)
    raise UsageError(f"'{participant}' is not a participant of {' or '.join(b.name for b in videos)}.", f"{hint}.")


def select(request: Request, folder: Path, *, every_timestep: bool, every_sequence: bool) -> Selection:
    """Finds what is meant in the benchmark folder.

    Unless the request says otherwise: timestep 0 or every one, and the first sequence with videos or every one.
    Raises `UsageError` for unknown names and `MissingFileError`, with the command to fetch it, for what was not
    downloaded.
    """
    if not 0 < request.scale <= 1:
        raise UsageError(f"--scale is {request.scale:g}.", "It is at most 1; 0.5 halves width and height.")
    if request.image_format not in IMAGE_FORMATS:
        raise unknown_name("image format", request.image_format, IMAGE_FORMATS)
    benchmark = find_benchmark(request.participant, request.benchmark)
    data = open_data(benchmark, folder, parse_participant(request.participant, benchmark))
    sequences = _choose_sequences(data, request, every_sequence)
    serials = _choose_serials(data, sequences, request)
    ranges = parse_timesteps(request.timesteps or (ALL if every_timestep else _FIRST))
    timesteps = {sequence: _choose_timesteps(data, sequence, ranges) for sequence in sequences}
    rig = _rig(data, sequences[0], serials, request)
    for name in request.hold_out:
        if name not in serials and name not in sequences:
            raise unknown_name("camera or sequence to hold out", name, (*serials, *sequences))
    selection = Selection(request, data, sequences, {s: rig[s] for s in serials}, rig, timesteps, request.hold_out)
    if all(selection.is_held_out(sequence, serial) for sequence in sequences for serial in serials):
        raise UsageError("--hold-out leaves nothing to train with.", "Hold out fewer cameras or sequences.")
    return selection


def _choose_sequences(data: VideoData, request: Request, every: bool) -> tuple[str, ...]:
    valid = data.benchmark.train_sequences[data.participant]
    if request.sequences:
        for sequence in request.sequences:
            if sequence in data.benchmark.test_sequences[data.participant] and sequence not in valid:
                raise UsageError(
                    f"Sequence {sequence} is held out: its videos are the hidden test set.",
                    f"Sequences with videos: {', '.join(valid)}.",
                )
        return choose(f"sequence of participant {data.participant}", request.sequences, valid)
    here = [sequence for sequence in data.list_sequences() if sequence in valid and data.list_serials(sequence)]
    if not here:
        data.load_image(valid[0], data.benchmark.train_serials[0], 0)  # says what is missing and how to fetch it
    return tuple(here if every else here[:1])


def _choose_serials(data: VideoData, sequences: Collection[str], request: Request) -> tuple[str, ...]:
    valid = data.benchmark.train_serials
    here = [serial for serial in valid if any(data.has_video(sequence, serial) for sequence in sequences)]
    for serial in request.serials:
        if serial not in here:
            data.load_image(next(iter(sequences)), serial, 0)  # says why it is not there
    return choose("camera", request.serials, here or valid)


def _choose_timesteps(data: VideoData, sequence: str, ranges: tuple[range, ...] | None) -> tuple[int, ...]:
    n = data.get_n_timesteps(sequence)
    if ranges is None:
        return tuple(range(n))
    for wanted in ranges:
        data.check_timestep(sequence, wanted[-1])
    return tuple(sorted({timestep for wanted in ranges for timestep in wanted}))


def _rig(data: VideoData, sequence: str, serials: Collection[str], request: Request) -> dict[str, Camera]:
    """Every calibrated camera. Those without videos have images of the same size as the others."""
    calibration = data.load_camera_calibration()
    sizes = {}
    for serial in serials:
        path = Path(data.get_images_path(sequence, serial))
        if not path.is_file():
            raise MissingFileError(
                f"{path} is not there.", data.fetch_hint("images", sequence=sequence, serial=serial)
            )
        with borrow_reader(path) as reader:
            frame = reader.frame(0)
        sizes[serial] = (frame.width, frame.height)
    usual = next(iter(sizes.values()))
    rig = {
        serial: scaled_camera(
            serial,
            calibration.intrinsics[serial],
            calibration.world_2_cam[serial],
            sizes.get(serial, usual),
            request.scale,
        )
        for serial in calibration.serials
    }
    return centered_cameras(rig) if request.center else rig


def scaled_camera(
    serial: str,
    intrinsics: NDArray[np.float32],
    world_2_cam: NDArray[np.float32],
    size: tuple[int, int],
    scale: float,
) -> Camera:
    """The camera of images that were scaled; `size` is the width and height of its video."""
    width, height = (max(1, round(side * scale)) for side in size)
    k = rescale_intrinsics(intrinsics.astype(np.float64), width / size[0], height / size[1])
    return Camera(serial, width, height, k, world_2_cam.astype(np.float64))


def centered_cameras(cameras: Mapping[str, Camera]) -> dict[str, Camera]:
    """The cameras with images padded until each principal point is within half a pixel of the image's centre.

    All images get the same size, as some readers know only one.
    """
    half_width = max(math.ceil(max(c.intrinsics[0, 2], c.width - c.intrinsics[0, 2])) for c in cameras.values())
    half_height = max(math.ceil(max(c.intrinsics[1, 2], c.height - c.intrinsics[1, 2])) for c in cameras.values())
    padded = {}
    for serial, camera in cameras.items():
        left = round(half_width - float(camera.intrinsics[0, 2]))
        top = round(half_height - float(camera.intrinsics[1, 2]))
        right, bottom = 2 * half_width - camera.width - left, 2 * half_height - camera.height - top
        padded[serial] = replace(
            camera,
            width=2 * half_width,
            height=2 * half_height,
            intrinsics=crop_intrinsics(camera.intrinsics, -left, -top),
            padding=Padding(left, top, right, bottom),
        )
    return padded

"""What the hold-out cameras of NVS should see, from the training cameras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.calibration import CameraMatrices, load_calibration
from nersemble_cli.core.data.cameras import rescale_intrinsics
from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError
from nersemble_cli.core.submission.compare import hull
from nersemble_cli.core.submission.compare.reference import Place, Reference, View, fingerprint, load, save
from nersemble_cli.core.submission.compare.signals import SignalCollector, thumbnail_size
from nersemble_cli.core.threads import Cancel, cpu_count, in_threads
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import DAMAGE, VideoIndex, borrow_reader, open_video, reason

ASSETS = ("calibration", "images", "alpha_maps")
"""What a comparison needs."""
FEWEST_CAMERAS = 6
N_TIMESTEPS = 5
BUDGET = 3.0  # frames to decode for thumbnails, for each of a sequence's


def cameras_with_data(place: Place) -> list[str]:
    """The training cameras whose images and alpha maps are there."""
    return [
        serial
        for serial in place.benchmark.train_serials
        if place.path("images", serial).is_file() and place.path("alpha_maps", serial).is_file()
    ]


def find_lack(place: Place) -> str:
    """What the folder lacks for a comparison of the sequence; nothing if it has enough."""
    if not place.path("calibration").is_file():
        return "the calibration"
    n = len(cameras_with_data(place))
    return (
        "" if n >= FEWEST_CAMERAS else f"images with alpha maps of {FEWEST_CAMERAS} training cameras, it has {n}"
    )


def choose_timesteps(n_frames: int, indices: Sequence[VideoIndex]) -> tuple[int, ...]:
    """Up to `N_TIMESTEPS` timesteps, spread over the sequence, at which all videos can be decoded for little."""

    def cost(timestep: int) -> int:
        return sum(timestep - (index.keys or (0,))[index.key_before(timestep)] + 1 for index in indices)

    wanted = np.linspace(0, n_frames - 1, min(N_TIMESTEPS, n_frames))
    reach = n_frames / (2 * (N_TIMESTEPS - 1))
    costs = [cost(t) for t in range(n_frames)]
    nearby = (range(max(0, round(t - reach)), min(n_frames, round(t + reach) + 1)) for t in wanted)
    chosen = sorted({min(window, key=lambda t: (costs[t], t)) for window in nearby}, key=lambda t: (costs[t], t))
    left = BUDGET * n_frames
    affordable: list[int] = []
    for timestep in chosen:
        left -= costs[timestep]
        if left >= 0 or not affordable:
            affordable.append(timestep)
    return tuple(sorted(affordable))


def plan_timesteps(place: Place) -> tuple[int, ...]:
    """`choose_timesteps` for the data of a sequence."""
    indices = []
    for serial in cameras_with_data(place):
        for asset in ("images", "alpha_maps"):
            with borrow_reader(place.path(asset, serial)) as reader:
                indices.append(reader.index)
    return choose_timesteps(min(len(index.times) for index in indices), indices)


def nearest_cameras(cameras: Mapping[str, CameraMatrices], serial: str, others: Sequence[str]) -> list[str]:
    """`others` by how far their direction of view is from that of `serial`, nearest first."""
    axis = cameras[serial].world_2_cam[2, :3]
    return sorted((o for o in others if o != serial), key=lambda o: -float(cameras[o].world_2_cam[2, :3] @ axis))


class _Thumbnails(NamedTuple):
    images: NDArray[np.uint8]
    silhouettes: NDArray[np.uint8]


def _thumbnails(place: Place, serial: str, timesteps: Sequence[int]) -> _Thumbnails:
    size = thumbnail_size(place.benchmark)
    images, silhouettes = [], []
    for t in timesteps:
        with borrow_reader(place.path("images", serial), t) as reader:
            frame = reader.frame(t)
            images.append(to_rgb(frame, size=size[::-1]))
        with borrow_reader(place.path("alpha_maps", serial), t) as reader:
            silhouettes.append(to_rgb(reader.frame(t), size=size[::-1])[..., 0])
    return _Thumbnails(np.stack(images), np.stack(silhouettes))


def _cells(path: Path, size: tuple[int, int], cancel: Cancel) -> NDArray[np.float32]:
    """The cells of all frames. Raises `InvalidInputError` if the video is damaged."""
    collector = SignalCollector(size, ())
    try:
        with path.open("rb") as file, open_video(file) as (container, stream):
            for t, frame in enumerate(container.decode(stream)):
                cancel.check()
                collector(t, frame)
    except DAMAGE as error:
        raise InvalidInputError(f"{path} cannot be decoded: {reason(error)}.") from error
    return collector.signals.cells


def expect(place: Place, timesteps: tuple[int, ...]) -> Reference:
    """The reference of a sequence, from the cache if the data is as it was.

    Raises `InvalidInputError` if the data is damaged.
    """
    train = cameras_with_data(place)
    sources = [place.path(asset, serial) for serial in train for asset in ("images", "alpha_maps")]
    key = fingerprint(
        place.folder, [place.path("calibration"), *sources], timesteps, thumbnail_size(place.benchmark)
    )
    reference = load(place.cache, key)
    if reference is None:
        reference = _build(place, train, timesteps)
        save(place.cache, key, reference)
    return reference


def _build(place: Place, train: Sequence[str], timesteps: tuple[int, ...]) -> Reference:
    height, width = size = thumbnail_size(place.benchmark)
    with borrow_reader(place.path("images", train[0])) as reader:
        first = reader.frame(0)
        scale = width / first.width, height / first.height
    calibration = load_calibration(place.path("calibration"))
    if missing := sorted(set(train) - set(calibration.serials)):
        raise InvalidInputError(f"{place.path('calibration')} lacks camera {missing[0]}.", DAMAGED_HINT)
    cameras = {
        serial: CameraMatrices(
            np.asarray(calibration.world_2_cam[serial]),
            rescale_intrinsics(np.asarray(calibration.intrinsics[serial]), *scale),
        )
        for serial in calibration.serials
    }
    wanted = [serial for serial in place.benchmark.submission_serials if serial in cameras]
    thumbnails = dict(in_threads(lambda serial, _: _thumbnails(place, serial, timesteps), train, cpu_count()))
    silhouettes = [[thumbnails[serial].silhouettes[k] for serial in train] for k in range(len(timesteps))]
    nearest = {serial: nearest_cameras(cameras, serial, train)[0] for serial in wanted}
    moving = dict(
        in_threads(
            lambda serial, cancel: _cells(place.path("images", serial), size, cancel),
            sorted(set(nearest.values())),
            1,
        )
    )
    none = np.zeros((0, next(iter(moving.values())).shape[1]), np.float32)
    seen = {
        serial: View(
            thumbnails[serial].images, thumbnails[serial].silhouettes >= hull.INSIDE, moving.get(serial, none),
        )
        for serial in train
    }  # fmt: skip
    carver = hull.make_carver([cameras[serial] for serial in train], silhouettes)
    if carver is None:
        raise InvalidInputError(
            f"The alpha maps of {place.participant:03d}/{place.sequence} enclose nothing that the cameras of"
            f" {place.path('calibration')} see together.",
            DAMAGED_HINT,
        )
    outside = [carver.carve(views) for views in silhouettes]

    def predicted(serial: str) -> View:
        views = [
            hull.predict(
                carver,
                outside[k],
                cameras,
                train,
                [thumbnails[s].images[k] for s in train],
                silhouettes[k],
                serial,
            )
            for k in range(len(timesteps))
        ]
        beside = seen[nearest.get(serial, serial)]
        return View(np.stack([v[0] for v in views]), np.stack([v[1] for v in views]), beside.cells)

    expected = {serial: predicted(serial) for serial in wanted}
    controls = {serial: predicted(serial) for serial in set(nearest.values())}
    return Reference(timesteps, expected, seen, controls, nearest)

"""What the cameras of Mono should see, from the tracking and the videos of the training camera."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import VideoBenchmark, get_benchmark
from nersemble_cli.core.data.calibration import CameraMatrices, load_calibration
from nersemble_cli.core.data.cameras import rescale_intrinsics
from nersemble_cli.core.errors import DAMAGED_HINT, InvalidInputError
from nersemble_cli.core.flame.tracking import load_flame_tracking
from nersemble_cli.core.submission.compare.head import (
    Paint,
    Photo,
    Surface,
    describe_flame,
    draw,
    find_surfaces,
    head_to_world,
    paint,
)
from nersemble_cli.core.submission.compare.hull import INSIDE
from nersemble_cli.core.submission.compare.matching import agreement
from nersemble_cli.core.submission.compare.reference import Place, Reference, View, fingerprint, load, save
from nersemble_cli.core.submission.compare.signals import grid_means, thumbnail_size
from nersemble_cli.core.threads import Cancel, cpu_count, in_threads
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import borrow_reader

TRACKING = "flame2023_tracking_v2"
ASSETS = ("calibration", "images", "alpha_maps", TRACKING)
"""What a comparison needs."""
STEP, N_TIMESTEPS = 20, 6  # the same timesteps in all sequences, so that they can be compared
N_PHOTOS = 12
PHOTOS = "photos"  # stands for a camera's serial in a reference
MOTION_SCALE = 0.5  # of a thumbnail: enough for the cells
LUMA = np.array([0.299, 0.587, 0.114], np.float32) * 219 / 255  # of limited range, as videos have it


def applies_to(benchmark: VideoBenchmark) -> bool:
    """Whether the benchmark's heads are tracked."""
    return benchmark.has_asset(TRACKING)


def _training(place: Place) -> list[Place]:
    """The training sequences of the same participant of which everything is there."""
    (serial,) = place.benchmark.train_serials
    places = [place._replace(sequence=sequence) for sequence in place.benchmark.train_sequences[place.participant]]
    needed = (("images", serial), ("alpha_maps", serial), (TRACKING, None))
    return [p for p in places if all(p.path(asset, s).is_file() for asset, s in needed)]


def find_lack(place: Place) -> str:
    """What the folder lacks for a comparison of the sequence; nothing if it has enough."""
    if not place.path("calibration").is_file():
        return "the calibration"
    if not place.path(TRACKING).is_file():
        return "the tracking"
    return "" if _training(place) else "a training sequence with images, alpha maps and tracking"


def plan_timesteps(place: Place) -> tuple[int, ...]:
    """The timesteps of a sequence at which pictures are compared. Raises `InvalidInputError` if there are none."""
    n = load_flame_tracking(place.path(TRACKING)).n_timesteps
    if not n:
        raise InvalidInputError(f"{place.path(TRACKING)} has no frames.", DAMAGED_HINT)
    return tuple(range(0, n, STEP))[:N_TIMESTEPS]


def expect(place: Place, timesteps: tuple[int, ...]) -> Reference:
    """The reference of a sequence, from the cache if the data is as it was.

    Raises `InvalidInputError` if the data is damaged.
    """
    (serial,) = place.benchmark.train_serials
    sources = [
        path
        for its in _training(place)
        for path in (its.path("images", serial), its.path("alpha_maps", serial), its.path(TRACKING))
    ]
    facts = timesteps, thumbnail_size(place.benchmark), describe_flame()
    key = fingerprint(place.folder, [place.path("calibration"), place.path(TRACKING), *sources], *facts)
    reference = load(place.cache, key)
    if reference is None:
        surfaces = find_surfaces()
        portrait = _portrait(
            place.folder, place.benchmark.name, place.participant, surfaces, fingerprint(place.folder, sources)
        )
        reference = _build(place, timesteps, portrait)
        save(place.cache, key, reference)
    return reference


class Portrait(NamedTuple):
    """A painted head, the `photos` that it was painted from, and in `control` what it says of each when that one
    is left out."""

    surface: Surface
    paint: Paint
    photos: View
    control: View


def choose_moments(rotations: Sequence[NDArray[np.floating]], n: int) -> list[tuple[int, int]]:
    """Up to `n` of the rotations (T, 3, 3) of several sequences, as (sequence, timestep), that differ most from
    each other; the first is the one nearest to the mean. Raises `InvalidInputError` if there are none."""
    places = [(i, t) for i, its in enumerate(rotations) for t in range(len(its))]
    if not places:
        raise InvalidInputError("The trackings of the training sequences have no frames.", DAMAGED_HINT)
    every = np.concatenate([np.asarray(its, np.float64) for its in rotations]).reshape(-1, 9)
    chosen = [int(((every - every.mean(0)) ** 2).sum(1).argmin())]
    distance = np.full(len(every), np.inf)
    while len(chosen) < min(n, len(every)):
        distance = np.minimum(distance, ((every - every[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return [places[i] for i in chosen]


def _camera(place: Place, serial: str, size: tuple[int, int]) -> CameraMatrices:
    """A camera of the calibration for pictures of that height and width."""
    calibration = load_calibration(place.path("calibration"))
    if serial not in calibration.serials:
        raise InvalidInputError(f"{place.path('calibration')} lacks camera {serial}.", DAMAGED_HINT)
    full = _frame_size(_training(place)[0].path("images", place.benchmark.train_serials[0]))
    intrinsics = np.asarray(calibration.intrinsics[serial])
    return CameraMatrices(
        np.asarray(calibration.world_2_cam[serial]),
        rescale_intrinsics(intrinsics, size[1] / full[1], size[0] / full[0]),
    )


@functools.lru_cache(maxsize=64)
def _frame_size(path: Path) -> tuple[int, int]:
    with borrow_reader(path) as reader:
        first = reader.frame(0)
        return first.height, first.width


@functools.lru_cache(maxsize=8)
def _portrait(folder: Path, name: str, participant: int, surfaces: tuple[Surface, ...], key: str) -> Portrait:
    """The head of a participant on the surface that explains the photos best, once for all sequences as long as
    the training data is as it was: `key` tells."""
    benchmark = get_benchmark(name)
    assert isinstance(benchmark, VideoBenchmark)
    place = Place(folder, benchmark, participant, "")
    (serial,) = place.benchmark.train_serials
    size = thumbnail_size(place.benchmark)
    camera = _camera(place, serial, size)
    training = _training(place)
    trackings = [load_flame_tracking(its.path(TRACKING)) for its in training]
    moments = [
        (training[i], trackings[i], t)
        for i, t in choose_moments([head_to_world(its)[:, :3, :3] for its in trackings], N_PHOTOS)
    ]

    def take(i: int, _: Cancel) -> Photo:
        its, tracking, t = moments[i]

        def picture(asset: str) -> NDArray[np.uint8]:
            with borrow_reader(path := its.path(asset, serial), t) as reader:
                if t >= reader.n_frames:
                    raise InvalidInputError(f"{path} has fewer frames than its tracking.", DAMAGED_HINT)
                return to_rgb(reader.frame(t), size=size[::-1])

        return Photo(picture("images"), picture("alpha_maps")[..., 0], tracking, t)

    taken = dict(in_threads(take, range(len(moments)), cpu_count()))
    photos = [taken[i] for i in range(len(moments))]
    unknown = np.zeros((0, 0), np.float32)
    silhouettes = np.stack([photo.silhouette for photo in photos]) >= INSIDE
    seen = View(np.stack([photo.image for photo in photos]), silhouettes, unknown)

    def painted(surface: Surface) -> Portrait:
        points = [surface.points(photo.tracking, [photo.timestep])[0] for photo in photos]
        drawn = []
        for i in range(len(photos)):
            others = [k for k in range(len(photos)) if k != i] or [i]
            without = paint([photos[k] for k in others], [points[k] for k in others], camera)
            drawn.append(draw(points[i], without, camera, *size))
        images, masks = (np.stack(part) for part in zip(*drawn, strict=True))
        return Portrait(surface, paint(photos, points, camera), seen, View(images, masks, unknown))

    def score(portrait: Portrait) -> float:
        control = portrait.control
        return float(agreement(seen.images, control.images, control.masks, is_whole=False).mean())

    return max(map(painted, surfaces), key=score)


def _build(place: Place, timesteps: tuple[int, ...], portrait: Portrait) -> Reference:
    size = thumbnail_size(place.benchmark)
    small = round(MOTION_SCALE * size[0]), round(MOTION_SCALE * size[1])
    tracking = load_flame_tracking(place.path(TRACKING))
    every = portrait.surface.points(tracking, range(tracking.n_timesteps))

    def view(serial: str, _: Cancel) -> View:
        camera, distant = _camera(place, serial, size), _camera(place, serial, small)
        drawn = [draw(every[t], portrait.paint, camera, *size) for t in timesteps]
        cells = [grid_means(draw(points, portrait.paint, distant, *small)[0] @ LUMA) for points in every]
        return View(
            np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn]),
            np.array(cells, np.float32),
        )  # fmt: skip

    serials = place.benchmark.submission_serials
    expected = dict(in_threads(view, serials, cpu_count()))
    return Reference(
        timesteps, expected, {PHOTOS: portrait.photos}, {PHOTOS: portrait.control},
        dict.fromkeys(serials, PHOTOS), is_whole=False,
    )  # fmt: skip

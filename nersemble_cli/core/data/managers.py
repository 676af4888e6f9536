"""The data managers: what a benchmark folder holds for one participant, under the official toolkit's names."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import av
import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import (
    MONO,
    NVS,
    SVFR,
    Benchmark,
    ImageKey,
    VideoBenchmark,
    parse_participant,
)
from nersemble_cli.core.data import pointcloud
from nersemble_cli.core.data.calibration import CameraCalibration, load_calibration
from nersemble_cli.core.data.metadata import count_tracked_frames, load_metadata, metadata_path
from nersemble_cli.core.errors import MissingFileError, UsageError, unknown_name
from nersemble_cli.core.flame.tracking import CURRENT_VERSION, FlameTracking, load_flame_tracking
from nersemble_cli.core.formats.png import on_white, read_rgb
from nersemble_cli.core.platform import cpu_count
from nersemble_cli.core.threads import Cancel, in_threads
from nersemble_cli.core.video.pixels import recycled_image, to_rgb
from nersemble_cli.core.video.reader import VideoReader, borrow_reader

if TYPE_CHECKING:
    Image = NDArray[np.uint8 | np.float32]

_WHITE = 255
_CONVERTERS = 2
_TRACKING_ASSETS = {1: "flame2023_tracking", 2: "flame2023_tracking_v2"}


@dataclass(frozen=True, eq=False)
class MultiViewImages:
    """What several cameras see at one timestep, row by row of the same camera.

    `serials` has V names; `images` is (V, H, W, 3) RGB, uint8 0–255 or float32 0–1; `world_2_cam` (V, 4, 4) and
    `intrinsics` (V, 3, 3) are float32 as in `CameraCalibration`.
    """

    serials: tuple[str, ...]
    images: Image
    world_2_cam: NDArray[np.float32]
    intrinsics: NDArray[np.float32]


def _convert(rgb: NDArray[np.uint8], target: Image) -> None:
    """Writes an image of uint8 0–255 into `target`, as it is or as float32 0–1, whatever that holds."""
    if target.dtype == np.uint8:
        target[:] = rgb
    else:
        target[:] = rgb  # in two steps, as numpy converts in small pieces otherwise, which takes longer
        np.divide(target, np.float32(_WHITE), out=target)


def _as_image(rgb: NDArray[np.uint8], as_uint8: bool) -> Image:
    """uint8 0–255 as it is, or as float32 0–1."""
    if as_uint8:
        return rgb
    image = np.empty(rgb.shape, np.float32)
    _convert(rgb, image)
    return image


class _DataManager:
    """What the managers of all benchmarks share: where files are, and what to say if they are not there."""

    benchmark: Benchmark

    def __init__(self, benchmark_folder: str | Path, participant_id: int | str) -> None:
        """Raises `UsageError` for a participant that the benchmark does not have."""
        self.participant = parse_participant(participant_id, self.benchmark)
        self._folder = Path(benchmark_folder).expanduser() / self.benchmark.folder

    def _path(self, asset: str, **place: Any) -> Path:
        return self._folder / self.benchmark.asset(asset).path.format(participant=self.participant, **place)

    def _existing(self, asset: str, **place: Any) -> Path:
        """The file, or an error that says why it is not there."""
        path = self._path(asset, **place)
        if not path.is_file():
            self._explain(asset, path, **place)
        return path

    def _explain(self, asset: str, path: Path, **place: Any) -> NoReturn:
        """Raises `UsageError` for a place that the benchmark does not have, else `MissingFileError`."""
        raise MissingFileError(f"{path} is not there.", self.fetch_hint(asset, **place))

    def fetch_hint(self, asset: str, **place: Any) -> str:
        """The command that fetches it."""
        words = ["nersemble", "download", self.benchmark.name, "-f", str(self._folder.parent)]
        words += ["-p", f"{self.participant:03d}"]
        for option, key in (("-s", "sequence"), ("-c", "serial")):
            if key in place:
                words += [option, str(place[key])]
        words += ["-a", asset]
        if "timestep" in place:
            words += ["--pointcloud-frames", str(place["timestep"])]
        return f"Fetch it with: {shlex.join(words)}"


class _VideoDataManager(_DataManager):
    """Videos and cameras of one participant: what NVS and Mono share.

    Images are RGB (H, W, 3), uint8 0–255 or float32 0–1, the background is white already. Timesteps are the
    numbers of a sequence's frames, from 0. Wherever a file is not there, `MissingFileError` names the command
    that fetches it; unknown sequences, cameras and timesteps raise `UsageError`, which lists the valid ones;
    damaged files raise `InvalidInputError`.
    """

    benchmark: VideoBenchmark

    @property
    def _sequences(self) -> tuple[str, ...]:
        """All sequences of the participant, with videos or not."""
        return self.benchmark.sequences(self.participant)

    def _explain(self, asset: str, path: Path, **place: Any) -> NoReturn:
        sequence, serial = place.get("sequence"), place.get("serial")
        if sequence is not None and sequence not in self._sequences:
            raise unknown_name(f"sequence of participant {self.participant}", sequence, self._sequences)
        if serial is not None:
            self._check_has_video(str(sequence), serial)
        if "timestep" in place:
            self.check_timestep(str(sequence), place["timestep"])
        super()._explain(asset, path, **place)

    def _check_has_video(self, sequence: str, serial: str) -> None:
        train = self.benchmark.train_serials
        if serial in self.benchmark.hold_out_serials:
            raise UsageError(
                f"Camera {serial} is held out: its videos are the hidden test set.",
                f"Cameras with videos: {', '.join(train)}.",
            )
        if serial not in train:
            raise unknown_name(f"camera of {self.benchmark.name}", serial, train)
        with_videos = self.benchmark.train_sequences[self.participant]
        if sequence not in with_videos:
            raise UsageError(
                f"Sequence {sequence} is held out: its videos are the hidden test set.",
                f"Sequences with videos: {', '.join(with_videos)}.",
            )

    def check_timestep(self, sequence: str, timestep: int) -> None:
        """Raises `UsageError` if it is known that the sequence does not have the timestep."""
        try:
            n = self.get_n_timesteps(sequence)
        except MissingFileError:
            return
        if not 0 <= timestep < n:
            raise UsageError(f"Sequence {sequence} has no timestep {timestep}.", f"It has {n}: 0 to {n - 1}.")

    # Where things are

    def get_camera_calibration_path(self) -> str:
        """Where the calibration is, whether it is there or not; so do the other `get_…_path` methods."""
        return str(self._path("calibration"))

    def get_images_path(self, sequence_name: str, serial: str) -> str:
        return str(self._path("images", sequence=sequence_name, serial=serial))

    def get_alpha_maps_path(self, sequence_name: str, serial: str) -> str:
        return str(self._path("alpha_maps", sequence=sequence_name, serial=serial))

    # What is there

    def list_sequences(self) -> list[str]:
        """The sequences that were downloaded, those of the benchmark first and in its order."""
        folder = self._folder / f"{self.participant:03d}" / "sequences"
        found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        return [s for s in self._sequences if s in found] + [s for s in found if s not in self._sequences]

    def list_serials(self, sequence_name: str) -> list[str]:
        """The cameras whose videos of the sequence were downloaded, in the benchmark's order; none for held-out
        sequences."""
        self._check_sequence(sequence_name)
        folder = self._path("images", sequence=sequence_name, serial="").parent
        found = sorted(path.stem.removeprefix("cam_") for path in folder.glob("cam_*.mp4"))
        order = self.benchmark.train_serials
        return [s for s in order if s in found] + [s for s in found if s not in order]

    def has_sequence(self, sequence_name: str) -> bool:
        """Whether anything of the sequence was downloaded."""
        return sequence_name in self.list_sequences()

    def has_video(self, sequence_name: str, serial: str) -> bool:
        """Whether the camera's images of the sequence were downloaded."""
        return self._path("images", sequence=sequence_name, serial=serial).is_file()

    def get_n_timesteps(self, sequence_name: str) -> int:
        """The number of frames: of a downloaded video, else as `metadata.json` or the benchmark's table say."""
        serials = self.list_serials(sequence_name)
        if serials:
            with borrow_reader(self._path("images", sequence=sequence_name, serial=serials[0])) as reader:
                return reader.n_frames
        return self._n_timesteps_without_video(sequence_name)

    def list_timesteps(self, sequence_name: str) -> list[int]:
        """0, 1, … up to the last frame."""
        return list(range(self.get_n_timesteps(sequence_name)))

    def _check_sequence(self, sequence: str) -> None:
        if sequence not in self._sequences and not self.has_sequence(sequence):
            raise unknown_name(f"sequence of participant {self.participant}", sequence, self._sequences)

    def _n_timesteps_without_video(self, sequence: str) -> int:
        key = (self.participant, sequence)
        counts = {**self.benchmark.n_frames, **load_metadata(self.benchmark, self._folder.parent)}
        if key in counts:
            return counts[key]
        raise MissingFileError(
            f"Nothing here tells how many frames {sequence} has: no video, and not in"
            f" {metadata_path(self.benchmark, self._folder.parent)}.",
            self.fetch_hint(self.benchmark.assets[-1].name, sequence=sequence),
        )

    # Loading

    def load_camera_calibration(self) -> CameraCalibration:
        """The participant's cameras, hold-out ones included. Source: `calibration/camera_params.json`."""
        return load_calibration(self._existing("calibration"))

    def load_image(
        self,
        sequence_name: str,
        serial: str,
        timestep: int,
        as_uint8: bool = False,
        apply_alpha_map: bool = False,
    ) -> Image:
        """(H, W, 3) RGB, uint8 0–255 or float32 0–1.

        The decoder stays open and where it is, so that the next timestep costs one decode. `apply_alpha_map`
        composites on white with the alpha map: whatever is left of the background goes.
        """
        frames = self._decode(sequence_name, serial, timestep, timestep + 1, 1, apply_alpha_map)
        with closing(frames):
            return _to_image(*next(frames), as_uint8)

    def load_alpha_map(self, sequence_name: str, serial: str, timestep: int) -> NDArray[np.uint8]:
        """(H, W, 1) uint8: 255 where the person is, 0 where the background is."""
        path = self._existing("alpha_maps", sequence=sequence_name, serial=serial)
        with borrow_reader(path, timestep) as reader:
            _check_within(reader, sequence_name, timestep)
            return _matte(reader.rgb(timestep))

    def iter_images(
        self,
        sequence_name: str,
        serial: str,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        as_uint8: bool = False,
        apply_alpha_map: bool = False,
        scale: float | None = None,
    ) -> Iterator[Image]:
        """The images of timesteps start, start + step, … before `stop` (None: the end), one at a time.

        Each as from `load_image`; `scale` 0.5 halves height and width. Memory does not grow with the video, and
        of the frames in between only those are decoded that others depend on.
        """
        _check_scale(scale)
        frames = self._decode(sequence_name, serial, start, stop, step, apply_alpha_map)
        return (_to_image(frame, matte, as_uint8, scale) for frame, matte in frames)

    def _decode(
        self, sequence: str, serial: str, start: int, stop: int | None, step: int, with_mattes: bool
    ) -> Generator[tuple[av.VideoFrame, av.VideoFrame | None], None, None]:
        """The wanted frames of a video, each with that of its alpha map. Missing files are noticed at once."""
        if step < 1:
            raise UsageError(f"The step is {step}.", "It is at least 1.")
        path = self._existing("images", sequence=sequence, serial=serial)
        mattes = self._existing("alpha_maps", sequence=sequence, serial=serial) if with_mattes else None

        def decode() -> Generator[tuple[av.VideoFrame, av.VideoFrame | None], None, None]:
            with ExitStack() as stack:
                reader = stack.enter_context(borrow_reader(path, start))
                matte_reader = stack.enter_context(borrow_reader(mattes, start)) if mattes else None
                wanted = range(start, reader.n_frames if stop is None else stop, step)
                for timestep in (wanted[0], wanted[-1]) if wanted else ():
                    _check_within(reader, sequence, timestep)
                for timestep in wanted:
                    matte = matte_reader.frame(timestep, step) if matte_reader else None
                    yield reader.frame(timestep, step), matte

        return decode()

    def load_all_images(
        self,
        sequence_name: str,
        serial: str,
        as_uint8: bool = False,
        every_nth_frame: int | None = None,
        scale: float | None = None,
        apply_alpha_map: bool = False,
    ) -> list[Image]:
        """The images of a video, or of timesteps 0, n, 2 n, …, as from `load_image`; `scale` as in `iter_images`.

        A whole NVS video has 1.4 to 6 GB as uint8 and four times that as float32: `iter_images` needs no more
        than one frame at a time.
        """
        _check_scale(scale)
        step = 1 if every_nth_frame is None else every_nth_frame
        frames = self._decode(sequence_name, serial, 0, None, step, apply_alpha_map)

        def convert(item: tuple[int, tuple[av.VideoFrame, av.VideoFrame | None]], _: Cancel) -> Image:
            return _to_image(*item[1], as_uint8, scale)

        # Decoding goes on while frames are converted, which is mostly waiting for fresh memory.
        with closing(frames):
            images = {i: image for (i, _), image in in_threads(convert, enumerate(frames), _CONVERTERS)}
        return [images[i] for i in range(len(images))]

    def load_images(
        self,
        sequence_name: str,
        timestep: int,
        serials: list[str] | None = None,
        as_uint8: bool = False,
        apply_alpha_map: bool = False,
    ) -> MultiViewImages:
        """What `serials` (None: all cameras that were downloaded) see at one timestep, with their calibrations.

        The videos are decoded in parallel; the next timestep costs one decode for each.
        """
        serials = self.list_serials(sequence_name) if serials is None else list(serials)
        if not serials:
            serials = list(self.benchmark.train_serials)  # whose first one tells what is missing
        calibration = self.load_camera_calibration()

        def load(serial: str) -> NDArray[np.uint8]:
            image = self.load_image(sequence_name, serial, timestep, True, apply_alpha_map)
            return cast("NDArray[np.uint8]", image)

        # The whole array is made at once, and each thread converts its image to its place there.
        first = load(serials[0])
        images: Image = recycled_image((len(serials), *first.shape), np.uint8 if as_uint8 else np.float32)

        def place(position: int) -> None:
            rgb = load(serials[position]) if position else first
            _convert(rgb, images[position])

        with ThreadPoolExecutor(min(len(serials), cpu_count())) as pool:
            list(pool.map(place, range(len(serials))))
        return MultiViewImages(
            tuple(serials),
            images,
            np.stack([calibration.world_2_cam[serial] for serial in serials]),
            np.stack([calibration.intrinsics[serial] for serial in serials]),
        )


def _check_scale(scale: float | None) -> None:
    if scale is not None and scale <= 0:
        raise UsageError(f"The scale is {scale}.", "It is positive; 0.5 halves height and width.")


def _to_image(
    frame: av.VideoFrame, matte: av.VideoFrame | None, as_uint8: bool, scale: float | None = None
) -> Image:
    """A decoded frame as the image that users get, composited on white if there is an alpha map."""
    rgb = to_rgb(frame, scale)
    if matte is not None:
        rgb = on_white(rgb, _matte(to_rgb(matte, scale)))
    return _as_image(rgb, as_uint8)


def _matte(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first channel of a frame of an alpha map."""
    matte: NDArray[np.uint8] = rgb[..., :1].copy()
    return matte


def _check_within(reader: VideoReader, sequence: str, timestep: int) -> None:
    if not 0 <= timestep < reader.n_frames:
        raise UsageError(
            f"Sequence {sequence} has no timestep {timestep}.",
            f"It has {reader.n_frames}: 0 to {reader.n_frames - 1}.",
        )


class NVSDataManager(_VideoDataManager):
    """The NVS benchmark's data of one participant: videos of 13 cameras, 16 calibrated cameras, point clouds.

    `benchmark_folder` is the folder that holds `nvs/`.
    """

    benchmark = NVS

    def get_pointcloud_path(self, sequence_name: str, timestep: int) -> str:
        return str(self._path("pointclouds", sequence=sequence_name, timestep=timestep))

    def list_pointclouds(self, sequence_name: str) -> list[int]:
        """The timesteps whose point clouds were downloaded."""
        self._check_sequence(sequence_name)
        folder = self._path("pointclouds", sequence=sequence_name, timestep=0).parent
        numbers = (path.stem.removeprefix("frame_") for path in folder.glob("frame_*.pcd"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def load_pointcloud(self, sequence_name: str, timestep: int) -> pointcloud.PointCloud:
        """`points, colors, normals`, in world space: (N, 3) float32 metres, RGB in [0, 1], and unit vectors.

        NaN points stay; absent colours or normals are (0, 3). By default, only timestep 0 is downloaded.
        """
        return pointcloud.load_pointcloud(self._existing("pointclouds", sequence=sequence_name, timestep=timestep))

    def export_pointcloud(self, sequence_name: str, timestep: int, path: str | Path) -> None:
        """Writes the point cloud as PLY, for example for the initialisation of 3D Gaussian Splatting."""
        pointcloud.export_pointcloud(path, *self.load_pointcloud(sequence_name, timestep))


class MonoFlameAvatarDataManager(_VideoDataManager):
    """The Mono FLAME Avatar benchmark's data of one participant: videos of one camera for the training
    sequences, four calibrated cameras, and FLAME tracking for all sequences.

    `benchmark_folder` is the folder that holds `mono_flame_avatar/`.
    """

    benchmark = MONO

    def _tracking_asset(self, version: int) -> str:
        if version not in _TRACKING_ASSETS:
            raise unknown_name("version of the FLAME tracking", version, _TRACKING_ASSETS)
        return _TRACKING_ASSETS[version]

    def get_flame_tracking_path(self, sequence_name: str, version: int = CURRENT_VERSION) -> str:
        return str(self._path(self._tracking_asset(version), sequence=sequence_name))

    def load_flame_tracking(self, sequence_name: str, version: int = CURRENT_VERSION) -> FlameTracking:
        """The FLAME parameters of every frame of a sequence, of held-out ones too. See `FlameTracking`.

        Version 1 warns: submissions must use version 2.
        """
        return load_flame_tracking(self._existing(self._tracking_asset(version), sequence=sequence_name), version)

    def _n_timesteps_without_video(self, sequence: str) -> int:
        path = self._path(_TRACKING_ASSETS[CURRENT_VERSION], sequence=sequence)
        n = count_tracked_frames(path) if path.is_file() else None
        return super()._n_timesteps_without_video(sequence) if n is None else n


class SVFRDataManager(_DataManager):
    """The single-view reconstruction benchmark's images of one participant.

    `benchmark_folder` is the folder that holds `svfr/`.
    """

    benchmark = SVFR

    def list_image_keys(self) -> list[ImageKey]:
        """The images that were downloaded, in the benchmark's order. `MissingFileError` if there is none."""
        keys = self.benchmark.image_keys[self.participant]
        found = [key for key in keys if self._path("images", **key.place).is_file()]
        if not found:
            self._explain("images", self._folder / f"{self.participant:03d}")
        return found

    def get_asset_folder(self, image_key: ImageKey) -> str:
        """The folder of an image; the timestep in its name is not padded, unlike in a submission."""
        return str(self._path("images", **_image_key(image_key).place).parent)

    def load_image(self, image_key: ImageKey) -> NDArray[np.uint8]:
        """(512, 512, 3) uint8 RGB 0–255."""
        key = _image_key(image_key)
        if (
            key not in self.benchmark.image_keys[self.participant]
            and not Path(self.get_asset_folder(key)).is_dir()
        ):
            keys = [key.to_key() for key in self.benchmark.image_keys[self.participant]]
            raise unknown_name(f"image of participant {self.participant:03d}", key.to_key(), keys)
        return read_rgb(self._existing("images", **key.place))

    def fetch_hint(self, asset: str, **place: Any) -> str:
        return super().fetch_hint(asset)  # downloads know no smaller part than a participant


_MANAGERS = {cls.benchmark.name: cls for cls in (NVSDataManager, MonoFlameAvatarDataManager)}


def open_data(
    benchmark: VideoBenchmark, folder: Path, participant: int
) -> NVSDataManager | MonoFlameAvatarDataManager:
    """The data manager of a task with videos."""
    return _MANAGERS[benchmark.name](folder, participant)


def _image_key(key: ImageKey | tuple[str, int, str]) -> ImageKey:
    return ImageKey(key[0], int(key[1]), str(key[2]))

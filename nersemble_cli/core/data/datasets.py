"""The benchmark's images as PyTorch datasets: NVS, Mono with FLAME parameters, and SVFR.

A dataset can be sent to worker processes, however they are started: each opens its own decoders. Reading at random
costs the way from a key frame for every image, 125 frames on average; `sampling.GroupedBatchSampler` shuffles for
a fraction of that, and a cache does without decoding.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MONO, NVS, SVFR, ImageKey, choose
from nersemble_cli.core.data.calibration import CameraCalibration
from nersemble_cli.core.data.cameras import rescale_intrinsics
from nersemble_cli.core.data.frame_cache import CacheFormat, FrameCache
from nersemble_cli.core.data.managers import MonoFlameAvatarDataManager, NVSDataManager, SVFRDataManager
from nersemble_cli.core.errors import MissingFileError, UsageError, missing_extra
from nersemble_cli.core.flame.tracking import FlameTracking
from nersemble_cli.core.formats.png import on_white
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import borrow_reader

try:
    import torch
    from torch.utils.data import Dataset
except ImportError:
    raise missing_extra("PyTorch", "flame") from None

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S")


class Sample(TypedDict):
    """One image. In a batch, each has one dimension more in front, and `serial` is a list.

    `image` (3, H, W) float32 RGB 0–1, `alpha` (1, H, W) float32 0–1, `intrinsics` (3, 3) in pixels of the image
    and `world_2_cam` (4, 4) float32 as in `CameraCalibration`, `serial` the camera, `timestep` an int64 scalar.
    """

    image: Tensor
    alpha: Tensor
    intrinsics: Tensor
    world_2_cam: Tensor
    serial: str
    timestep: Tensor


class MonoSample(Sample):
    """One image with the head's FLAME parameters; of a whole sequence, all but the last three have T in front.

    `flame` has float32 tensors named as in `FlameTracking`: expression (100,), rotation_matrices (3, 3),
    translation (3,), jaw (3,), neck (3,), eyes (6,), and of the person shape (300,) and scale (1,), which never
    get a T.
    """

    flame: dict[str, Tensor]
    sequence: str


class SVFRSample(TypedDict):
    """`image` (3, H, W) float32 RGB 0–1, and what it is: `key` has the sequence, the timestep and the camera."""

    image: Tensor
    participant: int
    sequence: str
    timestep: int
    serial: str


class Place(NamedTuple):
    """Which image of a participant is meant."""

    sequence: str
    serial: str
    timestep: int


_MOVING = ("expression", "rotation_matrices", "translation", "jaw", "neck", "eyes")
_STILL = ("shape", "scale")


class _VideoDataset(Dataset[S], Generic[S]):
    """Frames of videos, video by video. `index` counts through all of them."""

    def __init__(
        self,
        data_manager: NVSDataManager | MonoFlameAvatarDataManager,
        videos: Mapping[tuple[str, str], Sequence[int]],
        apply_alpha_map: bool,
        scale: float | None,
        transform: Callable[[S], S] | None,
        cache: str | Path | None,
        cache_format: CacheFormat,
        cache_limit: int | None,
    ) -> None:
        if scale is not None and scale <= 0:
            raise UsageError(f"The scale is {scale}.", "It is positive; 0.5 halves height and width.")
        self.data_manager = data_manager
        self.videos = list(videos)
        self.apply_alpha_map, self.scale, self.transform = apply_alpha_map, scale, transform
        self._timesteps = [list(videos[video]) for video in self.videos]
        self._ends = list(accumulate(map(len, self._timesteps)))
        for sequence, serial in self.videos:
            for asset in ("images", "alpha_maps"):
                _existing(data_manager, asset, sequence, serial)
        calibration = data_manager.load_camera_calibration()
        self._cameras = {serial: self._camera(calibration, serial) for serial in {s for _, s in self.videos}}
        self.cache = None
        if cache is not None:
            self.cache = FrameCache(
                cache, self.n_images, self._fingerprint(), lambda: self._load(0), cache_format, cache_limit
            )

    @property
    def n_images(self) -> int:
        return self._ends[-1]

    def view(self, index: int) -> Place:
        """The sequence, camera and timestep of image `index`. Raises IndexError beyond the last one."""
        if not 0 <= index < self.n_images:
            raise IndexError(f"{index} is not in 0…{self.n_images - 1}")
        video = bisect_right(self._ends, index)
        timesteps = self._timesteps[video]
        return Place(*self.videos[video], timesteps[index - self._ends[video] + len(timesteps)])

    def key_frame_groups(self) -> list[list[list[int]]]:
        """For each video its groups of indices; those of a group are decoded one after the other."""
        found = []
        for video, (sequence, serial) in enumerate(self.videos):
            with borrow_reader(Path(self.data_manager.get_images_path(sequence, serial))) as reader:
                frames = reader.index
            timesteps = self._timesteps[video]
            first = self._ends[video] - len(timesteps)
            groups: dict[int, list[int]] = {}
            for position, timestep in sorted(enumerate(timesteps), key=lambda item: item[1]):
                groups.setdefault(frames.key_before(timestep), []).append(first + position)
            found.append(list(groups.values()))
        return found

    def _load(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 4) uint8: RGB and alpha, scaled."""
        sequence, serial, timestep = self.view(index)
        images = Path(self.data_manager.get_images_path(sequence, serial))
        mattes = Path(self.data_manager.get_alpha_maps_path(sequence, serial))
        with borrow_reader(images, timestep) as reader:
            rgb = to_rgb(reader.frame(timestep), self.scale)
        with borrow_reader(mattes, timestep) as reader:
            alpha = to_rgb(reader.frame(timestep), self.scale)[..., :1]
        if self.apply_alpha_map:
            rgb = on_white(rgb, alpha)
        return np.concatenate([rgb, alpha], axis=-1)

    def _pixels(self, index: int) -> Tensor:
        """(4, H, W) float32 0–1: RGB and alpha."""
        frame = self._load(index) if self.cache is None else self.cache.get(index, lambda: self._load(index))
        return _to_tensor(frame)

    def _camera(self, calibration: CameraCalibration, serial: str) -> tuple[Tensor, Tensor]:
        """The intrinsics of the scaled images, and the pose."""
        intrinsics = calibration.intrinsics[serial].numpy()
        if self.scale is not None:
            sequence = next(sequence for sequence, other in self.videos if other == serial)
            path = Path(self.data_manager.get_images_path(sequence, serial))
            with borrow_reader(path) as reader:
                frame = reader.frame(0)
            # As `to_rgb` rounds them.
            factors = [max(1, round(side * self.scale)) / side for side in (frame.width, frame.height)]
            intrinsics = rescale_intrinsics(intrinsics, *factors)
        return torch.from_numpy(intrinsics), torch.from_numpy(calibration.world_2_cam[serial].numpy())

    def _fingerprint(self) -> list[Any]:
        """What the pixels of every index depend on."""
        files = []
        for sequence, serial in self.videos:
            for get in (self.data_manager.get_images_path, self.data_manager.get_alpha_maps_path):
                status = Path(get(sequence, serial)).stat()
                files.append([sequence, serial, status.st_size, status.st_mtime_ns])
        manager = self.data_manager
        place = [manager.benchmark.name, manager.participant]
        return [place, files, self._timesteps, self.scale, self.apply_alpha_map]

    def _finish(self, sample: S) -> S:
        return sample if self.transform is None else self.transform(sample)


class NVSDataset(_VideoDataset[Sample]):
    """All images of an NVS sequence, camera by camera, each with its alpha map and camera.

    `serials` are the wanted cameras (None: all that were downloaded), `timesteps` the wanted ones (None: all).
    `scale` 0.5 halves height and width, and the intrinsics with them. `transform` gets each sample and returns
    what takes its place; worker processes need it to be picklable. `cache` is a folder or "memory": see
    `FrameCache` for `cache_format` and `cache_limit`.
    """

    def __init__(
        self,
        folder: str | Path,
        participant: int,
        sequence: str,
        serials: Iterable[str] | None = None,
        timesteps: Iterable[int] | None = None,
        apply_alpha_map: bool = False,
        *,
        scale: float | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        cache: str | Path | None = None,
        cache_format: CacheFormat = "raw",
        cache_limit: int | None = None,
    ) -> None:
        manager = NVSDataManager(folder, participant)
        downloaded = manager.list_serials(sequence)
        self.sequence, self.serials = sequence, list(downloaded if serials is None else serials)
        for serial in self.serials or [NVS.train_serials[0]]:
            _existing(manager, "images", sequence, serial)
        every = manager.list_timesteps(sequence)
        self.timesteps = list(every if timesteps is None else choose("timestep", timesteps, every))
        videos = {(sequence, serial): self.timesteps for serial in self.serials}
        super().__init__(
            manager, videos, apply_alpha_map, scale, transform, cache, cache_format, cache_limit
        )  # fmt: skip

    def __len__(self) -> int:
        return self.n_images

    def place(self, index: int) -> tuple[str, int]:
        """The camera and the timestep of an index."""
        return self.view(index)[1:]

    def __getitem__(self, index: int) -> Sample:
        _, serial, timestep = self.view(index)
        pixels = self._pixels(index)
        intrinsics, world_2_cam = self._cameras[serial]
        return self._finish(
            Sample(
                image=pixels[:3],
                alpha=pixels[3:],
                intrinsics=intrinsics,
                world_2_cam=world_2_cam,
                serial=serial,
                timestep=torch.tensor(timestep),
            )
        )


class MonoDataset(_VideoDataset[MonoSample]):
    """The images of a Mono participant with the head's FLAME parameters, sequence by sequence.

    `sequences` are the wanted ones (None: all with videos here), `every_nth_frame` 3 takes timesteps 0, 3, 6, ….
    With `per_sequence`, an item is a whole sequence: of 512×512 images, 4 MB a frame. Parameters are those of
    version 2 of the tracking, in the world of the cameras. Other arguments are those of `NVSDataset`.
    """

    def __init__(
        self,
        folder: str | Path,
        participant: int,
        sequences: Iterable[str] | None = None,
        every_nth_frame: int = 1,
        apply_alpha_map: bool = False,
        *,
        per_sequence: bool = False,
        scale: float | None = None,
        transform: Callable[[MonoSample], MonoSample] | None = None,
        cache: str | Path | None = None,
        cache_format: CacheFormat = "raw",
        cache_limit: int | None = None,
    ) -> None:
        if every_nth_frame < 1:
            raise UsageError(f"every_nth_frame is {every_nth_frame}.", "It is at least 1.")
        manager = MonoFlameAvatarDataManager(folder, participant)
        (serial,) = MONO.train_serials
        train = MONO.train_sequences[manager.participant]
        here = [sequence for sequence in train if manager.has_video(sequence, serial)]
        self.sequences = list(here if sequences is None else sequences)
        for sequence in self.sequences or [train[0]]:
            _existing(manager, "images", sequence, serial)
        self.per_sequence = per_sequence
        self._flame = {s: _parameters(manager.load_flame_tracking(s)) for s in self.sequences}
        videos = {}
        for sequence in self.sequences:
            n_frames = manager.get_n_timesteps(sequence)
            n_tracked = len(self._flame[sequence]["expression"])
            if n_tracked != n_frames:
                raise MissingFileError(
                    f"{sequence} has {n_frames} frames, but its tracking has {n_tracked}.",
                    manager.fetch_hint("images", sequence=sequence) + " --overwrite",
                )
            videos[sequence, serial] = range(0, n_frames, every_nth_frame)
        super().__init__(manager, videos, apply_alpha_map, scale, transform, cache, cache_format, cache_limit)

    def __len__(self) -> int:
        return len(self.sequences) if self.per_sequence else self.n_images

    def key_frame_groups(self) -> list[list[list[int]]]:
        if self.per_sequence:
            raise UsageError(
                "Whole sequences are decoded in order anyway.", "Use shuffle=True instead of GroupedBatchSampler."
            )
        return super().key_frame_groups()

    def __getitem__(self, index: int) -> MonoSample:
        if not self.per_sequence:
            sequence, serial, timestep = self.view(index)
            pixels = self._pixels(index)
            return self._sample(sequence, serial, timestep, pixels)
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is not in 0…{len(self) - 1}")
        sequence, serial = self.videos[index]
        timesteps = self._timesteps[index]
        first = self._ends[index] - len(timesteps)
        pixels = torch.stack([self._pixels(first + i) for i in range(len(timesteps))])
        return self._sample(sequence, serial, timesteps, pixels)

    def _sample(self, sequence: str, serial: str, timestep: int | list[int], pixels: Tensor) -> MonoSample:
        intrinsics, world_2_cam = self._cameras[serial]
        parameters = self._flame[sequence]
        flame = {name: parameters[name][timestep] for name in _MOVING}
        flame |= {name: parameters[name] for name in _STILL}
        return self._finish(
            MonoSample(
                image=pixels[..., :3, :, :],
                alpha=pixels[..., 3:, :, :],
                intrinsics=intrinsics,
                world_2_cam=world_2_cam,
                serial=serial,
                timestep=torch.tensor(timestep),
                flame=flame,
                sequence=sequence,
            )
        )


class SVFRDataset(Dataset[SVFRSample]):
    """The single images of SVFR, person by person; `participants` are the wanted ones (None: all that are here).

    `scale` and `transform` are those of `NVSDataset`.
    """

    def __init__(
        self,
        folder: str | Path,
        participants: Iterable[int] | None = None,
        *,
        scale: float | None = None,
        transform: Callable[[SVFRSample], SVFRSample] | None = None,
    ) -> None:
        if scale is not None and scale <= 0:
            raise UsageError(f"The scale is {scale}.", "It is positive; 0.5 halves height and width.")
        self.scale, self.transform = scale, transform
        self._images: list[tuple[SVFRDataManager, ImageKey]] = []
        for participant in SVFR.participants if participants is None else participants:
            manager = SVFRDataManager(folder, participant)
            try:
                keys = manager.list_image_keys()
            except MissingFileError:
                if participants is not None:
                    raise
                continue
            self._images += [(manager, key) for key in keys]
        if not self._images:
            SVFRDataManager(folder, SVFR.participants[0]).list_image_keys()  # says how to fetch it

    def __len__(self) -> int:
        return len(self._images)

    def place(self, index: int) -> tuple[int, ImageKey]:
        """The participant and the image of an index."""
        manager, key = self._images[index]
        return manager.participant, key

    def __getitem__(self, index: int) -> SVFRSample:
        manager, key = self._images[index]
        image = _to_tensor(manager.load_image(key))
        if self.scale is not None:
            size = [max(1, round(side * self.scale)) for side in image.shape[1:]]
            image = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        sample = SVFRSample(
            image=image,
            participant=manager.participant,
            sequence=key.sequence,
            timestep=key.timestep,
            serial=key.serial,
        )
        return sample if self.transform is None else self.transform(sample)


def _existing(
    manager: NVSDataManager | MonoFlameAvatarDataManager, asset: str, sequence: str, serial: str
) -> None:
    """Raises the manager's error, with the command that fetches it, for a video that is not there."""
    if asset == "images" and not manager.has_video(sequence, serial):
        manager.load_image(sequence, serial, 0)
    elif asset == "alpha_maps" and not Path(manager.get_alpha_maps_path(sequence, serial)).is_file():
        manager.load_alpha_map(sequence, serial, 0)


def _parameters(tracking: FlameTracking) -> dict[str, Tensor]:
    """float32 tensors: `shape` (300,), `scale` (1,), and the moving ones with T in front."""
    arrays = {name: getattr(tracking, name) for name in (*_MOVING, *_STILL)}
    tensors = {name: torch.as_tensor(np.asarray(array, np.float32)) for name, array in arrays.items()}
    return tensors | {name: tensors[name][0] for name in _STILL}


def _to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """(H, W, C) uint8 → (C, H, W) float32 0–1."""
    return torch.as_tensor(pixels).permute(2, 0, 1).to(torch.float32).div_(255)

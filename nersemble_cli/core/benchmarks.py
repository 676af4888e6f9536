"""The three benchmarks as data: who, what, which cameras, which files. Everything else walks this.

Source: the official toolkit's documentation and constants, version 0.2.0.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from importlib import resources
from typing import Any, Literal, NamedTuple, TypeVar

from nersemble_cli.core.errors import UsageError, unknown_name

SERIALS = (
    "222200042", "222200044", "222200046", "222200040", "222200036", "222200048", "220700191", "222200041",
    "222200037", "222200038", "222200047", "222200043", "222200049", "222200039", "222200045", "221501007",
)  # fmt: skip

FLAME_VERTEX_COUNT = 5023
FLAME_FACE_COUNT = 9976
MESH_KINDS = ("posed", "neutral")


class ImageKey(NamedTuple):
    """One SVFR image of a participant, with the field names of the official toolkit."""

    sequence_name: str
    timestep: int
    serial: str

    @property
    def sequence(self) -> str:
        """`sequence_name`, as everything else here calls it."""
        return self.sequence_name

    @property
    def place(self) -> Keys:
        """What the path of the image's file is made of."""
        return {"sequence": self.sequence, "timestep": self.timestep, "serial": self.serial}

    def to_key(self) -> str:
        """The name of the image's folder in a submission, where the timestep is padded to three digits."""
        return f"{self.sequence}_{self.timestep:03d}_{self.serial}"


@dataclass(frozen=True)
class Asset:
    """A kind of file on the server. `path` is a template below the benchmark's folder.

    `typical_size` (bytes) is what a file of this kind usually has, for estimates.
    """

    name: str
    path: str
    per: Literal["participant", "sequence", "training sequence", "camera", "timestep", "image"]
    typical_size: int
    by_default: bool = True


@dataclass(frozen=True)
class VideoSlot:
    """A video that a submission must hold."""

    participant: int
    sequence: str
    serial: str

    @property
    def path(self) -> str:
        """Its name in the zip."""
        return f"{self.participant:03d}/{self.sequence}/cam_{self.serial}.mp4"

    @property
    def files(self) -> tuple[str, ...]:
        """Every name in the zip that belongs to it."""
        return (self.path,)


@dataclass(frozen=True)
class MeshSlot:
    """A mesh that a submission must hold if it takes part in the subtask `kind`."""

    participant: int
    key: ImageKey
    kind: str

    @property
    def sequence(self) -> str:
        return self.key.sequence

    @property
    def timestep(self) -> int:
        return self.key.timestep

    @property
    def serial(self) -> str:
        return self.key.serial

    @property
    def folder(self) -> str:
        sequence, timestep, serial = self.key
        return f"{self.participant:03d}/{sequence}_{timestep:03d}_{serial}"

    @property
    def path(self) -> str:
        """The mesh's name in the zip."""
        return f"{self.folder}/mesh_{self.kind}.ply"

    @property
    def landmarks_path(self) -> str:
        """The name in the zip of the NoW landmarks that belong to the mesh."""
        return f"{self.folder}/landmarks_{self.kind}.npy"

    @property
    def files(self) -> tuple[str, ...]:
        """Every name in the zip that belongs to it."""
        return (self.path, self.landmarks_path)


Keys = dict[str, Any]  # what tells the files of one asset apart: fields of `BenchmarkFile`
ListTimesteps = Callable[[int, str], Iterable[int]]


@dataclass(frozen=True, kw_only=True)
class Benchmark(ABC):
    """A task: what the server holds and what a submission consists of. `width` and `height` are in pixels."""

    name: str
    folder: str
    title: str
    width: int
    height: int
    participants: tuple[int, ...]
    assets: tuple[Asset, ...]

    @property
    def submission(self) -> str:
        """What is handed in, with its article: `an nvs submission`."""
        return f"{'a' if self.name == 'mono' else 'an'} {self.name} submission"

    def asset(self, name: str) -> Asset:
        """The asset called `name`. Raises `UsageError`, which lists the names, for an unknown one."""
        for asset in self.assets:
            if asset.name == name:
                return asset
        raise unknown_name(f"asset of {self.name}", name, [asset.name for asset in self.assets])

    def has_asset(self, name: str) -> bool:
        return any(asset.name == name for asset in self.assets)

    @abstractmethod
    def sequences(self, participant: int) -> tuple[str, ...]:
        """The sequences of which the server holds any file, training sequences first."""

    @property
    @abstractmethod
    def image_serials(self) -> tuple[str, ...]:
        """The cameras whose images are on the server."""

    @property
    @abstractmethod
    def slots(self) -> tuple[VideoSlot, ...] | tuple[MeshSlot, ...]:
        """Every file of a complete submission, without the optional landmarks, in the order of its name."""

    @abstractmethod
    def keys(self, asset: Asset, participant: int, timesteps: ListTimesteps) -> Iterator[Keys]:
        """The files of one asset of one participant."""


@dataclass(frozen=True, kw_only=True)
class VideoBenchmark(Benchmark):
    """A task whose submission consists of videos.

    `train_sequences` have videos to learn from, `test_sequences` are to be rendered. In NVS they are the same:
    time is shared, cameras are held out. `n_frames` has the frame counts per (participant, sequence) that are
    known without metadata; `n_test_frames` are sums over a participant's test sequences.
    """

    fps: Fraction
    train_sequences: Mapping[int, tuple[str, ...]]
    test_sequences: Mapping[int, tuple[str, ...]]
    train_serials: tuple[str, ...]
    hold_out_serials: tuple[str, ...]
    submission_serials: tuple[str, ...]
    n_frames: Mapping[tuple[int, str], int] = field(default_factory=dict)
    n_test_frames: Mapping[int, int]

    def sequences(self, participant: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.train_sequences[participant], *self.test_sequences[participant])))

    @property
    def image_serials(self) -> tuple[str, ...]:
        return self.train_serials

    @cached_property
    def slots(self) -> tuple[VideoSlot, ...]:
        return tuple(
            VideoSlot(participant, sequence, serial)
            for participant, sequences in sorted(self.test_sequences.items())
            for sequence in sorted(sequences)
            for serial in sorted(self.submission_serials)
        )

    def keys(self, asset: Asset, participant: int, timesteps: ListTimesteps) -> Iterator[Keys]:
        train = self.train_sequences[participant]
        match asset.per:
            case "participant":
                yield {}
            case "sequence":
                yield from ({"sequence": sequence} for sequence in self.sequences(participant))
            case "training sequence":
                yield from ({"sequence": sequence} for sequence in train)
            case "camera":
                for sequence in train:
                    yield from ({"sequence": sequence, "serial": serial} for serial in self.train_serials)
            case "timestep":
                for sequence in train:
                    for timestep in timesteps(participant, sequence):
                        yield {"sequence": sequence, "timestep": timestep}


@dataclass(frozen=True, kw_only=True)
class MeshBenchmark(Benchmark):
    """A task whose submission consists of one mesh per image and subtask.

    `image_list` is the package data file that lists the images: participant → [[sequence, timestep, serial], …].
    """

    image_list: str

    @cached_property
    def image_keys(self) -> Mapping[int, tuple[ImageKey, ...]]:
        """Participant → images."""
        text = resources.files("nersemble_cli").joinpath("data", self.image_list).read_text("utf-8")
        return {int(p): tuple(ImageKey(*key) for key in keys) for p, keys in json.loads(text).items()}

    def sequences(self, participant: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sorted(key.sequence for key in self.image_keys[participant])))

    @cached_property
    def image_serials(self) -> tuple[str, ...]:
        return tuple(sorted({key.serial for keys in self.image_keys.values() for key in keys}))

    @cached_property
    def slots(self) -> tuple[MeshSlot, ...]:
        return tuple(
            MeshSlot(participant, key, kind)
            for participant, keys in sorted(self.image_keys.items())
            for key in keys
            for kind in MESH_KINDS
        )

    def keys(self, asset: Asset, participant: int, timesteps: ListTimesteps) -> Iterator[Keys]:
        yield from (key.place for key in self.image_keys[participant])


@dataclass(frozen=True)
class BenchmarkFile:
    """A file on the server. What its asset is not "per" is None."""

    benchmark: Benchmark
    asset: Asset
    participant: int
    sequence: str | None = None
    serial: str | None = None
    timestep: int | None = None

    @cached_property
    def path(self) -> str:
        """Its name below the benchmark's folder, on the server as on disk."""
        return self.asset.path.format(
            participant=self.participant, sequence=self.sequence, serial=self.serial, timestep=self.timestep
        )


_VIDEO = "{participant:03d}/sequences/{sequence}/%s/cam_{serial}.mp4"
_TRACKING = "{participant:03d}/sequences/{sequence}/tracking/%s.npz"
_POINTCLOUD = "{participant:03d}/sequences/{sequence}/pointclouds/frame_{timestep:05d}.pcd"

_CALIBRATION = Asset("calibration", "{participant:03d}/calibration/camera_params.json", "participant", 10_000)
_NVS_ASSETS = (
    _CALIBRATION,
    Asset("images", _VIDEO % "images", "camera", 45_000_000),
    Asset("alpha_maps", _VIDEO % "alpha_maps", "camera", 15_000_000),
    Asset("pointclouds", _POINTCLOUD, "timestep", 18_500_000),
)
_MONO_ASSETS = (
    _CALIBRATION,
    Asset("images", _VIDEO % "images", "camera", 800_000),
    Asset("alpha_maps", _VIDEO % "alpha_maps", "camera", 400_000),
    Asset("flame2023_tracking_v2", _TRACKING % "flame2023_tracking_v2", "sequence", 200_000),
    Asset("flame2023_tracking", _TRACKING % "flame2023_tracking", "training sequence", 200_000, by_default=False),
)
# The timestep is padded in submissions but not here.
_SVFR_ASSETS = (Asset("images", "{participant:03d}/{sequence}_{timestep}_{serial}/rgb.png", "image", 320_000),)

_NVS_FRAMES = {
    (388, "GLASSES"): 1118,
    (422, "EXP-2-eyes"): 517,
    (443, "FREE"): 1108,
    (445, "EXP-6-tongue-1"): 514,
    (475, "HAIR"): 259,
}
_NVS_HOLD_OUT = ("222200046", "222200037", "222200039")
_NVS_SEQUENCES = {participant: (sequence,) for participant, sequence in _NVS_FRAMES}

NVS = VideoBenchmark(
    name="nvs",
    folder="nvs",
    title="Dynamic Novel View Synthesis",
    width=1100,
    height=1604,
    fps=Fraction(73),
    participants=tuple(_NVS_SEQUENCES),
    assets=_NVS_ASSETS,
    train_sequences=_NVS_SEQUENCES,
    test_sequences=_NVS_SEQUENCES,
    train_serials=tuple(serial for serial in SERIALS if serial not in _NVS_HOLD_OUT),
    hold_out_serials=_NVS_HOLD_OUT,
    submission_serials=_NVS_HOLD_OUT,
    n_frames=_NVS_FRAMES,
    n_test_frames={participant: n for (participant, _), n in _NVS_FRAMES.items()},
)

_MONO_TEST_FRAMES = {393: 816, 404: 665, 461: 486, 477: 530, 486: 608}
_MONO_HOLD_OUT = ("222200046", "220700191", "222200039")
MONO_TRAIN_SERIAL = "222200037"
MONO_TEST_SEQUENCES = ("FREE", "EMO-1-shout+laugh", "SEN-09-frown_events_bad", "SEN-10-port_strong_smokey")
MONO_TRAIN_SEQUENCES = (
    "EXP-1-head", "EXP-2-eyes", "EXP-3-cheeks+nose", "EXP-4-lips", "EXP-5-mouth", "EXP-8-jaw-1", "EXP-9-jaw-2",
    "EMO-2-surprise+fear", "EMO-3-angry+sad", "EMO-4-disgust+happy", "SEN-01-cramp_small_danger",
    "SEN-02-same_phrase_thirty_times", "SEN-03-pluck_bright_rose", "SEN-04-two_plus_seven",
    "SEN-05-glow_eyes_sweet_girl", "SEN-06-problems_wise_chief", "SEN-07-fond_note_fried",
    "SEN-08-clothes_and_lodging",
)  # fmt: skip

MONO = VideoBenchmark(
    name="mono",
    folder="mono_flame_avatar",
    title="Monocular FLAME Avatar",
    width=512,
    height=512,
    fps=Fraction(243, 10),
    participants=tuple(_MONO_TEST_FRAMES),
    assets=_MONO_ASSETS,
    train_sequences=dict.fromkeys(_MONO_TEST_FRAMES, MONO_TRAIN_SEQUENCES),
    test_sequences=dict.fromkeys(_MONO_TEST_FRAMES, MONO_TEST_SEQUENCES),
    train_serials=(MONO_TRAIN_SERIAL,),
    hold_out_serials=_MONO_HOLD_OUT,
    submission_serials=(MONO_TRAIN_SERIAL, *_MONO_HOLD_OUT),
    n_test_frames=_MONO_TEST_FRAMES,
)

SVFR = MeshBenchmark(
    name="svfr",
    folder="svfr",
    title="Single-view 3D Face Reconstruction",
    width=512,
    height=512,
    participants=(
        17, 60, 71, 102, 112, 123, 133, 139, 175, 178, 183, 194, 215, 226, 256, 266, 289, 310, 320, 372,
    ),
    assets=_SVFR_ASSETS,
    image_list="svfr_images.json",
)  # fmt: skip

BENCHMARKS: Mapping[str, Benchmark] = {b.name: b for b in (NVS, MONO, SVFR)}
_ALIASES = {b.folder: b.name for b in BENCHMARKS.values()}  # what the official toolkit calls them

T = TypeVar("T")


def get_benchmark(name: str) -> Benchmark:
    """The benchmark that a person means by `name`. Raises `UsageError`, listing the names, for any other."""
    wanted = name.strip().lower()
    try:
        return BENCHMARKS[_ALIASES.get(wanted, wanted)]
    except KeyError:
        raise unknown_name("benchmark", name, BENCHMARKS) from None


def parse_participant(value: str | int, benchmark: Benchmark) -> int:
    """The participant that `value` names, with or without leading zeros. Raises `UsageError` if unknown."""
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or int(text) not in benchmark.participants:
        elsewhere = [b.name for b in BENCHMARKS.values() if text.isdigit() and int(text) in b.participants]
        error = unknown_name(f"participant of {benchmark.name}", value, benchmark.participants)
        if elsewhere:
            error.hint = f"{text} belongs to {', '.join(elsewhere)}. {error.hint}"
        raise error
    return int(text)


def choose(kind: str, wanted: Iterable[T], valid: Sequence[T]) -> tuple[T, ...]:
    """`wanted` in the order of `valid`; all of `valid` if it is empty. Raises `UsageError` for unknown names."""
    chosen = set()
    for value in wanted:
        if value not in valid:
            raise unknown_name(kind, value, valid)
        chosen.add(value)
    return tuple(value for value in valid if value in chosen or not chosen)


def files(
    benchmark: Benchmark,
    assets: Collection[str] | None = None,
    participants: Collection[int] | None = None,
    sequences: Collection[str] | None = None,
    serials: Collection[str] | None = None,
    timesteps: ListTimesteps = lambda participant, sequence: (0,),
) -> Iterator[BenchmarkFile]:
    """The benchmark's files on the server, by participant and asset.

    A filter of None lets everything pass, but for `assets`: then it is what a download fetches by default.
    What has no sequence or no camera passes every filter for them. `timesteps` says of which timesteps of a
    sequence point clouds are meant: by default only the first.
    """
    for participant in benchmark.participants:
        if participants is not None and participant not in participants:
            continue
        for asset in benchmark.assets:
            if not (asset.by_default if assets is None else asset.name in assets):
                continue
            for keys in benchmark.keys(asset, participant, timesteps):
                if sequences is not None and keys.get("sequence") not in (None, *sequences):
                    continue
                if serials is not None and keys.get("serial") not in (None, *serials):
                    continue
                yield BenchmarkFile(benchmark, asset, participant, **keys)


def check_slot(benchmark: VideoBenchmark, participant: str | int, sequence: str, serial: str) -> VideoSlot:
    """The video of a submission that is meant. Raises `UsageError`, listing the valid names, if there is none."""
    number = parse_participant(participant, benchmark)
    (sequence,) = choose(f"test sequence of {number}", [sequence], benchmark.test_sequences[number])
    (serial,) = choose("camera of the submission", [str(serial)], benchmark.submission_serials)
    return VideoSlot(number, sequence, serial)


def check_mesh_slot(participant: str | int, sequence: str, timestep: int, serial: str, kind: str) -> MeshSlot:
    """The mesh of an SVFR submission that is meant. Raises `UsageError` if there is none."""
    number = parse_participant(participant, SVFR)
    key = ImageKey(sequence, int(timestep), str(serial))
    if key not in SVFR.image_keys[number]:
        raise UsageError(
            f"Participant {number:03d} has no image {sequence}_{timestep}_{serial}.",
            f"Its {len(SVFR.image_keys[number])} images are in BENCHMARK_SVFR_IMAGE_KEYS[{number}].",
        )
    return MeshSlot(number, key, kind)

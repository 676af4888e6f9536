"""How well `validate` tells mistakes from poor renders: finds, misses and false alarms on the made-up benchmark.

    python perf/compare.py [nvs|mono] [--folder SCRATCH] [--rounds N] [--mistake-rounds N] [--kinds NAME …]

Honest renders of the submission's cameras are degraded in the ways that real methods are, encoded, decoded, and
compared with the data of the benchmark folder: every finding is a false alarm. Then each mistake is planted in
degraded renders. Pictures are an eighth (nvs) or half (mono) of the benchmark's size; pixels below are those of
NVS at full size. People have loose hair, and no motion repeats. FLAME is not used, as most users have none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MONO, NVS, VideoBenchmark, VideoSlot
from nersemble_cli.core.submission.compare import monocular, multiview
from nersemble_cli.core.submission.compare.head import ELLIPSOIDS
from nersemble_cli.core.submission.compare.reference import Place, Reference
from nersemble_cli.core.submission.compare.videos import VideoComparison
from nersemble_cli.core.submission.findings import Report
from nersemble_cli.core.synthetic.benchmark import Recipe, make_benchmark, render_view
from nersemble_cli.core.video.encode import CRF, find_ffmpeg
from nersemble_cli.core.video.roundtrip import through_codec

N_FRAMES = 72
SHRUNK = 8  # by which pictures of NVS are smaller than the benchmark's
SCALES = {NVS.name: 1 / SHRUNK, MONO.name: 0.5}
N_STRANDS = 800
MONO_TRAINING = ("EXP-1-head", "EXP-5-mouth", "EMO-3-angry+sad", "SEN-04-two_plus_seven")
KEY_FRAMES = 24  # as many groups of pictures in a video as the real ones have

Frames = NDArray[np.uint8]  # (T, H, W, 3) RGB
Degrade = Callable[[Frames, np.random.Generator], Frames]


# --- pictures ----------------------------------------------------------------------------------


def _as_frames(values: NDArray[np.floating]) -> Frames:
    return values.round().clip(0, 255).astype(np.uint8)


def _blurred(frames: NDArray[np.generic], sigma: float) -> NDArray[np.float32]:
    radius = max(1, int(3 * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    result = frames.astype(np.float32)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (radius, radius)
        padded = np.pad(result, pad, mode="edge")
        n = result.shape[axis]
        result = sum(
            w * np.take(padded, np.arange(i, i + n), axis) for i, w in enumerate(kernel.astype(np.float32))
        )
    return result


def _sampled(frames: Frames, y: NDArray[np.floating], x: NDArray[np.floating]) -> Frames:
    """(T, H, W, 3) at places y, x that broadcast to (T, H, W), bilinear, white outside."""
    t, height, width, _ = frames.shape
    shape = (t, height, width)
    y, x = np.broadcast_to(y, shape) + 1.0, np.broadcast_to(x, shape) + 1.0
    padded = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255).astype(np.float32)
    y0 = np.clip(np.floor(y), 0, height).astype(int)
    x0 = np.clip(np.floor(x), 0, width).astype(int)
    fy, fx = np.clip(y - y0, 0, 1)[..., None], np.clip(x - x0, 0, 1)[..., None]
    at = np.arange(t)[:, None, None]
    top = padded[at, y0, x0] * (1 - fx) + padded[at, y0, x0 + 1] * fx
    bottom = padded[at, y0 + 1, x0] * (1 - fx) + padded[at, y0 + 1, x0 + 1] * fx
    return _as_frames(top * (1 - fy) + bottom * fy)


def _grid(frames: Frames) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.arange(frames.shape[1])[:, None].astype(float), np.arange(frames.shape[2])[None].astype(float)


def reframed(frames: Frames, scale: float = 1, right: float = 0, down: float = 0) -> Frames:
    """Enlarged about the centre and shifted, in pixels at full size."""
    y, x = _grid(frames)
    cy, cx = (frames.shape[1] - 1) / 2, (frames.shape[2] - 1) / 2
    return _sampled(frames, (y - cy - down / SHRUNK) / scale + cy, (x - cx - right / SHRUNK) / scale + cx)


def enlarged(frames: Frames, factor: int) -> Frames:
    """From a `factor`-th of the size."""
    t, height, width, _ = frames.shape
    h, w = height // factor * factor, width // factor * factor
    small = (
        frames[:, :h, :w].astype(np.float32).reshape(t, h // factor, factor, w // factor, factor, 3).mean((2, 4))
    )
    y, x = _grid(frames)
    grown = _as_frames(small)
    ys, xs = (y + 0.5) / factor - 0.5, (x + 0.5) / factor - 0.5
    ys, xs = ys.clip(0, grown.shape[1] - 1), xs.clip(0, grown.shape[2] - 1)
    y0, x0 = np.minimum(ys.astype(int), grown.shape[1] - 2), np.minimum(xs.astype(int), grown.shape[2] - 2)
    fy, fx = (ys - y0)[..., None], (xs - x0)[..., None]
    g = grown.astype(np.float32)
    top = g[:, y0, x0] * (1 - fx) + g[:, y0, x0 + 1] * fx
    bottom = g[:, y0 + 1, x0] * (1 - fx) + g[:, y0 + 1, x0 + 1] * fx
    return _as_frames(top * (1 - fy) + bottom * fy)


def _subject(frames: Frames) -> NDArray[np.bool_]:
    return frames.min(-1) < 230


# --- what honest methods do --------------------------------------------------------------------


def _noise(frames: Frames, rng: np.random.Generator) -> Frames:
    return _as_frames(frames + rng.normal(0, rng.uniform(3, 10), frames.shape))


def _floaters(frames: Frames, rng: np.random.Generator) -> Frames:
    result = frames.copy()
    y, x = _grid(frames)
    for _ in range(rng.integers(3, 9)):
        cy, cx = rng.uniform(0, frames.shape[1]), rng.uniform(0, frames.shape[2])
        blob = np.exp(-(((y - cy) ** 2 + (x - cx) ** 2) / rng.uniform(2, 6) ** 2))[None, ..., None]
        flicker = rng.uniform(0.3, 1, (len(frames), 1, 1, 1))
        result = _as_frames(result * (1 - 0.8 * blob * flicker) + rng.uniform(0, 255, 3) * 0.8 * blob * flicker)
    return result


def _without(part: str) -> Degrade:
    def cut(frames: Frames, rng: np.random.Generator) -> Frames:
        result = frames.copy()
        rows = np.flatnonzero(_subject(frames).any(axis=(0, 2)))
        low, high = rows[0], rows[-1]
        share = rng.uniform(0.08, 0.2)
        if part == "hair":
            result[:, : int(low + share * (high - low))] = 255
        else:
            result[:, int(high - 1.2 * share * (high - low)) :] = 255
        return result

    return cut


def _tone(frames: Frames, rng: np.random.Generator) -> Frames:
    one, each = rng.uniform(0.85, 1.15, 1), rng.uniform(0.93, 1.07, 3) * rng.uniform(0.92, 1.08)
    gain = one if rng.random() < 0.5 else each
    return np.where(_subject(frames)[..., None], _as_frames(frames * gain), frames)


def _jitter(frames: Frames, rng: np.random.Generator) -> Frames:
    moves = rng.uniform(-2, 2, (2, len(frames), 1, 1)) / SHRUNK
    y, x = _grid(frames)
    return _sampled(frames, y + moves[0], x + moves[1])


def _poor_geometry(frames: Frames, rng: np.random.Generator) -> Frames:
    """A smooth distortion of up to 12 pixels that stays, and some that comes and goes."""
    y, x = _grid(frames)
    t = np.arange(len(frames))[:, None, None]

    def field() -> NDArray[np.float64]:
        waves = 0.0
        for _ in range(3):
            fy, fx, phase = rng.uniform(1, 4), rng.uniform(1, 4), rng.uniform(0, 6.3)
            sway = 1 + 0.3 * np.sin(2 * np.pi * t / rng.uniform(15, 60))
            waves = waves + sway * np.sin(6.28 * (fy * y / len(y) + fx * x / x.size) + phase)
        return rng.uniform(3, 12) / SHRUNK * waves / 2

    return _sampled(frames, y + field(), x + field())


def _haze(frames: Frames, rng: np.random.Generator) -> Frames:
    """A static veil over the background, as of a model that never learned it to be white."""
    veil = _blurred(rng.uniform(-1, 1, (1, *frames.shape[1:])), 6)
    veil = rng.uniform(10, 35) * (0.5 + veil / max(float(np.abs(veil).max()), 1e-6) / 2)
    return _as_frames(frames.astype(np.float32) - veil * (frames.min(-1, keepdims=True) / 255))


def _smoothed_in_time(frames: Frames, rng: np.random.Generator) -> Frames:
    """The expression lags for no camera, but quick motion is washed out."""
    padded = np.concatenate([frames[:1], frames, frames[-1:]]).astype(np.float32)
    return _as_frames((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)


def _frozen_face(frames: Frames, rng: np.random.Generator) -> Frames:
    """A static avatar: the mean over time, moved a little."""
    mean = frames.mean(0)
    return _jitter(_as_frames(np.broadcast_to(mean, frames.shape)), rng)


HONEST: Mapping[str, Degrade] = {
    "as rendered": lambda f, rng: f,
    "blur (σ 4–12 px)": lambda f, rng: _as_frames(_blurred(f, rng.uniform(0.5, 1.5))),
    "noise (σ 3–10 levels)": _noise,
    "half resolution, enlarged": lambda f, rng: enlarged(f, 2),
    "floaters": _floaters,
    "hair missing": _without("hair"),
    "shoulders missing": _without("shoulders"),
    "tone ±15 %": _tone,
    "jitter ±2 px": _jitter,
    "poor geometry": _poor_geometry,
    "static haze": _haze,
    "smoothed in time": _smoothed_in_time,
    "static avatar": _frozen_face,
    "low quality (CRF 36)": lambda f, rng: f,
    "blur, noise, tone, jitter": lambda f, rng: _noise(
        _tone(_jitter(_as_frames(_blurred(f, rng.uniform(0.4, 0.9))), rng), rng), rng
    ),
}
CRFS = {"low quality (CRF 36)": 36}


def mildly(frames: Frames, rng: np.random.Generator) -> Frames:
    """A render of about 22 to 30 dB, in which mistakes are planted."""
    frames = _poor_geometry(_as_frames(_blurred(frames, rng.uniform(0.3, 0.7))), rng)
    return _as_frames(_tone(frames, rng) + rng.normal(0, rng.uniform(1, 4), frames.shape))


def psnr(a: Frames, b: Frames) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(np.float32) - b) ** 2), 1e-3)))


# --- the made-up world -------------------------------------------------------------------------


Unit = tuple[int, str]  # a participant and a sequence


@dataclass(frozen=True)
class World:
    """The made-up benchmark in a folder, and what the cameras of its submissions see."""

    folder: Path
    benchmark: VideoBenchmark
    every: int = 1  # of the sequences is used

    @property
    def benchmark_folder(self) -> Path:
        return self.folder / "nb"

    @property
    def recipe(self) -> Recipe:
        scale = SCALES[self.benchmark.name]
        return Recipe(n_frames=N_FRAMES, scale=scale, n_points=500, n_strands=N_STRANDS)

    @property
    def units(self) -> list[Unit]:
        return [(p, s) for p, its in self.benchmark.test_sequences.items() for s in its]

    @property
    def chosen(self) -> list[Unit]:
        return self.units[:: self.every]

    def build(self) -> None:
        done = self.folder / f"{self.benchmark.name}.done"
        if done.exists():
            return
        people = {self.benchmark.name: self.benchmark.participants}
        sequences = MONO_TRAINING if self.benchmark is MONO else None
        make_benchmark(self.benchmark_folder, self.recipe, people, sequences=sequences, pointclouds=())
        for path in sorted((self.benchmark_folder / NVS.folder).rglob("cam_*.mp4")):
            part = path.with_suffix(".part.mp4")
            command = [find_ffmpeg(), "-v", "error", "-y", "-i", str(path), "-c:v", "libx264", "-crf", "14"]
            keys = ["-pix_fmt", "yuv420p", "-g", str(KEY_FRAMES), "-keyint_min", str(KEY_FRAMES)]
            subprocess.run([*command, *keys, "-sc_threshold", "0", str(part)], check=True)
            part.replace(path)
        for slot in self.benchmark.slots:
            self.render(slot)
        done.touch()

    def render(self, slot: VideoSlot) -> Frames:
        place = self.benchmark, slot.participant, slot.sequence
        path = self.folder / ("_".join(map(str, (place[0].name, *place[1:], slot.serial))) + ".npy")
        if not path.exists():
            views = (render_view(*place, t, slot.serial, self.recipe) for t in range(N_FRAMES))
            np.save(path, np.stack([image for image, _ in views]))
        frames: Frames = np.load(path)
        return frames

    def slots(self, unit: Unit) -> list[VideoSlot]:
        return [slot for slot in self.benchmark.slots if (slot.participant, slot.sequence) == unit]

    def renders(self, unit: Unit) -> dict[VideoSlot, Frames]:
        return {slot: self.render(slot) for slot in self.slots(unit)}

    def renders_of_another(self, unit: Unit, other: Unit) -> dict[VideoSlot, Frames]:
        """By the slots of `unit`, what the same cameras see of `other`."""
        return dict(zip(self.slots(unit), self.renders(other).values(), strict=True))


def compare(world: World, videos: Mapping[VideoSlot, Frames], crf: int = CRF) -> dict[VideoSlot, list[str]]:
    """The codes of the findings of each video, after it was encoded and decoded."""
    comparison = VideoComparison(world.benchmark, world.benchmark_folder)
    for slot, frames in videos.items():
        observe = comparison.observer(slot)
        height, width = frames.shape[1:3]
        for t, frame in enumerate(through_codec(frames, width, height, world.benchmark.fps, crf)):
            observe(t, frame)
    report = Report("", world.benchmark.name, "full")
    comparison.finish(report)
    if report.compared == "skipped":
        raise SystemExit(f"Nothing was compared: {report.notes}")
    codes: dict[VideoSlot, list[str]] = {slot: [] for slot in videos}
    by_path = {slot.path: slot for slot in videos}
    for finding in report.findings:
        codes[by_path[finding.path or ""]].append(finding.code)
        if VERBOSE:
            print("   ", finding.path, finding.code, finding.message, dict(finding.evidence), flush=True)
    return codes


# --- mistakes ----------------------------------------------------------------------------------

Planted = tuple[dict[VideoSlot, Frames], Mapping[VideoSlot, str]]  # the videos, and the code that each should get
Plant = Callable[[World, Unit, np.random.Generator], Planted]


def _in_all(code: str, spoil: Degrade) -> Plant:
    """The same mistake in all videos of a sequence."""

    def plant(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
        videos = {slot: spoil(mildly(frames, rng), rng) for slot, frames in world.renders(unit).items()}
        return videos, dict.fromkeys(videos, code)

    return plant


def _in_one(code: str, spoil: Degrade) -> Plant:
    """The mistake in one video of a sequence."""

    def plant(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
        videos = {slot: mildly(frames, rng) for slot, frames in world.renders(unit).items()}
        slot = list(videos)[rng.integers(len(videos))]
        videos[slot] = spoil(videos[slot], rng)
        return videos, {slot: code}

    return plant


def _swapped_cameras(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
    videos = {slot: mildly(frames, rng) for slot, frames in world.renders(unit).items()}
    a, b = (list(videos)[i] for i in rng.choice(len(videos), 2, replace=False))
    videos[a], videos[b] = videos[b], videos[a]
    return videos, {a: "wrong_camera", b: "wrong_camera"}


def _other_participant(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
    others = [u for u in world.units if u[0] != unit[0]]
    shown = world.renders_of_another(unit, others[rng.integers(len(others))])
    videos = {slot: mildly(frames, rng) for slot, frames in shown.items()}
    return videos, dict.fromkeys(videos, "wrong_participant")


def _other_sequence(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
    others = [u for u in world.units if u[0] == unit[0] and u != unit]
    if not others:
        return {}, {}
    shown = world.renders_of_another(unit, others[rng.integers(len(others))])
    videos = {slot: mildly(frames, rng) for slot, frames in shown.items()}
    return videos, dict.fromkeys(videos, "wrong_sequence")


def _equal_videos(world: World, unit: Unit, rng: np.random.Generator) -> Planted:
    videos = {slot: mildly(frames, rng) for slot, frames in world.renders(unit).items()}
    slots = list(videos)
    a, b = (slots[i] for i in rng.choice(len(slots), 2, replace=False))
    videos[b] = videos[a]
    return videos, {max(a, b, key=slots.index): "duplicate_video"}


def _reordered(order: Callable[[int, np.random.Generator], NDArray[np.integer]]) -> Degrade:
    return lambda frames, rng: frames[order(len(frames), rng)]


def _late(frames: int) -> Degrade:
    return _reordered(lambda n, rng: np.clip(np.arange(n) + frames, 0, n - 1))


def _two_swapped(n: int, rng: np.random.Generator) -> NDArray[np.integer]:
    order, t = np.arange(n), rng.integers(n // 4, 3 * n // 4)
    order[[t, t + 1]] = order[[t + 1, t]]
    return order


def _one_repeated(n: int, rng: np.random.Generator) -> NDArray[np.integer]:
    t = rng.integers(n // 3, 2 * n // 3)
    return np.insert(np.arange(n), t, t)[:n]


def _one_lost(n: int, rng: np.random.Generator) -> NDArray[np.integer]:
    return np.append(np.delete(np.arange(n), rng.integers(n // 3, 2 * n // 3)), n - 1)


def _tone_curve(exponent: float) -> Degrade:
    return lambda frames, rng: _as_frames(255 * (frames / 255.0) ** exponent)


def _transparent(frames: Frames, rng: np.random.Generator) -> Frames:
    return _as_frames(255 - rng.uniform(0.15, 0.35) * (255.0 - frames))


def _scaled(frames: Frames, rng: np.random.Generator) -> Frames:
    return reframed(frames, float(rng.choice([0.9, 1.1])))


def _moved(pixels: float) -> Degrade:
    def move(frames: Frames, rng: np.random.Generator) -> Frames:
        angle = rng.uniform(0, 2 * np.pi)
        return reframed(frames, 1, pixels * np.cos(angle), pixels * np.sin(angle))

    return move


def _cropped(frames: Frames, rng: np.random.Generator) -> Frames:
    """The middle four fifths, enlarged to the whole."""
    return reframed(frames, 1.25)


MISTAKES: Mapping[str, Plant] = {
    "two cameras swapped": _swapped_cameras,
    "mirrored": _in_all("mirrored_video", lambda f, rng: f[:, :, ::-1]),
    "upside down": _in_all("rotated_render", lambda f, rng: f[:, ::-1]),
    "turned by 180°": _in_all("rotated_render", lambda f, rng: f[:, ::-1, ::-1]),
    "another participant": _other_participant,
    "another sequence": _other_sequence,
    "one camera's video twice": _equal_videos,
    "red and blue swapped": _in_all("swapped_channels", lambda f, rng: f[..., ::-1]),
    "linear light": _in_all("wrong_tone", _tone_curve(2.2)),
    "gamma twice": _in_all("wrong_tone", _tone_curve(1 / 2.2)),
    "1 frame early (all videos)": _in_all("time_shift", _late(1)),
    "1 frame late (one video)": _in_one("time_shift", _late(-1)),
    "3 frames early (all videos)": _in_all("time_shift", _late(3)),
    "3 frames late (one video)": _in_one("time_shift", _late(-3)),
    "reversed": _in_all("reversed_video", lambda f, rng: f[::-1]),
    "sorted as text": _in_all("disordered_frames", _reordered(lambda n, rng: np.array(sorted(range(n), key=str)))),
    "two frames swapped": _in_one("disordered_frames", _reordered(_two_swapped)),
    "a frame repeated in the middle": _in_one("disordered_frames", _reordered(_one_repeated)),
    "a frame lost in the middle": _in_one("disordered_frames", _reordered(_one_lost)),
    "10 % too large or small": _in_all("wrong_framing", _scaled),
    "12 px off": _in_all("wrong_framing", _moved(12)),
    "24 px off": _in_all("wrong_framing", _moved(24)),
    "cropped": _in_all("wrong_framing", _cropped),
    "subject nearly transparent": _in_one("missing_subject", _transparent),
    "subject absent": _in_one("missing_subject", lambda f, rng: np.full_like(f, 255)),
    "enlarged from a 32nd": _in_all("blurred_video", lambda f, rng: enlarged(f, 4)),
}

VERBOSE = False
ONLY_NVS = ("12 px off", "24 px off", "enlarged from a 32nd")
ONLY_MONO = ("another sequence",)
_REFERENCES: dict[str, Reference] = {}


def _once(load: Callable[[Place, tuple[int, ...]], Reference]) -> Callable[[Place, tuple[int, ...]], Reference]:
    """The references are the same for all videos."""

    def expect(place: Place, timesteps: tuple[int, ...]) -> Reference:
        key = f"{place.benchmark.name} {place.participant} {place.sequence}"
        if key not in _REFERENCES:
            _REFERENCES[key] = load(place, timesteps)
        return _REFERENCES[key]

    return expect


def run_honest(world: World, name: str, seeds: range) -> tuple[int, Counter[str]]:
    """The number of videos, and the codes of false alarms."""
    n, alarms = 0, Counter[str]()
    for seed in seeds:
        for unit in world.chosen:
            rng = np.random.default_rng([seed, *repr(unit).encode(), *name.encode()])
            videos = {slot: HONEST[name](frames, rng) for slot, frames in world.renders(unit).items()}
            if VERBOSE:
                print(name, unit, [round(psnr(videos[slot], world.render(slot)), 1) for slot in videos])
            for codes in compare(world, videos, CRFS.get(name, CRF)).values():
                n += 1
                alarms.update(codes)
    return n, alarms


def run_mistake(world: World, name: str, seeds: range) -> tuple[int, int, Counter[str]]:
    """The number of videos with the mistake, how many were found, and the codes of other findings."""
    n, found, others = 0, 0, Counter[str]()
    for seed in seeds:
        for unit in world.chosen:
            rng = np.random.default_rng([seed, *repr(unit).encode(), *name.encode()])
            videos, expected = MISTAKES[name](world, unit, rng)
            if VERBOSE:
                print(name, unit)
            for slot, codes in compare(world, videos).items():
                n += slot in expected
                found += expected.get(slot, "") in codes
                others.update(code for code in codes if code != expected.get(slot))
    return n, found, others


def main() -> None:
    global VERBOSE
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benchmark", nargs="?", choices=("nvs", "mono"), default="nvs")
    parser.add_argument("--folder", type=Path, default=Path("compare-scratch"), help="made there once, and kept")
    parser.add_argument("--rounds", type=int, default=3, help="of each way to degrade, for each sequence")
    parser.add_argument("--mistake-rounds", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="use every Nth sequence")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--kinds", nargs="*", help="only these")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each finding")
    arguments = parser.parse_args()
    VERBOSE = arguments.verbose
    for module in (monocular, multiview):
        module.expect = _once(module.expect)
    monocular.find_surfaces = lambda: ELLIPSOIDS
    benchmark = NVS if arguments.benchmark == "nvs" else MONO
    world = World(arguments.folder, benchmark, arguments.every)
    world.build()

    def told(counter: Counter[str]) -> str:
        return ", ".join(f"{n} {code}" for code, n in sorted(counter.items())) or "–"

    def wanted(kinds: Mapping[str, object]) -> list[str]:
        others = ONLY_MONO if benchmark is NVS else ONLY_NVS
        return [name for name in kinds if name not in others and (not arguments.kinds or name in arguments.kinds)]

    def seeds(rounds: int) -> range:
        return range(arguments.seed, arguments.seed + rounds)

    start = time.monotonic()
    print("| honest renders | videos | false alarms | which |\n|---|---|---|---|")
    total, total_alarms = 0, 0
    for name in wanted(HONEST) if arguments.rounds else []:
        n, alarms = run_honest(world, name, seeds(arguments.rounds))
        total, total_alarms = total + n, total_alarms + alarms.total()
        print(f"| {name} | {n} | {alarms.total()} | {told(alarms)} |", flush=True)
    print(f"| together | {total} | {total_alarms} | |\n")
    print("| mistake | videos | found | missed | other findings |\n|---|---|---|---|---|")
    for name in wanted(MISTAKES) if arguments.mistake_rounds else []:
        n, found, alarms = run_mistake(world, name, seeds(arguments.mistake_rounds))
        print(f"| {name} | {n} | {found} | {n - found} | {told(alarms)} |", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

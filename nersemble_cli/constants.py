"""The benchmarks' constants, under the names and in the types of the official toolkit."""

from __future__ import annotations

from typing import Any

from nersemble_cli.core import benchmarks as _b

NERSEMBLE_ACCESS_FORM_URL = (
    "https://docs.google.com/forms/d/e/1FAIpQLScYsXR8NVCi4nvmCbFNL0P9swsGodMnbntUJeFejtuKUMsY7Q/viewform"
)

_LEVELS = {
    "participant": "per_person",
    "sequence": "per_sequence",
    "training sequence": "per_sequence",
    "camera": "per_cam",
    "timestep": "per_timestep",
    "image": "per_image",
}


def _assets(benchmark: _b.Benchmark) -> dict[str, Any]:
    """Level → asset → path below the benchmark's folder, with the placeholders of the official toolkit."""
    levels: dict[str, Any] = {}
    for asset in sorted(benchmark.assets, key=lambda asset: asset.name):
        path = asset.path.replace("{participant:", "{p_id:").replace("{sequence}", "{seq_name:}")
        path = path.replace("{serial}", "{serial:}").replace("{timestep}", "{timestep:}")
        levels.setdefault(_LEVELS[asset.per], {})[asset.name] = path
    return levels


FLAME_TRACKING_VERSION_MAPPING = {1: "flame2023_tracking", 2: "flame2023_tracking_v2"}
FLAME_TRACKING_CURRENT_VERSION = max(FLAME_TRACKING_VERSION_MAPPING)

ASSETS = {benchmark.folder: _assets(benchmark) for benchmark in _b.BENCHMARKS.values()}
ASSETS[_b.MONO.folder]["test_assets"] = [FLAME_TRACKING_VERSION_MAPPING[FLAME_TRACKING_CURRENT_VERSION]]
OPTIONAL_ASSETS = [
    asset.name for benchmark in _b.BENCHMARKS.values() for asset in benchmark.assets if not asset.by_default
]

SERIALS = list(_b.SERIALS)

BENCHMARK_NVS_IDS_AND_SEQUENCES = [(p, s) for p, sequences in _b.NVS.test_sequences.items() for s in sequences]
BENCHMARK_NVS_TRAIN_SERIALS = list(_b.NVS.train_serials)
BENCHMARK_NVS_HOLD_OUT_SERIALS = list(_b.NVS.hold_out_serials)

BENCHMARK_MONO_FLAME_AVATAR_IDS = list(_b.MONO.participants)
BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TRAIN = list(_b.MONO_TRAIN_SEQUENCES)
BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST = list(_b.MONO_TEST_SEQUENCES)
BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES = [
    *BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TRAIN,
    *BENCHMARK_MONO_FLAME_AVATAR_SEQUENCES_TEST,
]
BENCHMARK_MONO_FLAME_AVATAR_TRAIN_SERIAL = _b.MONO_TRAIN_SERIAL
BENCHMARK_MONO_FLAME_AVATAR_HOLD_OUT_SERIALS = list(_b.MONO.hold_out_serials)
BENCHMARK_MONO_FLAME_AVATAR_SERIALS = list(_b.MONO.submission_serials)

BENCHMARK_SVFR_IDS = list(_b.SVFR.participants)
BENCHMARK_SVFR_IMAGE_KEYS = {p: [tuple(key) for key in keys] for p, keys in _b.SVFR.image_keys.items()}

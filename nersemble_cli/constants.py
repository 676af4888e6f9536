"""The benchmarks' constants under the names and in the types of the official toolkit."""

from __future__ import annotations

from nersemble_cli.core import benchmarks as _b

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

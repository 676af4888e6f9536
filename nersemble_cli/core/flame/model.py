"""The FLAME model's files: pickles of Python 2, read without chumpy, scipy or trust."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import FLAME_FACE_COUNT, FLAME_VERTEX_COUNT
from nersemble_cli.core.errors import InvalidInputError, MissingFileError, UsageError
from nersemble_cli.core.formats.npy import read_npy_header
from nersemble_cli.core.formats.pickles import read_pickle
from nersemble_cli.core.settings import FLAME_VARIABLE, find_flame_model

JOINTS = ("global", "neck", "jaw", "left eye", "right eye")
STATIC_EMBEDDING = "flame_static_embedding.pkl"
DYNAMIC_EMBEDDING = "flame_dynamic_embedding.npy"
EMBEDDINGS_PAGE = "https://github.com/soubhiksanyal/RingNet/tree/master/flame_model"
"""Where both embeddings come from, also for the official toolkit."""
N_SHAPE = 300
N_EXPRESSION = 100
_JAW = JOINTS.index("jaw")
_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_WHERE = (
    "Register at https://flame.is.tue.mpg.de, download FLAME 2023 and put flame2023.pkl into ~/.cache/FLAME/ ,"
    f" or name it with --flame-model or {FLAME_VARIABLE}."
)


@dataclass(frozen=True, eq=False)
class Embedding:
    """Landmarks on a mesh: `faces` (…) the triangles they are in, `barycentric` (…, 3) where in them."""

    faces: NDArray[np.int64]
    barycentric: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FlameModel:
    """FLAME as its file has it, V vertices and F triangles, metres, y up, the face towards +z.

    `v_template` (V, 3), `shapedirs` (V, 3, 400: 300 shape, then 100 expression), `posedirs` (V, 3, 36),
    `joint_regressor` (5, V), `weights` (V, 5), all float64; `parents` the parent of each of the five joints,
    -1 for the first; `faces` (F, 3) int64. `static` (51,) and `dynamic` (79, 17) embeddings of the landmarks,
    None if their files are not beside the model.
    """

    v_template: NDArray[np.float64]
    shapedirs: NDArray[np.float64]
    posedirs: NDArray[np.float64]
    joint_regressor: NDArray[np.float64]
    weights: NDArray[np.float64]
    parents: tuple[int, ...]
    faces: NDArray[np.int64]
    static: Embedding | None = None
    dynamic: Embedding | None = None


def unpickle(file: BinaryIO, path: Path) -> Any:
    """The object pickled in `file`, made of plain Python objects and numpy arrays; nothing of it is run.

    Raises `InvalidInputError` if it is damaged or holds anything beyond what FLAME's files need; `path` is for the
    message.
    """
    try:
        return read_pickle(file)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} was refused: it {error.message}.", _WHERE) from None


def load_flame_model(path: str | Path | None = None) -> FlameModel:
    """The FLAME 2023 model at `path`, else at NERSEMBLE_FLAME_MODEL, else `~/.cache/FLAME/flame2023.pkl`.

    Landmark embeddings are loaded if they are beside it. The last model is remembered. Raises `MissingFileError`
    if there is none, `InvalidInputError` if the file is refused, damaged, or not FLAME with a jaw; warns
    (UserWarning) if its name is that of another FLAME model.
    """
    try:
        return _load_flame_model(find_flame_model(path))
    except (MissingFileError, InvalidInputError) as error:
        error.exit_code = UsageError.exit_code  # the model is a setting, not data
        raise


def _load_flame_model(found: Path) -> FlameModel:
    if not found.is_file():
        raise MissingFileError(f"No FLAME model at {found}.", _WHERE)
    if "no_jaw" in found.name:
        raise InvalidInputError(f"{found} is FLAME without a jaw, but the tracking moves it.", _WHERE)
    if "2023" not in found.name:
        warnings.warn(
            f"{found.name} may be another FLAME than 2023 (flame2023.pkl), for which the tracking was made: its"
            " meshes would not fit the images.",
            stacklevel=3,
        )
    status = found.stat()
    return _load(found, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)
def _load(path: Path, mtime: int, size: int) -> FlameModel:
    with path.open("rb") as file:
        content = unpickle(file, path)
    if not isinstance(content, dict) or (missing := [key for key in _REQUIRED if key not in content]):
        what = f"it lacks {', '.join(missing)}" if isinstance(content, dict) else "it is not a dictionary"
        raise InvalidInputError(f"{path} is not a FLAME model: {what}.", _WHERE)
    n_joints = len(JOINTS)
    shapes = {
        "v_template": (FLAME_VERTEX_COUNT, 3),
        "shapedirs": (FLAME_VERTEX_COUNT, 3, N_SHAPE + N_EXPRESSION),
        "posedirs": (FLAME_VERTEX_COUNT, 3, 9 * (n_joints - 1)),
        "J_regressor": (n_joints, FLAME_VERTEX_COUNT),
        "weights": (FLAME_VERTEX_COUNT, n_joints),
    }
    arrays = {key: _numbers(content[key], shape, key, path) for key, shape in shapes.items()}
    faces = _indices(content["f"], (FLAME_FACE_COUNT, 3), FLAME_VERTEX_COUNT, "f", path)
    parents = _parents(content["kintree_table"], path)
    if not arrays["weights"][:, _JAW].any():
        raise InvalidInputError(f"{path} is FLAME without a jaw, but the tracking moves it.", _WHERE)
    if (arrays["weights"] < 0).any() or not np.allclose(arrays["weights"].sum(1), 1, atol=1e-3):
        raise InvalidInputError(f"{path}: the weights of a vertex are not a share for each joint.", _WHERE)
    return FlameModel(
        v_template=arrays["v_template"],
        shapedirs=arrays["shapedirs"],
        posedirs=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        parents=parents,
        faces=faces,
        static=_load_embedding(path.parent / STATIC_EMBEDDING, (51,)),
        dynamic=_load_embedding(path.parent / DYNAMIC_EMBEDDING, (79, 17)),
    )


def _parents(table: Any, path: Path) -> tuple[int, ...]:
    """The parent of each joint: -1 for the first, whose parent is stored as 2³²-1, else an earlier one."""
    found = _numbers(table, (2, len(JOINTS)), "kintree_table", path)[0, 1:].tolist()
    if not all(parent in range(joint) for joint, parent in enumerate(found, start=1)):
        raise InvalidInputError(f"{path}: kintree_table has the parents {found}, expected earlier joints.", _WHERE)
    return (-1, *map(int, found))


def _numbers(value: Any, shape: tuple[int, ...], key: str, path: Path) -> NDArray[np.float64]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise InvalidInputError(f"{path}: {key} is not an array of numbers.", _WHERE)
    if value.shape != shape or not np.isfinite(value).all():
        found = value.shape if value.shape != shape else "not finite"
        raise InvalidInputError(f"{path}: {key} is {found}, expected finite numbers {shape}.", _WHERE)
    return value.astype(np.float64)


def _indices(value: Any, shape: tuple[int, ...], end: int, key: str, path: Path) -> NDArray[np.int64]:
    """Whole numbers from 0 to `end` - 1. FLAME's embeddings store them as floats too."""
    numbers = _numbers(value, shape, key, path)
    if (numbers != np.floor(numbers)).any() or numbers.min() < 0 or numbers.max() >= end:
        raise InvalidInputError(
            f"{path}: {key} has values that are not whole numbers from 0 to {end - 1}.", _WHERE
        )
    return numbers.astype(np.int64)


def _skip_npy_header(file: BinaryIO, path: Path) -> None:
    try:
        read_npy_header(file)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path} {error.message}.", _WHERE) from None


def _load_embedding(path: Path, shape: tuple[int, ...]) -> Embedding | None:
    """The landmark embedding at `path`, a pickle with or without numpy's header; None if there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if path.suffix == ".npy":
            _skip_npy_header(file, path)
        content = unpickle(file, path)
    if not isinstance(content, dict) or not {"lmk_face_idx", "lmk_b_coords"}.issubset(content):
        raise InvalidInputError(f"{path} does not hold lmk_face_idx and lmk_b_coords.", _WHERE)
    faces = _indices(content["lmk_face_idx"], shape, FLAME_FACE_COUNT, "lmk_face_idx", path)
    return Embedding(faces, _numbers(content["lmk_b_coords"], (*shape, 3), "lmk_b_coords", path))

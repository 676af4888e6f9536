"""Loading the FLAME model's files: pickles of Python 2, read without chumpy, scipy or any trust."""

from __future__ import annotations

import functools
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT
from nersemble_cli.core.errors import InvalidInputError, MissingFileError
from nersemble_cli.core.settings import FLAME_VARIABLE, find_flame_model

JOINTS = ("global", "neck", "jaw", "left eye", "right eye")
STATIC_EMBEDDING = "flame_static_embedding.pkl"
DYNAMIC_EMBEDDING = "flame_dynamic_embedding.npy"
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
    """Landmarks on a mesh: `faces` (…) the triangles they lie in, `barycentric` (…, 3) where in them."""

    faces: NDArray[np.int64]
    barycentric: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FlameModel:
    """FLAME as its file has it, V vertices and F triangles, metres, y up, the face towards +z.

    `v_template` (V, 3), `shapedirs` (V, 3, 400: 300 shape, then 100 expression), `posedirs` (V, 3, 36),
    `joint_regressor` (5, V), `weights` (V, 5), all float64; `parents` the parent of each of the five joints,
    -1 for the first; `faces` (F, 3) int64. `static` (51,) and `dynamic` (79, 17) embeddings of the landmarks,
    None if their files do not lie beside the model.
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


class _Stub:
    """Stands in for a class that is neither needed nor trusted: keeps the pickled state, runs nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> _Stub:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        # State is a dict, or a pair of it and the state of __slots__.
        self.state = next(
            (s for s in (state if isinstance(state, tuple) else (state,)) if isinstance(s, dict)), {}
        )


class _Chumpy(_Stub):
    """`chumpy.ch.Ch`: an array in the attribute `x`."""


class _Sparse(_Stub):
    """`scipy.sparse.csc_matrix`: `data`, `indices`, `indptr` and `_shape`."""


def _latin1(text: str, encoding: str) -> bytes:
    """`_codecs.encode` for the one encoding in which Python 2's strings are pickled."""
    if encoding != "latin1":
        raise InvalidInputError(f"encoding {encoding!r} in a pickle, expected latin1")
    return text.encode("latin1")


def _rebuild(cls: type, base: type, state: object) -> object:
    """`copyreg._reconstructor` for stubs only."""
    if not (isinstance(cls, type) and issubclass(cls, _Stub)):
        raise InvalidInputError(f"reconstruction of {cls!r} in a pickle")
    return cls()


def _allowed() -> Mapping[tuple[str, str], Any]:
    """Everything that a pickle may name, with what it gets for it."""
    reconstruct = np.zeros(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[package, "_reconstruct"] = reconstruct
        table[package, "scalar"] = scalar
    for package in ("numpy.core.numeric", "numpy._core.numeric"):
        table[package, "_frombuffer"] = np.zeros(1).__reduce_ex__(5)[0]
    for module in ("chumpy", "chumpy.ch"):
        table[module, "Ch"] = _Chumpy
    for module in ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse._csc"):
        table[module, "csc_matrix"] = _Sparse
    for module in ("copy_reg", "copyreg"):
        table[module, "_reconstructor"] = _rebuild
    for module in ("__builtin__", "builtins"):
        table[module, "object"] = object
        table[module, "set"] = set
    return table


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path
        self._table = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._table:
            raise InvalidInputError(
                f"{self._path} was refused: unpickling it would run {module}.{name}, which no FLAME file needs.",
                f"Nothing of it was run. {_WHERE}",
            )
        return self._table[module, name]


def unpickle(file: BinaryIO, path: Path) -> Any:
    """The object pickled in `file`, made of plain Python objects and numpy arrays alone.

    Raises `InvalidInputError` if it is damaged or names anything beyond a short list of what FLAME's files hold;
    `path` is for the message.
    """
    try:
        return _plain(_Unpickler(file, path).load())
    except InvalidInputError:
        raise
    except Exception as error:
        # A damaged pickle raises anything.
        raise InvalidInputError(f"{path} cannot be unpickled: {type(error).__name__}: {error}.", _WHERE) from error


def _plain(value: Any) -> Any:
    """Stubs turned into arrays, in dictionaries and arrays of one object too."""
    if isinstance(value, _Chumpy):
        return _plain(value.state["x"])
    if isinstance(value, _Sparse):
        state = value.state
        shape = state["_shape"]
        dense = np.zeros((int(shape[0]), int(shape[1])))
        columns = np.repeat(np.arange(len(state["indptr"]) - 1), np.diff(state["indptr"]))
        np.add.at(dense, (state["indices"], columns), state["data"])
        return dense
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        return _plain(value.item())
    return value


def load_flame_model(path: str | Path | None = None) -> FlameModel:
    """The FLAME 2023 model at `path`, else at NERSEMBLE_FLAME_MODEL, else `~/.cache/FLAME/flame2023.pkl`.

    Landmark embeddings are loaded if they lie beside it. The last model is remembered. Raises `MissingFileError`
    if there is none, `InvalidInputError` if the file is refused, damaged, or not FLAME with a jaw; warns
    (UserWarning) if its name is that of another FLAME model.
    """
    found = find_flame_model(path)
    if not found.is_file():
        raise MissingFileError(f"No FLAME model at {found}.", _WHERE)
    if "no_jaw" in found.name:
        raise InvalidInputError(f"{found} is FLAME without a jaw, but the tracking moves it.", _WHERE)
    if "2023" not in found.name:
        warnings.warn(
            f"{found.name} may be another FLAME than 2023 (flame2023.pkl), for which the tracking was made: its"
            " meshes would not fit the images.",
            stacklevel=2,
        )
    status = found.stat()
    return _load(found, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=1)
def _load(path: Path, mtime: int, size: int) -> FlameModel:
    with path.open("rb") as file:
        content = unpickle(file, path)
    if not isinstance(content, dict) or (missing := [key for key in _REQUIRED if key not in content]):
        what = f"it lacks {', '.join(missing)}" if isinstance(content, dict) else "it is no dictionary"
        raise InvalidInputError(f"{path} is no FLAME model: {what}.", _WHERE)
    shapes = {
        "v_template": (FLAME_VERTEX_COUNT, 3),
        "shapedirs": (FLAME_VERTEX_COUNT, 3, N_SHAPE + N_EXPRESSION),
        "posedirs": (FLAME_VERTEX_COUNT, 3, 9 * (len(JOINTS) - 1)),
        "J_regressor": (len(JOINTS), FLAME_VERTEX_COUNT),
        "weights": (FLAME_VERTEX_COUNT, len(JOINTS)),
    }
    arrays = {key: _numbers(content[key], shape, key, path) for key, shape in shapes.items()}
    table = np.asarray(content["kintree_table"])
    faces = np.asarray(content["f"])
    if (
        table.shape != (2, len(JOINTS))
        or faces.ndim != 2
        or faces.shape[1] != 3
        or faces.max() >= FLAME_VERTEX_COUNT
    ):
        raise InvalidInputError(
            f"{path} is no FLAME model: kintree_table {table.shape}, f {faces.shape}; expected (2, 5), (F, 3).",
            _WHERE,
        )
    if not arrays["weights"][:, _JAW].any():
        raise InvalidInputError(f"{path} is FLAME without a jaw, but the tracking moves it.", _WHERE)
    return FlameModel(
        v_template=arrays["v_template"],
        shapedirs=arrays["shapedirs"],
        posedirs=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        weights=arrays["weights"],
        # The root's parent is stored as 2³²-1.
        parents=(-1, *(int(parent) for parent in table[0, 1:])),
        faces=faces.astype(np.int64),
        static=_load_embedding(path.parent / STATIC_EMBEDDING, (51,)),
        dynamic=_load_embedding(path.parent / DYNAMIC_EMBEDDING, (79, 17)),
    )


def _numbers(value: Any, shape: tuple[int, ...], key: str, path: Path) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{path}: {key} is no array of numbers.", _WHERE) from error
    if array.shape != shape or not np.isfinite(array).all():
        found = array.shape if array.shape != shape else "not finite"
        raise InvalidInputError(f"{path}: {key} is {found}, expected finite numbers {shape}.", _WHERE)
    return array


def _load_embedding(path: Path, shape: tuple[int, ...]) -> Embedding | None:
    """The landmark embedding at `path`, a pickle with or without numpy's header; None if there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if path.suffix == ".npy":
            try:
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
            except ValueError as error:
                raise InvalidInputError(f"{path} is no .npy file: {error}.", _WHERE) from error
        content = unpickle(file, path)
    if not isinstance(content, dict) or not {"lmk_face_idx", "lmk_b_coords"}.issubset(content):
        raise InvalidInputError(f"{path} has no lmk_face_idx and lmk_b_coords.", _WHERE)
    faces = _numbers(content["lmk_face_idx"], shape, "lmk_face_idx", path)
    return Embedding(faces.astype(np.int64), _numbers(content["lmk_b_coords"], (*shape, 3), "lmk_b_coords", path))

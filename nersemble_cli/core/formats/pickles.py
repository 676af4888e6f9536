"""Pickles of numpy arrays, read without running anything of them.

Python's own unpickler calls what a pickle names; even with a list of allowed names, numpy's constructors can be
handed a state that makes them read any memory. So the instructions are interpreted here. They make only plain
Python values and arrays whose bytes are in the file; classes and functions stay names. What FLAME's files and
dictionaries of arrays don't need is refused.
Source of the instructions: the module `pickletools` of Python's standard library.
"""

from __future__ import annotations

import math
import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError

LARGEST = 1 << 30  # bytes; FLAME 2023 takes 52 MB
_LARGEST_DENSE = 1 << 24  # entries of a sparse matrix that is filled up; FLAME's has 25,115
_MOST_VALUES = 100_000  # in the whole structure, each as often as it is referred to
_DEEPEST = 32
_DTYPES = {
    f"{kind}{size}" for kind, sizes in {"f": "248", "i": "1248", "u": "1248", "b": "1"}.items() for size in sizes
}
_OBJECT = "O8"
_CHUMPY, _SPARSE = ("chumpy", "chumpy.ch"), ("scipy.sparse", "scipy.sparse.csc", "scipy.sparse._csc")
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """What a pickle wants to import: it is not."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class _Dtype:
    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass(eq=False)
class _Array:
    """An array to be; `value` is an array, or for one object (dtype O, no dimensions) that object."""

    value: Any = None


@dataclass(eq=False)
class _Object:
    """An instance of a class that is only named: its state."""

    cls: _Name
    state: dict[str, Any] = field(default_factory=dict)


def _refuse(what: object) -> InvalidInputError:
    return InvalidInputError(f"would run {what}, which no FLAME file needs. Nothing of it was run")


def _need(condition: object, what: str) -> None:
    if not condition:
        raise InvalidInputError(what)


# What a pickle may call, by name. Each gets the arguments that are in the pickle.


def _reconstruct(cls: Any, shape: Any, kind: Any) -> _Array:
    _need(
        cls == _Name("numpy", "ndarray") and shape == (0,) and kind in ("b", b"b"),
        "has an array that is built oddly",
    )
    return _Array()


def _make_dtype(code: Any, align: Any = 0, copy: Any = 1) -> _Dtype:
    _need(isinstance(code, str) and code in {*_DTYPES, _OBJECT}, f"has an array of type {code!r:.40}")
    return _Dtype(code)


def _make_scalar(dtype: Any, data: Any) -> Any:
    _need(isinstance(dtype, _Dtype) and dtype.code != _OBJECT, "has a scalar that is built oddly")
    return _from_bytes(dtype, (), False, data)[()]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    _need(
        isinstance(dtype, _Dtype) and dtype.code != _OBJECT and order in ("C", "F"),
        "has an array that is built oddly",
    )
    return _Array(_from_bytes(dtype, shape, order == "F", data))


def _encode(text: Any, encoding: Any) -> bytes:
    _need(isinstance(text, str) and encoding == "latin1", f"has text in the encoding {encoding!r:.40}")
    return bytes(text, "latin1")


def _reconstructor(cls: Any, base: Any, state: Any) -> _Object:
    return _instance(cls)


def _instance(cls: Any, *arguments: Any) -> _Object:
    if not isinstance(cls, _Name) or cls not in _CLASSES:
        raise _refuse(cls)
    return _Object(cls)


def _no_bytes() -> bytes:
    """Python 3 pickles b"" so for Python 2."""
    return b""


def _as_list(values: Any = ()) -> list[Any]:
    _need(isinstance(values, (list, tuple)), "has a set that is built oddly")
    return list(values)


_CLASSES = {
    *(_Name(module, "Ch") for module in _CHUMPY),
    *(_Name(module, "csc_matrix") for module in _SPARSE),
}
_CALLS: Mapping[_Name, Callable[..., Any]] = {
    _Name("numpy", "dtype"): _make_dtype,
    _Name("_codecs", "encode"): _encode,
    **{_Name(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{_Name(f"numpy.{core}.multiarray", "scalar"): _make_scalar for core in ("core", "_core")},
    **{_Name(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    **{_Name(module, "_reconstructor"): _reconstructor for module in ("copy_reg", "copyreg")},
    **{_Name(module, "bytes"): _no_bytes for module in ("__builtin__", "builtins")},
    **{_Name(module, "set"): _as_list for module in ("__builtin__", "builtins")},
}
_NAMES = {
    *_CALLS,
    *_CLASSES,
    _Name("numpy", "ndarray"),
    *(_Name(module, "object") for module in ("__builtin__", "builtins")),
}


def _from_bytes(dtype: _Dtype, shape: Any, is_fortran: bool, data: Any) -> NDArray[Any]:
    """An array of exactly the bytes in the pickle."""
    _need(
        isinstance(shape, tuple) and len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape),
        f"has an array of shape {shape!r:.60}",
    )
    if isinstance(data, str):
        data = data.encode("latin1")  # a string of Python 2
    _need(isinstance(data, bytes), "has an array whose values are not bytes")
    numpy_dtype = dtype.numpy()
    expected = math.prod(shape) * numpy_dtype.itemsize
    _need(
        len(data) == expected, f"has an array {shape} of {dtype.code} with {len(data)} bytes, expected {expected}"
    )
    return np.frombuffer(data, numpy_dtype).reshape(shape, order="F" if is_fortran else "C")


def _build(target: Any, state: Any) -> None:
    """Gives an array, a dtype or an instance its state. Nothing else has one."""
    if isinstance(target, _Dtype):
        _need(
            isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", ">", "|", "="),
            "has an odd byte order",
        )
        target.order = state[1]
    elif isinstance(target, _Array):
        _need(isinstance(state, tuple) and len(state) == 5 and isinstance(state[2], _Dtype), "has an odd array")
        _, shape, dtype, is_fortran, data = state
        if dtype.code == _OBJECT:
            _need(shape == () and isinstance(data, list) and len(data) == 1, "has an array of objects")
            (target.value,) = data
        else:
            target.value = _from_bytes(dtype, shape, bool(is_fortran), data)
    elif isinstance(target, _Object):
        # State is a dict, or a pair of it and the state of __slots__.
        states = state if isinstance(state, tuple) else (state,)
        target.state = next((s for s in states if isinstance(s, dict)), {})
    else:
        raise InvalidInputError(f"changes {target!r:.40}")


class _Machine:
    """Interprets the instructions of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop_to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise InvalidInputError("has no mark where one is needed")

    def pop(self) -> Any:
        value = self.stack.pop()
        _need(value is not _MARK, "has a mark where a value is needed")
        return value

    def run(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                return self.pop()
            self.step(opcode.name, argument)
        raise InvalidInputError("does not end")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(argument)])
        elif name in ("LIST", "TUPLE", "FROZENSET"):
            items = self.pop_to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            items = [self.pop() for _ in range(n)]
            stack.append(tuple(reversed(items)))
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [self.pop()] if name == "APPEND" else self.pop_to_mark()
            _need(type(stack[-1]) is list, "appends to what is not a list")
            stack[-1].extend(items)
        elif name in ("DICT", "SETITEM", "SETITEMS"):
            self._set_items(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._push_name(name, argument)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.pop(), self.pop()
            _need(isinstance(arguments, tuple), "has arguments that are not a tuple")
            stack.append(_instance(function) if name == "NEWOBJ" else self._call(function, arguments))
        elif name == "BUILD":
            state = self.pop()
            _build(stack[-1], state)
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self.pop_to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            raise InvalidInputError(f"has the instruction {name}, which no FLAME file needs")

    def _set_items(self, name: str) -> None:
        if name == "SETITEM":
            value, key = self.pop(), self.pop()
            items = [key, value]
        else:
            items = self.pop_to_mark()
        if name == "DICT":
            self.stack.append({})
        target = self.stack[-1]
        _need(type(target) is dict and len(items) % 2 == 0, "sets items of what is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A key of nested tuples would take exponential time to hash.
            _need(type(key) in (str, int, bytes), f"has a dictionary with a key of type {type(key).__name__}")
            target[key] = value

    def _push_name(self, instruction: str, argument: Any) -> None:
        if instruction == "GLOBAL":
            module, _, attribute = argument.partition(" ")
        else:
            attribute, module = self.pop(), self.pop()
        name = _Name(str(module), str(attribute))
        if name not in _NAMES:
            raise _refuse(name)
        self.stack.append(name)

    def _call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if isinstance(function, _Name) and function in _CLASSES:
            return _Object(function)
        if not isinstance(function, _Name) or function not in _CALLS:
            raise _refuse(function)
        return _CALLS[function](*arguments)


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: Mapping[str, Callable[[], Any]] = {
    "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": list,
}  # fmt: skip
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip


class _Plain:
    """Turns what was built into plain values, and counts them: references make a short file a large structure."""

    def __init__(self) -> None:
        self.n_values = 0

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self.n_values += 1
        _need(self.n_values <= _MOST_VALUES and depth <= _DEEPEST, "has a structure that is too large or too deep")
        if isinstance(value, _Array):
            return (
                self(value.value, depth + 1) if isinstance(value.value, (dict, _Array, _Object)) else value.value
            )
        if isinstance(value, _Object):
            if value.cls.name == "Ch":
                _need("x" in value.state, "has a chumpy array without values")
                return self(value.state["x"], depth + 1)
            return self._dense(value.state, depth)
        if isinstance(value, dict):
            return {key: self(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [self(item, depth + 1) for item in value]
            return tuple(items) if isinstance(value, tuple) else items
        _need(not isinstance(value, (_Name, _Dtype)), f"holds {value}")
        return value

    def _dense(self, state: dict[str, Any], depth: int) -> NDArray[np.float64]:
        """A column-compressed sparse matrix filled up, float64."""
        parts = {key: self(state.get(key), depth + 1) for key in ("data", "indices", "indptr", "_shape")}
        shape = parts["_shape"]
        _need(
            isinstance(shape, tuple)
            and len(shape) == 2
            and all(type(n) is int and n >= 0 for n in shape)
            and math.prod(shape) <= _LARGEST_DENSE,
            f"has a sparse matrix of shape {shape!r:.60}",
        )
        arrays = [parts[key] for key in ("data", "indices", "indptr")]
        _need(
            all(isinstance(a, np.ndarray) and a.ndim == 1 for a in arrays),
            "has a sparse matrix without its arrays",
        )
        data, indices, ends = arrays
        _need(
            indices.dtype.kind in "iu" and ends.dtype.kind in "iu" and data.dtype.kind in "fiu",
            "has an odd sparse matrix",
        )
        steps = np.diff(ends.astype(np.int64))
        _need(
            len(ends) == shape[1] + 1
            and len(data) == len(indices) == int(steps.sum())
            and (steps >= 0).all()
            and (not len(indices) or (int(indices.min()) >= 0 and int(indices.max()) < shape[0])),
            "has a sparse matrix whose indices do not fit its shape",
        )
        dense = np.zeros(shape)
        np.add.at(dense, (indices.astype(np.int64), np.repeat(np.arange(shape[1]), steps)), data)
        return dense


def read_pickle(file: BinaryIO) -> Any:
    """What is pickled from the position of `file` on: numbers, strings, lists, tuples, dictionaries and arrays.

    `chumpy` arrays and `scipy.sparse.csc_matrix` come as plain arrays, the latter filled up. Nothing in the file
    is run or imported, and no allocation is larger than the file, but for sparse matrices of at most 128 MB.
    Raises `InvalidInputError` with the reason, as a clause, for everything else and for a damaged pickle; OSError.
    """
    data = file.read(LARGEST + 1)
    _need(len(data) <= LARGEST, f"is larger than {LARGEST:,} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools decodes odd escapes with a DeprecationWarning
            return _Plain()(_Machine().run(data))
    except InvalidInputError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, EOFError, RecursionError) as error:
        # pickletools raises ValueError; an empty stack IndexError, an unknown memo KeyError.
        raise InvalidInputError(f"is damaged ({type(error).__name__}: {error!s:.80})") from None

"""Pickles that may hold numbers, text, containers and arrays of bytes, read without running anything they ask for.

A pickle can name any function to be called. Here a name is either that of a stand-in below, which only keeps what it is
given, or it is refused; not even NumPy's own constructors are called with values from the file.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import ZooError


def read_dict(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of Python 2 or 3; its arrays, of unsigned bytes, as NumPy arrays.

    Raises:
        ZooError: the file cannot be read, asks for a name other than those of NumPy's arrays, or holds no dictionary.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise any error there is
        raise ZooError(f"cannot read {path}: {error or type(error).__name__}") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} holds a {type(content).__name__}, not a dictionary")
    # the strings of Python 2 arrive as bytes
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    try:
        return {key: value.values() if isinstance(value, _Array) else value for key, value in named.items()}
    except ZooError as error:
        raise ZooError(f"{path} is damaged: {error}") from error


class _DataType:
    """Stands in for numpy.dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment, of no meaning for single bytes


class _Array:
    """Stands in for numpy.ndarray."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state

    def values(self) -> np.ndarray:
        match self.state:
            case (_, tuple(shape), _DataType(code="u1" | "|u1"), order, bytes(content)):
                try:
                    return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if order else "C")
                except (ValueError, TypeError) as error:
                    raise ZooError(f"{len(content)} bytes of data for an array of shape {shape}") from error
        raise ZooError("it holds an array of something other than unsigned bytes")


def _reconstruct(*_: Any) -> _Array:
    """Stands in for the function by which a pickle makes an array, empty at first."""
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for _codecs.encode, by which Python 3 writes bytes into a pickle for Python 2."""
    if encoding != "latin1":
        raise ZooError(f"it encodes bytes as {encoding!r}, not as latin1")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise ZooError(f"it asks for {module}.{name}, and only arrays of bytes are read from pickles") from None

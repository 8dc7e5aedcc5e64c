"""Arrays and tensors that joblib wrote, read without running anything in the file.

joblib writes a pickle, and an array's bytes behind the description of it, in the middle of the pickle; torch's tensors are pickled as a
function's arguments, and their storages as the bytes of a file of torch's own. Only these are rebuilt; any other name is refused.

Names alone make no file safe: a NumPy dtype whose state a file sets calls any bytes Python objects, and views reach beyond their memory.
So no object of NumPy is made but here, of numbers that were looked at.
"""

from __future__ import annotations

import importlib
import io
import math
import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy import ndarray

# What Python's and torch's unpicklers may raise over a damaged file.
BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RuntimeError,
    AssertionError,
    struct.error,
)
# Codes of dtypes that are numbers; NumPy takes many more words, and evaluates some.
NUMBERS = re.compile("[biuf][0-9]{1,2}")
# Of an expanded tensor (stride 0) a few bytes stand for any number of values; hands of hours of video have fewer.
MOST_VALUES = 100_000_000


def read_joblib(path: Path) -> Any:
    """What the file holds: lists, tuples, dictionaries, numbers, text, and arrays, tensors among them; ValueError that names the file otherwise."""
    with path.open("rb") as stream:
        try:
            return _Reader(stream).load()
        except BROKEN as error:
            said = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"{path} must be a file of joblib.dump, not compressed, with arrays and tensors only: {said}") from error


class _Dtype:
    """What a file says of a NumPy dtype: its code, and in its state the order of bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        self._code = code
        self._order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """NumPy's own, made anew."""
        if not NUMBERS.fullmatch(self._code):
            raise pickle.UnpicklingError(f"an array of {self._code} is not read")
        return np.dtype(self._code).newbyteorder(self._order)


class _ArrayBehind:
    """joblib's note that an array follows: shape, dtype, order of its axes, and how its bytes are aligned."""


def _array_behind(note: _ArrayBehind, stream: BinaryIO) -> ndarray:
    """The array, read from where the stream is."""
    told = vars(note)
    dtype, shape = told["dtype"].dtype(), tuple(int(length) for length in told["shape"])
    if told.get("numpy_array_alignment_bytes") is not None:
        stream.read(stream.read(1)[0])
    values = np.frombuffer(stream.read(math.prod(shape) * dtype.itemsize), dtype)
    return values.reshape(shape, order="F" if told["order"] == "F" else "C")


_set_attributes: Any = pickle._Unpickler.dispatch[pickle.BUILD[0]]


class _Reader(pickle._Unpickler):
    """Python's own unpickler, whose instructions can be added to: the one that sets an object's attributes also reads the array behind it."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    del dispatch[pickle.BYTEARRAY8[0]]  # takes as much memory as the file says, before it looks for the bytes
    stack: list[Any]

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._behind = stream

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _NAMES[module, name]

    def load_build(self) -> None:
        if not isinstance(self.stack[-2], (_ArrayBehind, _Dtype)):  # neither functions nor classes are changed by a file
            raise pickle.UnpicklingError(f"it changes {type(self.stack[-2]).__name__}")
        _set_attributes(self)
        if isinstance(self.stack[-1], _ArrayBehind):
            self.stack[-1] = _array_behind(self.stack[-1], self._behind)

    dispatch[pickle.BUILD[0]] = load_build


def _storage(data: bytes) -> ndarray:
    """torch's own file within the pickle, as its numbers in one row; nothing else is made of it."""
    torch = importlib.import_module("torch")
    storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return np.asarray(torch.empty(0, dtype=storage.dtype).set_(storage).numpy())


def _tensor(storage: ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> ndarray:
    # Plain integers, as NumPy's overflow, and a storage whose length is that of its memory.
    offset, size, stride = int(offset), tuple(map(int, size)), tuple(map(int, stride))
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min(size, default=1) < 1:
        return np.zeros(0, storage.dtype).reshape(size)
    is_row = storage.ndim == 1 and storage.flags.c_contiguous
    if not (is_row and offset >= 0 and min(stride, default=0) >= 0 and last < len(storage) and math.prod(size) <= MOST_VALUES):
        raise pickle.UnpicklingError(f"a tensor of {size} does not lie within its {len(storage)} numbers, or has more than {MOST_VALUES}")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


_NAMES: Mapping[tuple[str, str], Any] = {
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _ArrayBehind,
    ("numpy", "ndarray"): "ndarray",  # the name of a class, which nobody calls
    ("numpy", "dtype"): _Dtype,
    ("collections", "OrderedDict"): dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _storage,
}

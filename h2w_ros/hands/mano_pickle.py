"""Reads MANO's pickles without running anything in them.

A pickle may name any function and have it called. This reader knows the few names that a MANO file needs (arrays, sparse
matrices, and chumpy objects, whose library no longer imports) and refuses every other one. All that is not NumPy's is
rebuilt by classes of ours, which only keep data and cannot be changed by the file.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse
from numpy import ndarray

# What unpickling of a broken file may raise, by Python's documentation and experience.
_BROKEN = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError, OverflowError, MemoryError)


class _Sealed(type):
    """Classes whose attributes a pickle cannot set."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"a pickle may not change {cls.__name__}.{name}")


class _StoredObject(metaclass=_Sealed):
    """Some library's object as the pickle describes it: attributes without behaviour."""

    def array(self) -> ndarray:
        """The numbers that the object stands for."""
        raise NotImplementedError


class _SparseColumns(_StoredObject):
    def array(self) -> ndarray:
        state = vars(self)
        shape = state["_shape"] if "_shape" in state else state["shape"]
        return scipy.sparse.csc_matrix((state["data"], state["indices"], state["indptr"]), shape).toarray()


class _SparseRows(_StoredObject):
    def array(self) -> ndarray:
        state = vars(self)
        shape = state["_shape"] if "_shape" in state else state["shape"]
        return scipy.sparse.csr_matrix((state["data"], state["indices"], state["indptr"]), shape).toarray()


class _ChumpyArray(_StoredObject):
    """`chumpy.ch.Ch`: an array under the attribute x."""

    def array(self) -> ndarray:
        return np.asarray(vars(self)["x"])


class _ChumpySelection(_StoredObject):
    """`chumpy.reordering.Select`: entries `idxs` of the flattened array `a`, in the shape `preferred_shape` where it is given."""

    def array(self) -> ndarray:
        state = vars(self)
        picked = _dense(state["a"]).ravel()[np.asarray(state["idxs"])]
        return picked.reshape(state["preferred_shape"]) if state.get("preferred_shape") is not None else picked


def _bytes_of_text(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode`, as pickles use it: bytes that were written as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in a MANO pickle must be written as latin1, got {encoding!r}")
    return text.encode("latin1")


def _bare_instance(*arguments: Any) -> Any:
    """`copyreg._reconstructor`: an object of one of our classes, before its attributes are set."""
    cls = arguments[0]
    if not (isinstance(cls, type) and issubclass(cls, _StoredObject)):
        raise pickle.UnpicklingError(f"a MANO pickle may rebuild sparse matrices and chumpy arrays, not {cls!r}")
    return cls()


def _array_from_buffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> ndarray:
    """`numpy.core.numeric._frombuffer`, used since pickle protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _names() -> dict[tuple[str, str], Any]:
    """(module, name) as pickles of old and new libraries hold it -> what stands in for it here."""
    # NumPy moved these two; asking a pickled object for them works with every version.
    rebuild_array: Any = np.zeros(1).__reduce__()[0]
    rebuild_scalar: Any = np.float64(1).__reduce__()[0]
    names: dict[tuple[str, str], Any] = {("numpy", "ndarray"): ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _bytes_of_text}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = rebuild_array
        names[f"{core}.multiarray", "scalar"] = rebuild_scalar
        names[f"{core}.numeric", "_frombuffer"] = _array_from_buffer
    for short, stand_in in (("csc", _SparseColumns), ("csr", _SparseRows)):
        for module in ("scipy.sparse", f"scipy.sparse.{short}", f"scipy.sparse._{short}"):
            names[module, f"{short}_matrix"] = stand_in
    for builtins in ("__builtin__", "builtins"):
        names |= {(builtins, "object"): object, (builtins, "set"): set}
    for copyreg in ("copy_reg", "copyreg"):
        names[copyreg, "_reconstructor"] = _bare_instance
    return names | {("chumpy.ch", "Ch"): _ChumpyArray, ("chumpy.reordering", "Select"): _ChumpySelection}


_NAMES: Mapping[tuple[str, str], Any] = _names()


class _ManoUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"a MANO pickle may hold only arrays, sparse matrices and chumpy arrays; this one asks for {module}.{name}")
        return _NAMES[module, name]


def read_mano_pickle(file: Path) -> dict[str, ndarray]:
    """The arrays in a MANO pickle by name, dense; text entries are left out.

    Raises ValueError, naming file and cause, for a broken pickle and for one that asks for any name outside the table:
    that name is not even looked up.
    """
    try:
        with file.open("rb") as stream:
            content = read_plain_pickle(stream)
        if not isinstance(content, dict):
            raise ValueError(f"a MANO pickle must hold a dictionary, got {type(content).__name__}")
        return {key: _dense(value) for key, value in content.items() if not isinstance(value, str)}
    except _BROKEN as error:
        raise ValueError(f"{file}: {error or type(error).__name__}; take the file from mano.is.tue.mpg.de, or save its arrays as .npz") from error


def read_plain_pickle(stream: BinaryIO) -> Any:
    """What a pickle of arrays and plain Python data holds: numbers, text, lists, dictionaries, arrays.

    Raises ValueError for a broken pickle and for one that asks for any name outside the table: that name is not even looked up.
    """
    try:
        return _ManoUnpickler(stream, encoding="latin1").load()
    except _BROKEN as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _dense(value: Any) -> ndarray:
    return value.array() if isinstance(value, _StoredObject) else np.asarray(value)

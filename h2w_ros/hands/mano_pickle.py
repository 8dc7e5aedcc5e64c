"""Reads MANO's pickles without running anything in them.

A pickle may name any function and call it. This reader knows the few names that a MANO file needs (arrays, sparse
matrices, and chumpy objects, whose library no longer imports) and refuses every other one.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy import ndarray

_SPARSE_CLASSES = ("csc_matrix", "csr_matrix", "coo_matrix")


class ChumpyLeaf:
    """Stands for `chumpy.ch.Ch`: an array under the attribute x."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        return np.asarray(vars(self)["x"], dtype=dtype)


class ChumpySelect:
    """Stands for `chumpy.reordering.Select`: entries `idxs` of the flattened array `a`, in the shape `preferred_shape`."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        state = vars(self)
        picked = np.asarray(state["a"], dtype=dtype).ravel()[np.asarray(state["idxs"])]
        return picked.reshape(state["preferred_shape"]) if "preferred_shape" in state else picked


def _latin1_bytes(text: str, encoding: str = "latin1") -> bytes:
    """What `_codecs.encode` is used for in pickles: bytes written as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in a MANO pickle must be written as latin1, got {encoding!r}")
    return text.encode("latin1")


def _bare_instance(cls: type, base: type, state: object) -> object:
    """What `copyreg._reconstructor` does for plain objects: no constructor runs."""
    return object.__new__(cls)


def _allowed() -> dict[tuple[str, str], Any]:
    """Every name that a MANO pickle may hold -> what it stands for, over the module names of old and new libraries."""
    names: dict[tuple[str, str], Any] = {("_codecs", "encode"): _latin1_bytes}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        names[f"{core}.multiarray", "scalar"] = np._core.multiarray.scalar  # type: ignore[attr-defined]
        names[f"{core}.numeric", "_frombuffer"] = np._core.numeric._frombuffer  # type: ignore[attr-defined]
    names["numpy", "ndarray"] = np.ndarray
    names["numpy", "dtype"] = np.dtype
    for cls in _SPARSE_CLASSES:
        short = cls.removesuffix("_matrix")
        for module in (f"scipy.sparse.{short}", f"scipy.sparse._{short}", "scipy.sparse"):
            names[module, cls] = getattr(scipy.sparse, cls)
    for builtins in ("__builtin__", "builtins"):
        names[builtins, "object"] = object
        names[builtins, "set"] = set
    for copyreg in ("copy_reg", "copyreg"):
        names[copyreg, "_reconstructor"] = _bare_instance
    names["chumpy.ch", "Ch"] = ChumpyLeaf
    names["chumpy.reordering", "Select"] = ChumpySelect
    return names


_ALLOWED = _allowed()


class _ManoUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"a MANO pickle may hold only arrays, sparse matrices and chumpy arrays; this one asks for {module}.{name}")
        return _ALLOWED[module, name]


def read_mano_pickle(file: Path) -> dict[str, ndarray]:
    """The arrays in a MANO pickle by name, dense; text entries are left out.

    Raises pickle.UnpicklingError, naming file and cause, before any name outside the table is looked up.
    """
    with file.open("rb") as stream:
        try:
            content = _ManoUnpickler(stream, encoding="latin1").load()
        except (EOFError, pickle.UnpicklingError) as error:
            raise pickle.UnpicklingError(f"{file}: {error}; take the file from mano.is.tue.mpg.de, or save its arrays as .npz") from error
    if not isinstance(content, dict):
        raise pickle.UnpicklingError(f"{file}: a MANO pickle must hold a dictionary, got {type(content).__name__}")
    return {key: _dense(value) for key, value in content.items() if not isinstance(value, str)}


def _dense(value: Any) -> ndarray:
    return value.toarray() if scipy.sparse.issparse(value) else np.asarray(value)

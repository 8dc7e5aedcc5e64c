"""Files as joblib.dump writes them: a pickle with every array's bytes behind its description."""

import pickle
import sys
from types import ModuleType

import numpy as np

ALIGNMENT = 16


class NumpyArrayWrapper:
    """Of joblib's name and attributes."""

    def __init__(self, array):
        self.subclass, self.shape, self.dtype, self.allow_mmap = type(array), array.shape, array.dtype, not array.dtype.hasobject
        self.order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self.numpy_array_alignment_bytes = ALIGNMENT


NumpyArrayWrapper.__module__ = "joblib.numpy_pickle"


class _Pickler(pickle._Pickler):
    def __init__(self, stream):
        super().__init__(stream, protocol=4)
        self.stream = stream

    def save(self, value, save_persistent_id=True):
        if type(value) is not np.ndarray:
            super().save(value, save_persistent_id)
            return
        wrapper = NumpyArrayWrapper(value)
        super().save(wrapper, save_persistent_id)
        self.framer.commit_frame(force=True)
        padding = ALIGNMENT - (self.stream.tell() + 1) % ALIGNMENT
        self.stream.write(bytes([padding]) + b"\xff" * padding)
        self.stream.write(value.tobytes(order=wrapper.order))


def write_joblib(path, values):
    """Writes them; joblib itself need not be installed."""
    module = ModuleType("joblib.numpy_pickle")
    module.NumpyArrayWrapper = NumpyArrayWrapper
    saved = {name: sys.modules.get(name) for name in ("joblib", "joblib.numpy_pickle")}
    sys.modules |= {"joblib": ModuleType("joblib"), "joblib.numpy_pickle": module}
    try:
        with path.open("wb") as stream:
            _Pickler(stream).dump(values)
    finally:
        for name, before in saved.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before

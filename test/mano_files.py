"""MANO's files as its archive holds them, made from the stand-in: chumpy objects, sparse regressor, left shapes never mirrored."""

import os
import pickle
import sys
import types

import numpy as np
import scipy.sparse

from h2w_ros.hands.model import read_arrays, standin_path


class RunsACommand:
    """Unpickled by Python's own reader, it leaves a file behind."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def chumpy_module_pickle(arrays, monkeypatch, protocol=0):
    """The arrays as the official archive holds them: shapedirs a chumpy selection, pickled by classes under chumpy's names."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    leaf = type("Ch", (), {"__module__": "chumpy.ch"})
    selection = type("Select", (), {"__module__": "chumpy.reordering"})
    modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select = leaf, selection
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    whole = leaf()
    whole.x, whole._dirty_vars = np.concatenate([arrays["shapedirs"], arrays["shapedirs"]], axis=2), set()
    picked = selection()
    picked.a, picked.preferred_shape = whole, (778, 3, 10)
    picked.idxs = np.arange(778 * 3 * 20).reshape(778, 3, 20)[:, :, :10].ravel()
    return pickle.dumps({**arrays, "shapedirs": picked}, protocol)


def write_official_folder(folder, monkeypatch):
    """MANO_RIGHT.pkl and MANO_LEFT.pkl with everything that makes the official ones hard to read."""
    right, left = (read_arrays(standin_path(side)) for side in ("right", "left"))
    left = {**left, "shapedirs": right["shapedirs"]}  # x was never mirrored
    for side, arrays in (("RIGHT", right), ("LEFT", left)):
        official = {**arrays, "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]), "bs_type": "lrotmin", "bs_style": "lbs"}
        with monkeypatch.context() as patched:
            (folder / f"MANO_{side}.pkl").write_bytes(chumpy_module_pickle(official, patched, protocol=2))
    return folder

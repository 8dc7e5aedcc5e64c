"""Files of joblib: what they hold comes back, and files that were made to do harm do none."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from joblib_files import write_joblib
from test_any_files import damaged, damages, many, outcome

from h2w_ros.annotate.joblib_file import read_joblib

ROW = np.arange(4.0)


class Calls:
    """Pickled as the result of a function, whose state is set then."""

    def __init__(self, *told):
        self.told = told

    def __reduce__(self):
        return self.told


def dtype_of(code, *state):
    return Calls(np.dtype, (code, False, True), (3, "|", None, *state))


def tensor_of(storage, *place):
    return Calls(torch._utils._rebuild_tensor_v2, (storage, *place))


def write_note(path, dtype):
    """An array of two, whose dtype is as the file says."""
    note = pickle.dumps({"dtype": dtype, "shape": (2,), "order": "C"}, protocol=2)[2:-1]
    begin = pickle.PROTO + b"\x02" + pickle.GLOBAL + b"joblib.numpy_pickle\nNumpyArrayWrapper\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    path.write_bytes(begin + note + pickle.BUILD + b"A" * 16 + pickle.STOP)


def check_refused(path):
    with pytest.raises(ValueError, match=r"x\.pth must be a file of joblib\.dump.*arrays and tensors only"):
        read_joblib(path)


def test_a_file_gives_back_its_arrays_and_tensors(tmp_path):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(2, 7, 3)), rng.random((2, 7)) > 0.5, np.asfortranarray(rng.integers(0, 9, (3, 4))), {"a": np.zeros((0, 3)), "b": 1.5}]
    values.append(np.arange(3, dtype=">i2"))
    tensors = [torch.arange(24.0).reshape(2, 3, 4), torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1)[1:, :, ::2], torch.ones(1).expand(2, 3)]
    write_joblib(path := tmp_path / "x.pth", [*values, *tensors, torch.zeros(0, 3)])
    found = read_joblib(path)
    np.testing.assert_equal(found[:5], values)
    assert found[-1].shape == (0, 3)
    for array, tensor in zip(found[5:], tensors, strict=False):
        np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.parametrize("value", [len, np.array([len], dtype=object), [np.zeros(3), Path], np.array(["text"]), Calls(np.ndarray, ((4,),))])
def test_a_file_that_holds_more_than_numbers_is_not_run(tmp_path, value):
    write_joblib(path := tmp_path / "x.pth", value)
    check_refused(path)


def test_a_file_that_ends_early_or_takes_memory_before_it_has_bytes_is_refused(tmp_path):
    write_joblib(path := tmp_path / "x.pth", [np.ones((2, 5, 3))] * 5)
    path.write_bytes(path.read_bytes()[:-100])
    check_refused(path)
    path.write_bytes(pickle.BYTEARRAY8 + (1).to_bytes(8, "little") + b"x" + pickle.STOP)
    check_refused(path)


@pytest.mark.parametrize(
    "dtype",
    [
        dtype_of("O8", None, None, -1, -1, 0),  # objects that say they are none: any bytes would be called
        dtype_of("V8", ("a",), {"a": (np.dtype("f8"), 10**6)}, 8, 1, 0),  # a field beyond its element
        dtype_of("(1 2)f8", None, None, -1, -1, 0),
    ],
    ids=["objects", "beyond", "evaluated"],
)
def test_a_dtype_is_of_numbers_whatever_its_state_says(tmp_path, dtype):
    write_note(path := tmp_path / "x.pth", np.dtype("f8"))
    np.testing.assert_array_equal(read_joblib(path), np.frombuffer(b"A" * 16))
    write_note(path, dtype)
    check_refused(path)


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_of(ROW, 2, (3,), (1,)),
        tensor_of(ROW, -1, (2,), (1,)),
        tensor_of(ROW, 3, (2,), (-1,)),
        tensor_of(ROW, 0, np.array([2**33 + 1]), np.array([2**31])),  # the product is 0 for 64 bits
        tensor_of(ROW, 0, (10**12,), (0,)),
        tensor_of(np.ones((4, 4)), 0, (2,), (1,)),
        tensor_of(tensor_of(ROW, 0, (1000,), (0,)), 0, (1000,), (1,)),  # 1000 numbers long, four in memory
    ],
)
def test_a_tensor_lies_within_its_memory_and_does_not_fill_the_machines(tmp_path, tensor):
    write_joblib(path := tmp_path / "x.pth", [tensor])
    check_refused(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path):
    write_joblib(path := tmp_path / "x.pth", [np.ones((2, 3)), torch.arange(6.0).reshape(2, 3), {"a": 1.5}])
    whole, outcomes = path.read_bytes(), Counter()

    @many(300)
    @given(damages=damages)
    def read(damages):
        path.write_bytes(damaged(whole, damages))
        outcomes[outcome(path, lambda: read_joblib(path))] += 1

    read()
    assert outcomes["refused"] > 30

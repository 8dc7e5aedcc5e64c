import pickle

import numpy as np
import pytest
from mano_files import RunsACommand, chumpy_module_pickle

from h2w_ros.hands.mano_pickle import read_mano_pickle
from h2w_ros.hands.model import TIP_VERTICES, load_hand_model, read_arrays, standin_path
from h2w_ros.hands.standin import WRIST_LOOP, mirrored_arrays, write_official_pickle
from h2w_ros.hands.topology import boundary_loop

SIDES = ("right", "left")


@pytest.fixture
def mano_folder(tmp_path):
    """A folder as MANO's archive unpacks, with the stand-in in it."""
    for side in SIDES:
        write_official_pickle(read_arrays(standin_path(side)), tmp_path / f"MANO_{side.upper()}.pkl")
    return tmp_path


@pytest.mark.parametrize("side", SIDES)
def test_the_standin_has_every_array_of_a_mano_file(side):
    arrays = read_arrays(standin_path(side))
    expected = {
        "v_template": (778, 3),
        "f": (1538, 3),
        "shapedirs": (778, 3, 10),
        "posedirs": (778, 3, 135),
        "J_regressor": (16, 778),
        "weights": (778, 16),
        "kintree_table": (2, 16),
        "hands_components": (45, 45),
        "hands_mean": (45,),
        "J": (16, 3),
    }
    assert {name: array.shape for name, array in arrays.items()} == expected
    assert {name for name, array in arrays.items() if array.dtype == np.uint32} == {"f", "kintree_table"}
    assert all(array.dtype == np.float64 for name, array in arrays.items() if name not in ("f", "kintree_table"))


def test_the_surface_is_a_disc_whose_rim_is_the_wrist():
    model = load_hand_model("right")
    assert len(model.template_vertices) - len(model.edges.vertices) + len(model.faces) == 1  # Euler's number of a disc
    assert len(np.unique(model.faces)) == 778
    assert set(boundary_loop(model.faces)) == set(WRIST_LOOP)
    wrist_m, middle_m = (model.joint_regressor @ model.template_vertices)[[0, 4]]
    assert np.linalg.norm(model.template_vertices[list(WRIST_LOOP)] - wrist_m, axis=1).max() < 0.045
    assert 0.08 < np.linalg.norm(wrist_m - middle_m) < 0.11


@pytest.mark.parametrize("side", SIDES)
def test_the_closed_hand_encloses_the_volume_of_a_hand(side):
    model = load_hand_model(side)
    a, b, c = np.moveaxis(model.template_vertices[np.concatenate([model.faces, model.wrist_cap])], 1, 0)
    volume_l = 1e3 * np.sum(a * np.cross(b, c)) / 6  # positive only where faces turn outwards
    assert 0.25 < volume_l < 0.6


def test_fingertips_are_the_ends_of_their_fingers():
    model = load_hand_model("right")
    last_joints = (15, 3, 6, 12, 9)
    joints = model.joint_regressor @ model.template_vertices
    for tip, joint in zip(TIP_VERTICES, last_joints, strict=True):
        assert model.skin_weights[tip].argmax() == joint
        along = joints[joint] - joints[joint - 1]
        own = model.template_vertices[model.skin_weights.argmax(axis=1) == joint]
        assert (own @ along).max() == pytest.approx(model.template_vertices[tip] @ along)


def test_regressor_and_skin_weights_add_up_to_one():
    model = load_hand_model("right")
    np.testing.assert_allclose(model.joint_regressor.sum(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(model.skin_weights.sum(axis=1), 1.0, atol=1e-6)
    assert model.skin_weights.min() >= 0.0


def test_shape_directions_are_orthogonal_and_of_millimetres():
    flat = load_hand_model("right").shape_directions.reshape(-1, 10)
    products = flat.T @ flat
    effects_mm = 1e3 * np.sqrt(np.diag(products) / 778)
    np.testing.assert_allclose(products / np.sqrt(np.outer(np.diag(products), np.diag(products))), np.eye(10), atol=1e-3)
    assert (effects_mm > 0.2).all()
    assert (effects_mm < 6.0).all()


def test_pose_components_are_orthonormal():
    components = load_hand_model("left").pose_components
    np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-9)


def test_mirroring_twice_gives_the_same_hand():
    right = read_arrays(standin_path("right"))
    for name, array in mirrored_arrays(mirrored_arrays(right)).items():
        np.testing.assert_array_equal(array, right[name])


@pytest.mark.parametrize("side", SIDES)
def test_a_mano_folder_loads_like_the_standin(mano_folder, side):
    ours, theirs = load_hand_model(side), load_hand_model(side, mano_folder)
    np.testing.assert_array_equal(ours.template_vertices, theirs.template_vertices)
    np.testing.assert_array_equal(ours.joint_regressor, theirs.joint_regressor)
    np.testing.assert_array_equal(ours.shape_directions, theirs.shape_directions)
    assert theirs.parents[0] == -1


def test_shape_directions_that_were_never_mirrored_are_put_right(tmp_path):
    left, right = (read_arrays(standin_path(side)) for side in ("left", "right"))
    write_official_pickle({**left, "shapedirs": left["shapedirs"] * np.array([-1.0, 1.0, 1.0])[:, None]}, tmp_path / "MANO_LEFT.pkl")
    write_official_pickle(right, tmp_path / "MANO_RIGHT.pkl")
    np.testing.assert_array_equal(load_hand_model("left", tmp_path).shape_directions, left["shapedirs"])


def test_a_left_file_alone_is_taken_as_it_is_with_a_warning(tmp_path, caplog):
    left = read_arrays(standin_path("left"))
    write_official_pickle(left, tmp_path / "MANO_LEFT.pkl")
    np.testing.assert_array_equal(load_hand_model("left", tmp_path).shape_directions, left["shapedirs"])
    assert "MANO_RIGHT.pkl" in caplog.text


def test_a_pickle_with_code_in_it_is_refused_and_nothing_runs(tmp_path):
    witness = tmp_path / "witness"
    file = tmp_path / "MANO_RIGHT.pkl"
    file.write_bytes(pickle.dumps({"v_template": RunsACommand(witness)}, protocol=2))
    with pytest.raises(ValueError, match=r"MANO_RIGHT.pkl: .*asks for (posix|nt).system"):
        load_hand_model("right", file)
    assert not witness.exists()
    pickle.loads(file.read_bytes())["v_template"]
    assert witness.exists(), "the pickle must be one that would have run"


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cnumpy.testing\nrundocs\n.",
        b"cnumpy\nload\n.",
        b"cbuiltins\neval\n(Vprint(1)\ntR.",
        b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.",  # a class that is not ours to build
        b"\x80\x02cchumpy.ch\nCh\nN}X\x05\x00\x00\x00arraycnumpy\ndtype\ns\x86b.",  # sets a method on our class
    ],
)
def test_other_names_and_changed_classes_are_refused(tmp_path, opcodes):
    file = tmp_path / "MANO_RIGHT.pkl"
    file.write_bytes(opcodes)
    with pytest.raises(ValueError, match=r"a MANO pickle may|a pickle may not"):
        read_mano_pickle(file)


def test_chumpy_arrays_are_read_without_chumpy(tmp_path, monkeypatch):
    arrays = read_arrays(standin_path("right"))
    file = tmp_path / "MANO_RIGHT.pkl"
    file.write_bytes(chumpy_module_pickle(arrays, monkeypatch))
    monkeypatch.undo()
    np.testing.assert_array_equal(load_hand_model("right", file).shape_directions, arrays["shapedirs"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"MANO_RIGHT.pkl; models/hands/README.md"):
        load_hand_model("right", tmp_path)


def changed(side="right", **changes):
    return {name: array for name, array in {**read_arrays(standin_path(side)), **changes}.items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "must hold 'weights' with shape"),
        ({"weights": np.zeros((778, 24))}, r"'weights' must hold numbers of shape \(778, 16\), got float64 \(778, 24\)"),
        ({"hands_mean": np.full(45, np.nan)}, "'hands_mean' must be finite, got 45"),
        ({"f": np.full((1538, 3), 778, dtype=np.uint32)}, "'f' must index 778 vertices, got index 778"),
        ({"kintree_table": np.full((2, 16), 15, dtype=np.uint32)}, "'kintree_table' must name a parent before each joint"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_key(tmp_path, changes, message):
    file = tmp_path / "hand.npz"
    np.savez(file, **changed(**changes))
    with pytest.raises(ValueError, match=rf"hand\.npz: .*{message}"):
        load_hand_model("right", file)


def test_the_other_side_is_refused(mano_folder):
    with pytest.raises(ValueError, match="must hold the left hand, it holds the right one"):
        load_hand_model("left", mano_folder / "MANO_RIGHT.pkl")


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "hand.obj").touch()
    with pytest.raises(ValueError, match=r"must be a .pkl or a .npz file, got suffix '.obj'"):
        load_hand_model("right", tmp_path / "hand.obj")

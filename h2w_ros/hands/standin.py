"""Makes the stand-in hand: every array of a MANO file, around a freely licensed surface (`standin_mesh`).

    python -m h2w_ros.hands.standin --source right.glb --out models/hands

Nothing here is taken from MANO but its layout: sizes, joint order, fingertip and wrist-loop indices, and the axes of the
rest pose. Shape directions are built from anatomy (length, width, thickness) rather than learned.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.hands.model import TIP_VERTICES
from h2w_ros.hands.standin_mesh import SkinnedMesh, standin_mesh
from h2w_ros.hands.topology import boundary_loop

Arrays = dict[str, ndarray]

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
# MANO's order of fingers; each has three joints from this one on.
FIRST_JOINTS = {"index": 1, "middle": 4, "pinky": 7, "ring": 10, "thumb": 13}
TIP_OF = dict(zip(("thumb", "index", "middle", "ring", "pinky"), TIP_VERTICES, strict=True))
# The vertices around MANO's wrist in their order along the loop, where tools that close it look for them.
WRIST_LOOP = (108, 79, 78, 121, 214, 215, 279, 239, 234, 92, 38, 122, 118, 117, 119, 120)

# How far one unit of each beta moves the skin (root mean square) [m], falling like the spread of learned directions.
SHAPE_EFFECTS_M = (4.5e-3, 2.5e-3, 2.0e-3, 1.5e-3, 1.2e-3, 1.0e-3, 0.5e-3, 0.3e-3, 0.7e-3, 0.5e-3)
# A joint bent by 90 degrees leaves half-blended skin at cos 45 of its distance from the bone; this much is given back.
BLEND_LOSS = 1.0 - np.cos(np.pi / 4)
# Vertices that carry a joint in the regressor, and the width of their weighting [m].
REGRESSOR_NEIGHBOURS = 32
REGRESSOR_WIDTH_M = 0.012
# The relaxed hand: flexion of each finger's three joints, and of the thumb's [rad].
RELAXED_FINGER_RAD = np.radians((14.0, 26.0, 14.0))
RELAXED_THUMB_RAD = np.radians((8.0, 10.0, 12.0))


def standin_arrays(source_glb: Path) -> Arrays:
    """The right hand under MANO's names, with MANO's shapes and dtypes (J_regressor dense)."""
    mesh = _in_mano_order(standin_mesh(source_glb))
    regressor = _joint_regressor(mesh)
    flexion = _flexion_axes(mesh)
    kintree = np.array([[parent % 2**32 for parent in PARENTS], range(16)], dtype=np.uint32)
    return {
        "v_template": mesh.vertices,
        "f": mesh.faces.astype(np.uint32),
        "shapedirs": _shape_directions(mesh),
        "posedirs": _pose_directions(mesh),
        "J_regressor": regressor,
        "weights": mesh.weights,
        "kintree_table": kintree,
        "hands_components": _pose_components(mesh, flexion),
        "hands_mean": _relaxed_pose(flexion).ravel(),
        "J": regressor @ mesh.vertices,
    }


def mirrored_arrays(right: Arrays) -> Arrays:
    """The left hand: x mirrored, rotations about y and z reversed, faces turned round."""
    mirror = np.array([-1.0, 1.0, 1.0])
    turn = np.tile(mirror * np.linalg.det(np.diag(mirror)), 15)
    entries = np.tile(np.outer(mirror, mirror).ravel(), 15)
    return {
        **right,
        "v_template": right["v_template"] * mirror,
        "f": np.ascontiguousarray(right["f"][:, [0, 2, 1]]),
        "shapedirs": right["shapedirs"] * mirror[:, None],
        "posedirs": right["posedirs"] * mirror[:, None] * entries,
        "hands_components": right["hands_components"] * turn,
        "hands_mean": right["hands_mean"] * turn,
        "J": right["J"] * mirror,
    }


def write_official_pickle(arrays: Arrays, path: Path) -> None:
    """The same hand as a `MANO_RIGHT.pkl` / `MANO_LEFT.pkl`, which smplx loads: sparse regressor, and the two words it asks for."""
    content = {**arrays, "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]), "bs_type": "lrotmin", "bs_style": "lbs"}
    path.write_bytes(pickle.dumps(content, protocol=2))


def _in_mano_order(mesh: SkinnedMesh) -> SkinnedMesh:
    """The same mesh, its tips and wrist loop at MANO's indices, the rest sorted by finger and along it."""
    reserved = dict(zip(_fingertips(mesh).values(), (TIP_OF[name] for name in FIRST_JOINTS), strict=True))
    reserved |= dict(zip(_wrist_loop_from_thumb(mesh), WRIST_LOOP, strict=True))
    free = [vertex for vertex in np.lexsort((-mesh.vertices[:, 0], mesh.weights.argmax(1))) if vertex not in reserved]
    slots = sorted(set(range(len(mesh.vertices))) - set(reserved.values()))
    new_index = np.empty(len(mesh.vertices), dtype=np.int64)
    new_index[free] = slots
    new_index[list(reserved)] = list(reserved.values())
    old_index = np.argsort(new_index)
    return SkinnedMesh(mesh.vertices[old_index].round(7), new_index[mesh.faces], mesh.weights[old_index].round(7), mesh.joints)


def _fingertips(mesh: SkinnedMesh) -> dict[str, int]:
    """The vertex farthest along each finger's last bone."""
    tips = {}
    for name, first in FIRST_JOINTS.items():
        along = (mesh.vertices - mesh.joints[first + 2]) @ (mesh.joints[first + 2] - mesh.joints[first + 1])
        tips[name] = int(np.where(mesh.weights[:, first + 2] > 0.5, along, -np.inf).argmax())
    return tips


def _wrist_loop_from_thumb(mesh: SkinnedMesh) -> list[int]:
    """The loop against the faces' direction, so that [loop[k-1], loop[k], centre] faces outwards, from the thumb's side on."""
    loop = boundary_loop(mesh.faces)[::-1]
    start = int(mesh.vertices[loop, 2].argmax())
    return loop[start:] + loop[:start]


def _joint_regressor(mesh: SkinnedMesh) -> Float[ndarray, "16 778"]:
    """Smooth local weights whose weighted vertices are the joints: the least change of a Gaussian that meets them exactly."""
    regressor = np.zeros((16, len(mesh.vertices)))
    for joint, position in enumerate(mesh.joints):
        distances_m = np.linalg.norm(mesh.vertices - position, axis=1)
        near = np.argsort(distances_m)[:REGRESSOR_NEIGHBOURS]
        spread = np.exp(-((distances_m[near] - distances_m[near[0]]) ** 2) / (2 * REGRESSOR_WIDTH_M**2))
        A = np.concatenate([mesh.vertices[near].T - position[:, None], np.ones((1, len(near)))])
        regressor[joint, near] = spread * (A.T @ np.linalg.solve((A * spread) @ A.T, (0.0, 0.0, 0.0, 1.0)))
    return regressor


def _finger_weights(mesh: SkinnedMesh, name: str) -> Float[ndarray, "V 1"]:
    first = FIRST_JOINTS[name]
    return mesh.weights[:, first : first + 3].sum(axis=1, keepdims=True)


def _along_and_across(mesh: SkinnedMesh, name: str) -> tuple[ndarray, ndarray]:
    """Every vertex's offset from a finger's first joint, split along the finger and across it [m]."""
    first = FIRST_JOINTS[name]
    axis = mesh.joints[first + 2] - mesh.joints[first]
    axis = axis / np.linalg.norm(axis)
    offset = mesh.vertices - mesh.joints[first]
    along = (offset @ axis)[:, None] * axis
    return along, offset - along


def _shape_directions(mesh: SkinnedMesh) -> Float[ndarray, "V 3 10"]:
    """Ten displacements a unit of beta, made orthogonal to those before and scaled to SHAPE_EFFECTS_M."""
    wishes = _anatomical_directions(mesh)
    basis, triangle = np.linalg.qr(np.stack([wish.ravel() for wish in wishes], axis=1))
    basis = basis * np.sign(np.diag(triangle))
    return (basis * np.sqrt(len(mesh.vertices)) * np.array(SHAPE_EFFECTS_M)).reshape(-1, 3, 10).round(7)


def _anatomical_directions(mesh: SkinnedMesh) -> Sequence[Float[ndarray, "V 3"]]:
    """Size, finger length, palm width, thumb length, palm thickness, finger thickness, and four proportions."""
    split = {name: _along_and_across(mesh, name) for name in FIRST_JOINTS}
    weight = {name: _finger_weights(mesh, name) for name in FIRST_JOINTS}
    length = {name: weight[name] * split[name][0] for name in FIRST_JOINTS}
    girth = {name: weight[name] * split[name][1] for name in FIRST_JOINTS}
    fingers = ("index", "middle", "ring", "pinky")
    palm = 1.0 - sum(weight.values())
    # Fingers are carried by their first joint, so that widening the palm does not fatten them.
    carried = palm * mesh.vertices + sum(weight[name] * mesh.joints[FIRST_JOINTS[name]] for name in FIRST_JOINTS)
    towards_wrist = np.clip((mesh.vertices[:, :1] - mesh.joints[13, 0]) / (mesh.joints[0, 0] - mesh.joints[13, 0]), 0.0, 1.5)
    return (
        mesh.vertices - mesh.joints[0],
        sum(length[name] for name in fingers),
        carried * (0.0, 0.0, 1.0),
        length["thumb"],
        (carried - mesh.joints[0]) * (1.0, 0.0, 0.0),
        palm * (mesh.vertices - mesh.joints[0]) * (0.0, 1.0, 0.0),
        sum(girth[name] for name in FIRST_JOINTS),
        palm * towards_wrist * (mesh.vertices - mesh.joints[0]) * (0.0, 0.3, 1.0),
        length["ring"] + length["pinky"] - length["index"],
        length["pinky"] - length["ring"],
    )


def _pose_directions(mesh: SkinnedMesh) -> Float[ndarray, "V 3 135"]:
    """Pushes half-blended skin back out as its joint bends: by (1 - cos), which is -trace(R - I) / 2 about any axis."""
    directions = np.zeros((len(mesh.vertices), 3, 15, 3, 3))
    for joint in range(1, 16):
        name = next(name for name, first in FIRST_JOINTS.items() if first <= joint < first + 3)
        blend = 4.0 * mesh.weights[:, joint] * mesh.weights[:, PARENTS[joint]]
        outwards = BLEND_LOSS * blend[:, None] * _along_and_across(mesh, name)[1]
        is_knuckle = PARENTS[joint] == 0
        directions[:, :, joint - 1] = 0.0 if is_knuckle else -0.5 * outwards[:, :, None, None] * np.eye(3)
    return directions.reshape(-1, 3, 135).round(7)


def _flexion_axes(mesh: SkinnedMesh) -> Float[ndarray, "15 3"]:
    """Unit axes about which a positive angle bends each joint: fingers into the palm, the thumb across it."""
    axes = np.empty((15, 3))
    for name, first in FIRST_JOINTS.items():
        bone = mesh.joints[first + 2] - mesh.joints[first]
        across = mesh.joints[FIRST_JOINTS["pinky"]] - mesh.joints[first]
        towards = across / np.linalg.norm(across) + (0.0, -1.0, 0.0) if name == "thumb" else np.array([0.0, -1.0, 0.0])
        axis = np.cross(bone, towards)
        axes[first - 1 : first + 2] = axis / np.linalg.norm(axis)
    return axes


def _relaxed_pose(flexion: Float[ndarray, "15 3"]) -> Float[ndarray, "15 3"]:
    angles_rad = np.concatenate([np.tile(RELAXED_FINGER_RAD, 4), RELAXED_THUMB_RAD])
    return (flexion * angles_rad[:, None]).round(7)


def _pose_components(mesh: SkinnedMesh, flexion: Float[ndarray, "15 3"]) -> Float[ndarray, "45 45"]:
    """Orthonormal rows, the grasps first: power grasp, pinch, thumb, hook, ulnar curl, spread; the rest fills up the space."""
    fingers, thumb = np.repeat((1.0, 0.0), (12, 3)), np.repeat((0.0, 1.0), (12, 3))
    index, ulnar = np.repeat((1.0, 0.0), (3, 12)), np.repeat((0.0, 1.0, 0.0), (6, 6, 3))
    hook = fingers * np.tile((-1.0, 0.7, 0.7), 5)
    spread = np.zeros((15, 3))
    for name in ("index", "middle", "ring", "pinky"):
        spread[FIRST_JOINTS[name] - 1, 1] = mesh.joints[FIRST_JOINTS[name], 2]
    grasps = [(amount[:, None] * flexion).ravel() for amount in (fingers + 0.5 * thumb, index + thumb - 0.3 * ulnar, thumb, hook, ulnar - index)]
    rows = np.stack([*grasps, spread.ravel(), *np.eye(45)])
    basis, triangle = np.linalg.qr(rows.T)
    return (basis * np.sign(np.diag(triangle))).T


def main() -> None:
    """Writes standin_right.npz and standin_left.npz, and on request the same hands as MANO pickles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="generic-hand/right.glb of the npm package @webxr-input-profiles/assets 1.0.20")
    parser.add_argument("--out", type=Path, required=True, help="folder for standin_{right,left}.npz")
    parser.add_argument("--pickles", type=Path, help="folder for MANO_{RIGHT,LEFT}.pkl")
    arguments = parser.parse_args()
    right = standin_arrays(arguments.source)
    for side, arrays in (("right", right), ("left", mirrored_arrays(right))):
        np.savez_compressed(arguments.out / f"standin_{side}.npz", allow_pickle=False, **arrays)
        if arguments.pickles:
            write_official_pickle(arrays, arguments.pickles / f"MANO_{side.upper()}.pkl")


if __name__ == "__main__":
    main()

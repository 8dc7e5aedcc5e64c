"""The stand-in hand's surface: a freely licensed hand, cut open at the wrist and reduced to MANO's mesh size.

The source is `generic-hand/right.glb` of the npm package @webxr-input-profiles/assets (MIT), whose vertices are bound to
WebXR's 25 joints. Vertices are only removed, never moved, so each keeps the skin weights its artist gave it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from h2w_ros.hands.topology import boundary_loop

NUM_VERTICES = 778
NUM_BOUNDARY_EDGES = 16
# Long edges cost this much beside the quadric error, both in m^4: the triangles stay of even size on flat skin.
EDGE_LENGTH_WEIGHT = 1e-2
# Fingers bend and the palm hardly does: a collapse on a finger costs this many times more.
FINGER_IMPORTANCE = 6.0
# A collapse may not turn a face further than this (cosine): no folds.
MIN_FACE_TURN_COSINE = 0.3

# The source has fingers along -y, the back of the hand to +x and the thumb to -z; MANO's right hand has fingers along
# -x, the back to +y and the thumb to +z.
R_MANO_SOURCE = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])

# MANO's 16 joints, and the five tips after them, by the names of WebXR.
_PHALANGES = ("phalanx-proximal", "phalanx-intermediate", "phalanx-distal")
JOINT_SOURCES = (
    "wrist",
    *(f"{finger}-finger-{bone}" for finger in ("index", "middle", "pinky", "ring") for bone in _PHALANGES),
    "thumb-metacarpal",
    "thumb-phalanx-proximal",
    "thumb-phalanx-distal",
)

_COMPONENT_TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENT_COUNTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class SkinnedMesh:
    """A triangle mesh bound to MANO's joints: metres, faces counter-clockwise seen from outside."""

    vertices: Float[ndarray, "V 3"]
    faces: Int[ndarray, "F 3"]
    weights: Float[ndarray, "V 16"]
    joints: Float[ndarray, "16 3"]


def standin_mesh(glb_path: Path) -> SkinnedMesh:
    """The source hand in MANO's frame, origin at the middle knuckle, with 778 vertices and 16 edges around the wrist."""
    closed = read_source_hand(glb_path)
    importance = 1.0 + (FINGER_IMPORTANCE - 1.0) * (1.0 - closed.weights[:, 0] - closed.weights[:, 13])
    vertices, faces = simplify(closed.vertices, _cut_wrist(closed), importance, NUM_VERTICES, NUM_BOUNDARY_EDGES)
    kept, inverse = np.unique(faces, return_inverse=True)
    return SkinnedMesh(vertices[kept], inverse.reshape(-1, 3), closed.weights[kept], closed.joints)


def read_source_hand(glb_path: Path) -> SkinnedMesh:
    """The glb's only mesh with its seams welded, its weights summed over MANO's joints."""
    document, binary = _read_glb(glb_path)
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    triangles = _accessor(document, binary, document["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3)
    positions = _accessor(document, binary, attributes["POSITION"]).astype(np.float64)
    _, first, welded = np.unique(positions.round(6), axis=0, return_index=True, return_inverse=True)
    bones = _accessor(document, binary, attributes["JOINTS_0"])[first]
    amounts = _accessor(document, binary, attributes["WEIGHTS_0"])[first].astype(np.float64)
    nodes = [document["nodes"][node] for node in document["skins"][0]["joints"]]
    by_name = {node["name"]: np.array(node["translation"]) for node in nodes}
    origin = by_name["middle-finger-phalanx-proximal"]
    weights = np.zeros((len(first), 16))
    to_joint = np.array([_mano_joint(node["name"]) for node in nodes])
    np.add.at(weights, (np.arange(len(first))[:, None], to_joint[bones]), amounts)
    joints = np.stack([by_name[name] for name in JOINT_SOURCES])
    faces = welded.ravel()[triangles]
    return SkinnedMesh(
        (positions[first] - origin) @ R_MANO_SOURCE.T, faces, weights / weights.sum(1, keepdims=True), (joints - origin) @ R_MANO_SOURCE.T
    )


def _mano_joint(source_name: str) -> int:
    """MANO has no metacarpals but the thumb's (they move with the wrist), and its tips are vertices (they move with the last bone)."""
    name = source_name.replace("thumb-tip", "thumb-phalanx-distal").replace("finger-tip", "finger-phalanx-distal")
    return JOINT_SOURCES.index(name) if name in JOINT_SOURCES else 0


def _read_glb(path: Path) -> tuple[dict, bytes]:
    """The JSON part and the binary part of a binary glTF 2.0 file."""
    content = path.read_bytes()
    if content[:4] != b"glTF":
        raise ValueError(f"{path} must be a binary glTF file (starts with 'glTF'), it starts with {content[:4]!r}")
    (json_length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + json_length]), content[28 + json_length :]


def _accessor(document: dict, binary: bytes, index: int) -> ndarray:
    """One array of the file, (count, components)."""
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    components = _COMPONENT_COUNTS[accessor["type"]]
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    dtype = _COMPONENT_TYPES[accessor["componentType"]]
    return np.frombuffer(binary, dtype, accessor["count"] * components, offset).reshape(-1, components)


def _cut_wrist(mesh: SkinnedMesh) -> Int[ndarray, "F 3"]:
    """The faces without the flat cap over the wrist's cut, which looks up the arm (+x)."""
    normals = face_normals(mesh.vertices, mesh.faces)
    centres_x = mesh.vertices[mesh.faces].mean(1)[:, 0]
    is_cap = (normals[:, 0] > 0.8) & (centres_x > mesh.joints[0, 0])
    return mesh.faces[~is_cap]


def face_normals(vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"]) -> Float[ndarray, "F 3"]:
    """Unit normals, outwards; zero for a face without area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def simplify(
    vertices: Float[ndarray, "V 3"], faces: Int[ndarray, "F 3"], importance: Float[ndarray, "V"], num_vertices: int, num_boundary: int
) -> tuple[ndarray, ndarray]:
    """Faces over the same vertices after edge collapses, first around the hole, then inside.

    Each collapse moves one vertex onto a neighbour, the cheapest by Garland and Heckbert's quadric error (1997)
    times the importance of the vertex that goes.
    """
    quadrics = _vertex_quadrics(vertices, faces)
    for _ in range(len(boundary_loop(faces)) - num_boundary):
        faces = _collapse_cheapest(vertices, faces, quadrics, importance, on_boundary=True)
    while len(np.unique(faces)) > num_vertices:
        faces = _collapse_cheapest(vertices, faces, quadrics, importance, on_boundary=False)
    return vertices, faces


def _vertex_quadrics(vertices: ndarray, faces: ndarray) -> Float[ndarray, "V 4 4"]:
    """Per vertex, the quadratic form of the area-weighted squared distance to the planes of its faces."""
    normals = face_normals(vertices, faces)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    areas = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    planes = np.concatenate([normals, -np.sum(normals * a, axis=1, keepdims=True)], axis=1)
    forms = areas[:, None, None] * planes[:, :, None] * planes[:, None, :]
    quadrics = np.zeros((len(vertices), 4, 4))
    np.add.at(quadrics, faces, forms[:, None])
    return quadrics


def _collapse_cheapest(vertices: ndarray, faces: ndarray, quadrics: ndarray, importance: ndarray, on_boundary: bool) -> ndarray:
    """The faces after the cheapest collapse that keeps the surface a surface; the quadric moves along (in place)."""
    hole = np.zeros(len(vertices), dtype=bool)
    loop = boundary_loop(faces)
    hole[loop] = True
    if on_boundary:
        ahead = np.stack([loop, np.roll(loop, -1)], axis=1)
        edges = np.concatenate([ahead, ahead[:, ::-1]])
    else:
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [1, 0]], faces[:, [2, 1]], faces[:, [0, 2]]])
        edges = edges[~hole[edges[:, 0]]]
    for removed, kept in edges[np.argsort(importance[edges[:, 0]] * _collapse_costs(vertices, quadrics, edges))]:
        if _keeps_surface(vertices, faces, removed, kept, shared=1 if on_boundary else 2):
            quadrics[kept] += quadrics[removed]
            return _collapsed(faces, removed, kept)
    raise ValueError("no edge can be collapsed without a fold: the source mesh is too coarse")


def _collapse_costs(vertices: ndarray, quadrics: ndarray, edges: ndarray) -> Float[ndarray, "E"]:
    targets = np.concatenate([vertices[edges[:, 1]], np.ones((len(edges), 1))], axis=1)
    errors = np.einsum("ei,eij,ej->e", targets, quadrics[edges[:, 0]], targets)
    lengths_m = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    return errors + EDGE_LENGTH_WEIGHT * lengths_m**4


def _collapsed(faces: ndarray, removed: int, kept: int) -> ndarray:
    moved = np.where(faces == removed, kept, faces)
    return moved[(moved[:, 0] != moved[:, 1]) & (moved[:, 1] != moved[:, 2]) & (moved[:, 2] != moved[:, 0])]


def _keeps_surface(vertices: ndarray, faces: ndarray, removed: int, kept: int, shared: int) -> bool:
    """The link condition (exactly `shared` common neighbours), and no face turns over."""
    around = faces[(faces == removed).any(axis=1)]
    beside = faces[(faces == kept).any(axis=1)]
    common = set(around.ravel().tolist()) & set(beside.ravel().tolist()) - {removed, kept}
    if len(common) != shared:
        return False
    staying = around[~(around == kept).any(axis=1)]
    before = face_normals(vertices, staying)
    after = face_normals(vertices, np.where(staying == removed, kept, staying))
    return bool((np.sum(before * after, axis=1) > MIN_FACE_TURN_COSINE).all())

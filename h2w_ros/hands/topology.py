"""What follows from a hand's triangles and joint tree alone: edges, the hole at the wrist, walks, the order of bones."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

NO_FACE = -1


class Edges(NamedTuple):
    """Every edge of a mesh once, in the direction in which the first of its faces runs along it."""

    vertices: Int[ndarray, "E 2"]
    faces: Int[ndarray, "E 2"]  # on both sides; NO_FACE in place of the second around the hole


class Walks(NamedTuple):
    """Walks over a mesh that together use each edge once, one after another, and where each starts and ends."""

    vertices: Int[ndarray, "n"]
    ranges: list[tuple[int, int]]


class BoneLevel(NamedTuple):
    """Joints equally many steps from the wrist, and where their parents stand when all levels are written one after another."""

    joints: Int[ndarray, "n"]
    parents: Int[ndarray, "n"]
    parent_places: Int[ndarray, "n"]


def mesh_edges(faces: Int[ndarray, "F 3"]) -> Edges:
    """The edges of a mesh whose faces all turn the same way."""
    face_of = {(int(face[k]), int(face[k - 2])): index for index, face in enumerate(faces) for k in range(3)}
    edges = [(a, b) for a, b in face_of if a < b or (b, a) not in face_of]
    return Edges(np.array(edges), np.array([(face_of[a, b], face_of.get((b, a), NO_FACE)) for a, b in edges]))


def boundary_loop(faces: Int[ndarray, "F 3"]) -> list[int]:
    """The vertices around the only hole of a mesh, in the direction in which its faces run along it."""
    edges = mesh_edges(faces)
    following = dict(edges.vertices[edges.faces[:, 1] == NO_FACE].tolist())
    if not following:
        raise ValueError("a hand must be open at the wrist, this mesh has no hole")
    loop = [min(following)]
    while (vertex := following[loop[-1]]) != loop[0]:
        loop.append(vertex)
    if len(loop) != len(following):
        raise ValueError(f"a hand must have one hole, at the wrist; beside a loop of {len(loop)} edges, {len(following) - len(loop)} are open")
    return loop


def cap(faces: Int[ndarray, "F 3"]) -> Int[ndarray, "n 3"]:
    """Triangles that close the hole, a fan over its loop, facing outwards."""
    loop = boundary_loop(faces)
    return np.array([[loop[0], loop[k + 1], loop[k]] for k in range(1, len(loop) - 1)])


def edge_walks(edges: Int[ndarray, "E 2"]) -> Walks:
    """Few walks for many edges: they start at vertices with an odd number of edges first, as each walk must end at another."""
    beside: dict[int, set[int]] = defaultdict(set)
    for a, b in edges.tolist():
        beside[a].add(b)
        beside[b].add(a)
    walks = []
    for start in sorted(beside, key=lambda vertex: len(beside[vertex]) % 2, reverse=True):
        while beside[start]:
            walks.append(_walk(start, beside))
    ends = np.cumsum([len(walk) for walk in walks]).tolist()
    return Walks(np.concatenate(walks), list(zip([0, *ends], ends, strict=False)))


def _walk(start: int, beside: dict[int, set[int]]) -> list[int]:
    """Goes on until every edge of the last vertex is used; takes the used edges away."""
    walk = [start]
    while beside[walk[-1]]:
        here, there = walk[-1], beside[walk[-1]].pop()
        beside[there].remove(here)
        walk.append(there)
    return walk


def bone_levels(parents: Int[ndarray, "J"]) -> list[BoneLevel]:
    """The joints after the root (joint 0), nearest first; a joint's parent has a lower number."""
    depth = np.zeros(len(parents), dtype=np.int64)
    for joint in range(1, len(parents)):
        depth[joint] = depth[parents[joint]] + 1
    place = np.argsort(np.argsort(depth, kind="stable"))
    levels = (np.flatnonzero(depth == d) for d in range(1, int(depth.max()) + 1))
    return [BoneLevel(joints, parents[joints], place[parents[joints]]) for joints in levels]

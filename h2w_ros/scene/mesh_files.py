"""Meshes and clouds in common formats (PLY, OBJ, GLB and others), read by trimesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from h2w_ros.condition import Image
from h2w_ros.scene.mesh import Mesh
from h2w_ros.scene.points import Points, radii_of
from h2w_ros.scene.sampled import sampled

GREY = 160
"""Of what has no color."""
MAX_TRIANGLES = 15_000
"""More are drawn faster as points."""
SAMPLES = 300_000


def read_mesh_file(path: Path) -> Points | Mesh:
    """The scene of the file; a mesh of very many triangles as points of its surface. ValueError when it is not readable."""
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(f"{path.suffix} files are read by trimesh: pip install 'h2w_ros[scene]'") from error
    try:
        loaded = trimesh.load_scene(str(path), process=False)
        parts = loaded.dump()
    except Exception as error:  # its many readers fail in as many ways
        raise ValueError(f"{path} is not a readable mesh: {type(error).__name__}: {error}") from error
    meshes = [_mesh(part) for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if meshes:
        mesh = joined(meshes)
        return mesh if len(mesh) <= MAX_TRIANGLES else sampled(mesh, SAMPLES)
    clouds = [part for part in parts if isinstance(part, trimesh.PointCloud)]
    if not clouds:
        raise ValueError(f"{path} must hold triangles or points, got neither")
    return _cloud(clouds, path)


def joined(meshes: list[Mesh]) -> Mesh:
    """All meshes as one."""
    vertices_before = np.cumsum([0, *(len(mesh.vertices_world) for mesh in meshes)])
    textures_before = np.cumsum([0, *(len(mesh.textures) for mesh in meshes)])
    textures_of_faces = [
        np.where(mesh.texture_of_face >= 0, mesh.texture_of_face + first, -1) for mesh, first in zip(meshes, textures_before[:-1], strict=True)
    ]
    return Mesh(
        np.concatenate([mesh.vertices_world for mesh in meshes]),
        np.concatenate([mesh.faces + first for mesh, first in zip(meshes, vertices_before[:-1], strict=True)]).astype(np.int32),
        np.concatenate([mesh.colors for mesh in meshes]),
        np.concatenate([mesh.uv for mesh in meshes]),
        np.concatenate(textures_of_faces).astype(np.int32),
        tuple(texture for mesh in meshes for texture in mesh.textures),
    )


def _mesh(part: Any) -> Mesh:
    """One of trimesh's meshes as ours; it must have triangles."""
    vertices, faces = np.asarray(part.vertices, np.float32), np.asarray(part.faces, np.int32)
    if part.visual.kind == "face":  # no two triangles share a color
        vertices, faces = vertices[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3)
        colors = np.repeat(np.asarray(part.visual.face_colors)[:, :3], 3, axis=0)
        return _untextured(vertices, faces, colors)
    texture, uv = _texture(part.visual), getattr(part.visual, "uv", None)
    if texture is not None and uv is not None and len(uv) == len(vertices):
        uv = np.nan_to_num(np.asarray(uv, np.float32))
        return Mesh(vertices, faces, np.full((len(vertices), 3), GREY, np.uint8), uv, np.zeros(len(faces), np.int32), (texture,))
    return _untextured(vertices, faces, _vertex_colors(part.visual, len(vertices)))


def _untextured(vertices: ndarray, faces: ndarray, colors: ndarray) -> Mesh:
    uv = np.zeros((len(vertices), 2), np.float32)
    return Mesh(vertices, faces, np.ascontiguousarray(colors, np.uint8), uv, np.full(len(faces), -1, np.int32))


def _texture(visual: Any) -> Image | None:
    """The base color's picture, in its factor's tint."""
    material = getattr(visual, "material", None)
    picture = getattr(material, "baseColorTexture", None)
    picture = getattr(material, "image", None) if picture is None else picture
    if picture is None:
        return None
    texture = np.asarray(picture.convert("RGB"), dtype=np.uint8)
    factor = getattr(material, "baseColorFactor", None)
    if factor is None:
        return texture
    tint = np.asarray(factor, np.float32)[:3] / (255.0 if np.asarray(factor).dtype.kind in "iu" else 1.0)
    return (texture * tint).round().clip(0, 255).astype(np.uint8)


def _vertex_colors(visual: Any, num_vertices: int) -> ndarray:
    if visual.kind == "vertex":
        return np.asarray(visual.vertex_colors)[:, :3]
    main = getattr(getattr(visual, "material", None), "main_color", None)
    color = np.full(3, GREY) if main is None else np.asarray(main)[:3]
    return np.broadcast_to(color, (num_vertices, 3))


def _cloud(clouds: list[Any], path: Path) -> Points:
    for cloud in clouds:
        if cloud.colors is None or len(cloud.colors) != len(cloud.vertices):
            raise ValueError(f"{path}: points of a scene must have colors (red, green and blue of each vertex)")
    points = np.concatenate([np.asarray(cloud.vertices, np.float32) for cloud in clouds])
    colors = np.concatenate([np.asarray(cloud.colors)[:, :3].astype(np.uint8) for cloud in clouds])
    finite = np.isfinite(points).all(axis=1)
    return Points(points[finite], colors[finite], radii_of(points[finite]))

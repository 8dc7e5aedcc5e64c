"""Painted textures as MuJoCo materials."""

from __future__ import annotations

import mujoco
import numpy as np

from h2w_ros.world.appearance import TEXTURE_PX, Texture


def add_texture(scene: mujoco.MjSpec, name: str, pixels: Texture, cube: bool, repeat: tuple[float, float] = (1, 1)) -> str:
    """A material of this name that shows the texture, around all sides where `cube`."""
    texture = scene.add_texture(name=name, width=TEXTURE_PX, height=TEXTURE_PX * (6 if cube else 1), nchannel=3)
    texture.type = mujoco.mjtTexture.mjTEXTURE_CUBE if cube else mujoco.mjtTexture.mjTEXTURE_2D
    texture.data = (np.tile(pixels, (6, 1, 1)) if cube else pixels).tobytes()
    material = scene.add_material(name=name, specular=0.2, shininess=0.4, texrepeat=repeat)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    return name


CAN_CHOOSE_SHADOWS = hasattr(mujoco.MjsGeom, "castshadow")
"""Since MuJoCo 4, which is for Python 3.11 and newer. Before it, whatever is lit from the side would be striped by its own shadow."""


def keep_from_shadowing(geom: mujoco.MjsGeom) -> None:
    """Lets it cast no shadow; where nobody can choose, nothing casts any."""
    if CAN_CHOOSE_SHADOWS:
        geom.castshadow = False

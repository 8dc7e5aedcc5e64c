"""Arms of ablations: what a recipe's model and lessons lack, under names.

Two arms that are compared get the same budget. `h2w evaluate --ablate NAME=MODEL NAME_reference=MODEL` holds one against the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from h2w_ros.generator.config import GeneratorConfig
from h2w_ros.training.config import Recipe


@dataclass(frozen=True)
class Arm:
    """What is changed.

    `rays` False: the network is told nothing of the camera. `moves_past` False: the last frame isn't moved along with the camera and the hands
    either, which would tell it the same; the output adds to the last frame as it was, and the refiner sees rays instead. `scene_shares`: those
    of lessons with the photo and with the true static scene. `hand_style` and `cut_hands`: hand pictures, and whether what hides hands cuts
    them. `contact_only`: lessons from episodes in which something is moved.
    """

    rays: bool = True
    moves_past: bool = True
    scene_shares: tuple[float, float] | None = None
    hand_style: str | None = None
    cut_hands: bool = False
    contact_only: bool = False

    def model(self, model: GeneratorConfig, name: str) -> GeneratorConfig:
        """The arm's model."""
        model = replace(model, name=f"{model.name}-{name}", hand_style=self.hand_style or model.hand_style)
        if not self.moves_past:
            model = _adding(model)
        return model if self.rays else _camera_blind(model)

    def recipe(self, recipe: Recipe) -> Recipe:
        """The arm's lessons."""
        if self.scene_shares is None:
            return recipe
        photo_share, static_share = self.scene_shares
        return replace(recipe, causal=replace(recipe.causal, photo_share=photo_share, static_share=static_share))


def _adding(model: GeneratorConfig) -> GeneratorConfig:
    """A model whose output is added to what is known, and whose refiner keeps nothing in mind that would have to be moved."""
    refiner = model.transformer.refiner
    plain = None if refiner is None else replace(refiner, memory=0, traced=False, dressed=False, rays=True)
    network = replace(model.transformer, out_dim=model.codec.latent_channels, refiner=plain)
    return replace(model, transformer=network, rollout=replace(model.rollout, prediction="residual"))


def _camera_blind(model: GeneratorConfig) -> GeneratorConfig:
    refiner = None if model.transformer.refiner is None else replace(model.transformer.refiner, rays=False)
    return replace(model, transformer=replace(model.transformer, add_control_adapter=False, refiner=refiner))


CAMERA_BLIND = Arm(moves_past=False, scene_shares=(0.0, 0.0))
CONTACT = Arm(contact_only=True)

ARMS = {
    "no_rays": replace(CAMERA_BLIND, rays=False),
    "no_rays_reference": CAMERA_BLIND,
    "cut_masks": replace(CONTACT, hand_style="silhouette", cut_hands=True),
    "cut_masks_reference": CONTACT,
    "static_scene": Arm(scene_shares=(0.0, 0.5)),
}
"""`no_rays`: camera rays, without a static scene to tell the camera (Hand2World's). `cut_masks`: 2D masks of what is seen of hands, as CosHand has
them, against complete hands. `static_scene`: the true scene in half of the lessons and none in the others (DWM's): one model runs with and without.
"""


def arm_of(name: str) -> Arm:
    """The arm of this name; a ValueError lists those there are."""
    if name not in ARMS:
        raise ValueError(f"an ablation must be one of {sorted(ARMS)}, got {name!r}")
    return ARMS[name]

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

    `rays` False: the network is told everything as if the camera stayed where it was first (`ClipSource.as_if_still`): hands are where they are in
    each picture, and neither rays nor the last frame's way tell how the camera moves. `scene_shares`: those of lessons with the photo and with the
    true static scene. `hand_style` and `cut_hands`: hand pictures, and whether they show only
    what the camera sees of hands and forearms. `contact_only`: lessons from episodes in which something is moved.
    """

    rays: bool = True
    scene_shares: tuple[float, float] | None = None
    hand_style: str | None = None
    cut_hands: bool = False
    contact_only: bool = False

    def model(self, model: GeneratorConfig, name: str) -> GeneratorConfig:
        """The arm's model."""
        return replace(model, name=f"{model.name}-{name}", hand_style=self.hand_style or model.hand_style)

    def recipe(self, recipe: Recipe) -> Recipe:
        """The arm's lessons."""
        if self.scene_shares is None:
            return recipe
        photo_share, static_share = self.scene_shares
        return replace(recipe, causal=replace(recipe.causal, photo_share=photo_share, static_share=static_share))


NO_SCENE = Arm(scene_shares=(0.0, 0.0))
CONTACT = Arm(contact_only=True)

ARMS = {
    "no_rays": replace(NO_SCENE, rays=False),
    "no_rays_reference": NO_SCENE,
    "cut_masks": replace(CONTACT, hand_style="silhouette", cut_hands=True),
    "cut_masks_reference": CONTACT,
    "static_scene": Arm(scene_shares=(0.0, 0.5)),
}
"""`no_rays`: nothing tells how the camera moves, and there is no static scene to tell it (Hand2World's). `cut_masks`: 2D masks of what is seen of
hands, as CosHand has them, against complete hands. `static_scene`: the true scene in half of the lessons and none in the others (DWM's): one model
runs with and without.
"""


def arm_of(name: str) -> Arm:
    """The arm of this name; a ValueError lists those there are."""
    if name not in ARMS:
        raise ValueError(f"an ablation must be one of {sorted(ARMS)}, got {name!r}")
    return ARMS[name]

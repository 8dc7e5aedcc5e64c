"""What a simulated episode is like, before a seed picks one."""

from __future__ import annotations

from dataclasses import dataclass

WORLD_VERSION = 6
"""Raised by every change that gives a seed another episode."""

TABLE_HEIGHT_M = 0.0
"""The table top, in the world's frame (z up)."""

FIRST_OBJECT = 3
"""Ids of what pixels show (`truth.GroundTruth`) are below it for the background and the two hands."""

EVALUATION_SEEDS_FROM = 900_000
"""Seeds from here on are for evaluation, never for training."""

TASK_NAMES = ("push", "carry", "reach", "topple", "operate", "hand_over")


@dataclass(frozen=True)
class WorldSpec:
    """Size, length and variety of the episodes; `simulate` draws one of them for a seed."""

    width_px: int = 128
    height_px: int = 96
    num_frames: int = 49
    rate_hz: float = 16.0
    substeps: int = 10
    """Physics steps a frame."""
    supersampling: int = 2
    """Pictures are drawn this many times larger and averaged."""
    shadow_map_px: int = 256
    """Side of the shadow map; 0 draws no shadows."""
    hfov_deg: tuple[float, float] = (42.0, 100.0)
    """Horizontal field of view, narrowest and widest."""
    anisotropy: float = 0.12
    """fy differs from fx by at most this share, in pictures of 4:3."""
    off_centre: float = 0.1
    """The optical axis is at most this share of the picture off its middle."""
    fixed_camera: float = 0.1
    """Share of the episodes whose camera stands still, and whose static render is the first frame (what real recordings offer)."""
    hands_in_first_frame: float = 0.7
    """Share of the hands that begin in the picture, as far as there is room."""
    ground_truth: bool = False
    """Whether episodes carry their GroundTruth; it changes nothing else."""
    num_objects: tuple[int, int] = (2, 5)
    two_hands: float = 0.4
    """Share of the episodes with both hands in them."""
    idle_episodes: float = 0.15
    """Share of the episodes in which no hand touches anything."""
    push: float = 0.16
    """Shares of what an acting hand does next where the table offers it; the rest is idle."""
    carry: float = 0.27
    reach: float = 0.04
    topple: float = 0.08
    operate: float = 0.3
    """Opens or closes a lid, a drawer or a book."""
    hand_over: float = 0.12

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px", "num_frames", "rate_hz", "substeps", "supersampling"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.shadow_map_px < 0:
            raise ValueError(f"shadow_map_px must be 0 (no shadows) or positive, got {self.shadow_map_px}")
        if not 20.0 <= self.hfov_deg[0] <= self.hfov_deg[1] <= 120.0:
            raise ValueError(f"hfov_deg must be a (low, high) pair within 20..120 degrees, got {self.hfov_deg}")
        if not 1 <= self.num_objects[0] <= self.num_objects[1] <= 8:
            raise ValueError(f"num_objects must be a (low, high) pair within 1..8 (more do not fit on the table), got {self.num_objects}")
        for name in ("anisotropy", "off_centre"):
            if not 0.0 <= getattr(self, name) <= 0.3:
                raise ValueError(f"{name} must be in 0..0.3, got {getattr(self, name)}")
        self._check_shares()

    def _check_shares(self) -> None:
        for name in ("two_hands", "idle_episodes", "fixed_camera", "hands_in_first_frame", *TASK_NAMES):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share and must be in 0..1, got {getattr(self, name)}")
        if sum(self.task_shares.values()) > 1.0 + 1e-9:
            raise ValueError(f"{' + '.join(TASK_NAMES)} must be at most 1 (the rest is idle), got {self.task_shares}")

    @property
    def task_shares(self) -> dict[str, float]:
        """How often an acting hand begins each task; what is missing to 1 is idleness."""
        return {name: getattr(self, name) for name in TASK_NAMES}

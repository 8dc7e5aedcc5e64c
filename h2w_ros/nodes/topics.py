"""Names and quality of service of every topic; all names are relative, so that remapping and namespaces work."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

# Into the conditioner.
IMAGE = "image_raw"
IMAGE_COMPRESSED = "image_raw/compressed"
CAMERA_INFO = "camera_info"
ODOMETRY = "odometry"
HANDS = "hands"
READY_MADE_HANDS = "ready_made_hands"
READY_MADE_SCENE = "ready_made_scene"
SCENE_POINTS = "scene_points"
TF_STATIC = "/tf_static"
RECORDING_INFO = "/recording_info"

# Out of the conditioner.
CONDITION = "condition"
HAND_RENDER = "hand_render"
STATIC_RENDER = "static_render"
PLUCKER_RAYS = "plucker_rays"
RAYS_PICTURE = "plucker_rays/picture"
CONDITION_MARKERS = "condition_markers"

# Into the scene node, beside what the conditioner hears.
DEPTH = "depth/image_raw"
DEPTH_COMPRESSED = "depth/image_raw/compressedDepth"
DEPTH_POINTS = "depth/points"
SAVE_SCENE = "save_scene"
CLEAR_SCENE = "clear_scene"

# Out of the generator.
PREDICTED_IMAGE = "predicted/image_raw"
PREDICTED_INFO = "predicted/camera_info"
PREDICTED_COMPRESSED = "predicted/compressed"
PREDICTED_VIDEO = "predicted/video"
PREDICTION = "predicted/prediction"
RESET_SESSION = "reset_session"
GROUND_SESSION = "ground_session"
PREDICT = "predict"

DIAGNOSTICS = "/diagnostics"
CLOCK = "/clock"

# A best-effort subscription hears reliable publishers too; the other way round nothing arrives.
SENSOR_IN = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
# Poses come at hundreds a second and cost nothing to keep: a short stall must not tear a hole into their track.
NUMBERS_IN = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
RESULT_OUT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE)
REPLAY_OUT = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=20, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Only the newest scene counts, and it must reach those who come later.
SCENE = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


INPUTS = (IMAGE, IMAGE_COMPRESSED, CAMERA_INFO, ODOMETRY, HANDS, READY_MADE_HANDS, READY_MADE_SCENE)


def reliable_inputs() -> dict[str, str]:
    """Parameters with which the conditioner asks for every message again that got lost: right for recordings.

    A raw picture goes out in fragments, and a best-effort picture is gone with any one of them.
    """
    return {f"qos_overrides./{name}.subscription.reliability": "reliable" for name in INPUTS}


def overridable() -> QoSOverridingOptions:
    """Lets parameters `qos_overrides.<topic>.<publisher|subscription>.{reliability,depth,history}` change a profile."""
    return QoSOverridingOptions.with_default_policies()

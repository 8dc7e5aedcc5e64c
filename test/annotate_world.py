"""What a detector would say of hands that are known: their points in the picture, with noise, and the hand's own shape, its size unknown."""

from h2w_ros.annotate.lift import ray_to, turn_to_ray
from h2w_ros.annotate.sighting import HandSighting
from h2w_ros.camera import project
from h2w_ros.condition import Camera
from h2w_ros.geometry import apply, invert
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world

CAMERA = Camera(640, 480, 520.0, 520.0, 320.0, 240.0)
RATE_HZ = 16.0


def stamps_ns(num_frames):
    return [round(frame * 1e9 / RATE_HZ) for frame in range(num_frames)]


def sighting_of(hand, camera, T_world_camera, rng, noise_px=0.0, depth_noise_m=0.0, **said):
    """The hand as it falls into a picture; its shape as seen along the ray to it, two thirds of its true size."""
    points = apply(invert(T_world_camera), hand_joints_and_tips_world(load_hand_model(hand.side), hand))
    places = project(camera, points) + rng.normal(scale=noise_px, size=(21, 2)) if noise_px else project(camera, points)
    turned = points @ turn_to_ray(ray_to(camera, places.mean(axis=0)))
    shape = turned - turned.mean(axis=0) + (0.0, 0.0, 1.0) * rng.normal(scale=depth_noise_m, size=(21, 1))
    return HandSighting(**{"side": hand.side, "points_px": places, "points_hand_m": shape / 1.5, "confidence": 0.9, **said})


def in_picture(hand, camera, T_world_camera):
    """Whether the whole hand is before the camera and in its picture."""
    points = apply(invert(T_world_camera), hand_joints_and_tips_world(load_hand_model(hand.side), hand))
    if points[:, 2].min() < 0.1:
        return False
    places = project(camera, points)
    return bool((places > 0).all() and (places < (camera.width_px, camera.height_px)).all())

"""What every importer's test asks: does the hand of an episode lie where it was drawn?"""

import numpy as np
from dataset_files import INDEX_TIP, dot_in

from h2w_ros import geometry
from h2w_ros.bulk.run import run_jobs
from h2w_ros.camera import project
from h2w_ros.hands.model import load_hand_model
from h2w_ros.hands.skinning import hand_joints_and_tips_world
from h2w_ros.imports.batch import Import
from h2w_ros.imports.dataset import ImportOptions


def import_all(name, source, out, **options):
    """Imports a folder in this process; sequence -> outcome."""
    task = Import(name, source, ImportOptions(**options))
    sequences = {job.name: job.payload for job in task.jobs()}
    return {sequences[outcome.name]: outcome for outcome in run_jobs(task.make_work(), task.jobs(), out)}


def tip_errors_px(episode, mano=None):
    """Distance between an episode's projected index fingertips and their dots, by side; one number a frame in which both are."""
    errors = {}
    for condition in episode.conditions():
        for hand in condition.hands:
            points = hand_joints_and_tips_world(load_hand_model(hand.side, mano), hand)
            tip_camera = geometry.apply(geometry.invert(condition.T_world_camera), points[INDEX_TIP])
            dot = dot_in(condition.image, hand.side)
            if dot is not None:
                errors.setdefault(hand.side, []).append(float(np.linalg.norm(project(condition.camera, tip_camera[None])[0] - dot)))
    return errors


def assert_tips_on_dots(episode, mano, most_px):
    """Every frame shows a dot of each of these sides, and the fingertip is at most so far from it."""
    errors = tip_errors_px(episode, mano)
    assert {side: len(found) for side, found in errors.items()} == dict.fromkeys(most_px, episode.num_frames)
    assert {side: max(found) for side, found in errors.items() if max(found) > most_px[side]} == {}

"""Pictures for the eye: hands drawn over the frames, and the camera's path from above."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from h2w_ros.camera import scaled
from h2w_ros.condition import Condition, Image
from h2w_ros.hands.render import HandRenderer

NUM_TILES, TILES_A_ROW, TILE_WIDTH_PX = 12, 4, 360
HAND_SHARE = 0.6
SHEET_QUALITY = 85
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
PATH_PX = 240


def tile_frames(num_frames: int) -> list[int]:
    """The frames that a sheet shows, spread evenly."""
    return sorted(set(np.linspace(0, num_frames - 1, NUM_TILES).round().astype(int).tolist()))


def contact_sheet(frames: Iterable[tuple[Image, Condition | None, str]], renderer: HandRenderer) -> Image:
    """Frames with their hands drawn over them, a line of text on each; a frame without a condition is shown as it is."""
    tiles = [_captioned(_overlaid(picture, moment, renderer), text) for picture, moment, text in frames]
    blank = np.zeros_like(tiles[0])
    rows = zip_longest(*[iter(tiles)] * TILES_A_ROW, fillvalue=blank)
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def jpeg(picture: Image) -> bytes:
    """The picture as a JPEG file."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY])
    if not done:
        raise OSError("OpenCV could not encode a JPEG")
    return data.tobytes()


def path_svg(centres: Float[ndarray, "n 3"], wrists: Sequence[ndarray]) -> str:
    """The camera's path (black, a dot where it begins) and the wrists', each (n, 3): left blue, right red; in the plane in which they spread most."""
    everything = np.concatenate([centres, *wrists])
    if len(everything) < 2:
        return ""
    middle = everything.mean(axis=0)
    axes = np.linalg.svd(everything - middle, full_matrices=False)[2][:2]
    flat = [(points - middle) @ axes.T for points in (centres, *wrists)]
    reach = max(float(np.abs(np.concatenate(flat)).max()), 1e-6)
    lines = [_polyline(points / reach, colour) for points, colour in zip(flat, ("#222", "#33c", "#c33"), strict=True)]
    begin = (flat[0][0] / reach + 1.0) * PATH_PX / 2 if len(flat[0]) else (0.0, 0.0)
    return (
        f'<svg width="{PATH_PX}" height="{PATH_PX}" viewBox="-6 -6 {PATH_PX + 12} {PATH_PX + 12}">{"".join(lines)}'
        f'<circle cx="{begin[0]:.1f}" cy="{begin[1]:.1f}" r="4"/><text x="0" y="{PATH_PX}" font-size="12">{2 * reach:.2f} m wide</text></svg>'
    )


def _polyline(points: Float[ndarray, "n 2"], colour: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (points + 1.0) * PATH_PX / 2)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _overlaid(picture: Image, moment: Condition | None, renderer: HandRenderer) -> Image:
    height = max(round(picture.shape[0] * TILE_WIDTH_PX / picture.shape[1]), 1)
    small = cv2.resize(picture, (TILE_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    if moment is None or not moment.hands:
        return small
    camera = scaled(moment.camera, TILE_WIDTH_PX, height)
    drawn = renderer.render(moment.hands, camera, moment.T_world_camera)
    is_hand = drawn.max(axis=2, keepdims=True) > 0
    mixed = np.round((1.0 - HAND_SHARE) * small + HAND_SHARE * drawn).astype(np.uint8)
    return np.where(is_hand, mixed, small)


def _captioned(tile: Image, text: str) -> Image:
    marked = np.ascontiguousarray(tile)
    (width, height), below = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
    cv2.rectangle(marked, (0, 0), (width + 8, height + below + 6), (0, 0, 0), -1)
    cv2.putText(marked, text, (4, height + 4), FONT, FONT_SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    return marked

"""What joints are called: every source's name of a joint, and where that joint stands among our 21 points.

The canonical names are OpenXR's: a joint is called after the bone that begins there. Beware: anatomists, and Manus, call
a finger's metacarpal bone MCP, while MediaPipe's MCP is the knuckle, where the proximal bone begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

FINGERS = ("thumb", "index", "middle", "ring", "little")
FINGER_BONES = ("metacarpal", "proximal", "intermediate", "distal", "tip")
THUMB_BONES = ("metacarpal", "proximal", "distal", "tip")

# First of our points (smplx's order) of every finger's chain that hands models know, and its tip.
_CHAINS = {"thumb": (13, 14, 15, 16), "index": (1, 2, 3, 17), "middle": (4, 5, 6, 18), "ring": (10, 11, 12, 19), "little": (7, 8, 9, 20)}

# OpenXR's XR_EXT_hand_tracking in its own order.
OPENXR_NAMES = ("palm", "wrist", *(f"{f}_{bone}" for f in FINGERS for bone in (THUMB_BONES if f == "thumb" else FINGER_BONES)))


def _points() -> dict[str, int | None]:
    """Canonical name -> place among our 21 points; None for joints that hand models have not."""
    points: dict[str, int | None] = {"palm": None, "wrist": 0, "forearm_wrist": None, "forearm_arm": None}
    for finger, chain in _CHAINS.items():
        bones = THUMB_BONES if finger == "thumb" else FINGER_BONES[1:]
        points |= {f"{finger}_{bone}": point for bone, point in zip(bones, chain, strict=True)}
        points.setdefault(f"{finger}_metacarpal", None)
    return points


POINTS: Mapping[str, int | None] = _points()

_FINGER_WORDS = {"pinky": "little", "pinkie": "little", "small": "little", **{finger: finger for finger in FINGERS}}
_BONE_WORDS = {
    "meta": "metacarpal",
    "cmc": "metacarpal",
    "base": "metacarpal",
    "knuckle": "proximal",
    "middle": "intermediate",
    "inter": "intermediate",
    **{bone: bone for bone in FINGER_BONES},
}
# Words that say nothing: "index-finger-phalanx-proximal", "IndexMiddleJoint", "index_finger_tip".
_EMPTY_WORDS = {"finger", "phalanx", "phalange", "joint", "bone", "hand", "xr", "ext"}
# MediaPipe's abbreviations, which count from the knuckle.
_FINGER_ABBREVIATIONS = {"mcp": "proximal", "pip": "intermediate", "dip": "distal"}
_THUMB_ABBREVIATIONS = {"mcp": "proximal", "ip": "distal"}


def canonical_name(name: str) -> str | None:
    """OpenXR's name of a joint in any usual spelling (camel case, dashes, MediaPipe's MCP/PIP/DIP); None for an unknown one."""
    words = [word for word in _words(name) if word not in _EMPTY_WORDS]
    if words in (["wrist"], ["palm"]):
        return words[0]
    if words in (["forearm", "wrist"], ["forearm", "arm"]):
        return "_".join(words)
    if len(words) != 2 or words[0] not in _FINGER_WORDS:
        return None
    finger = _FINGER_WORDS[words[0]]
    abbreviations = _THUMB_ABBREVIATIONS if finger == "thumb" else _FINGER_ABBREVIATIONS
    bone = abbreviations.get(words[1]) or _BONE_WORDS.get(words[1])
    found = f"{finger}_{bone}"
    return found if found in POINTS else None


def _words(name: str) -> list[str]:
    """Lower-case words of a name in snake, kebab, camel or upper case."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^A-Za-z]+", spaced.lower()) if word]

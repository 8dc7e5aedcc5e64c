"""Videos as jobs of the bulk runner, each to become one episode, or to be rejected with its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from h2w_ros.annotate.cameras.path import CameraSource, NoCameraPathError
from h2w_ros.annotate.clip import Clip, fingerprint, open_clip
from h2w_ros.annotate.intrinsics import intrinsics_of
from h2w_ros.annotate.pipeline import AnnotateConfig, Annotation, annotate_clip, hands_alone, wrists
from h2w_ros.annotate.report import REPORT_FOLDER
from h2w_ros.annotate.saved_sightings import load_sightings, save_sightings
from h2w_ros.annotate.sheets import contact_sheet, jpeg, path_svg, tile_frames
from h2w_ros.annotate.sighting import HandDetector, Sightings
from h2w_ros.bulk.job import Job, MakeWork, RejectedError, Work
from h2w_ros.condition import Image
from h2w_ros.episodes.recording import REAL
from h2w_ros.episodes.writer import EpisodeWriter
from h2w_ros.hands.render import HandRenderer

# Files of a folder that are taken for videos; a file that is named itself is tried whatever it is called.
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Task:
    """What all videos of a batch share: who looks for hands and for the camera, with which settings, and where results go."""

    out: Path
    detector: HandDetector
    cameras: CameraSource
    config: AnnotateConfig

    def jobs(self, videos: Sequence[Path]) -> list[Job]:
        """One a video; a video that is not there is a job too, and fails. ValueError where two would read the same results of others."""
        for source in (self.detector, self.cameras):
            _check_results(getattr(source, "path_of", None), videos)
        keys = [_digest(_contents(video), repr(self.detector), repr(self.cameras), repr(self.config)) for video in videos]
        return [Job(name, video, key) for name, video, key in zip(names_of(videos), videos, keys, strict=True)]

    def make_work(self) -> MakeWork:
        """What every worker begins with."""
        return partial(_annotator, self)

    def beside(self, name: str, suffix: str) -> Path:
        """A file of the report's folder."""
        path = self.out / REPORT_FOLDER / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _check_results(path_of: str | None, videos: Sequence[Path]) -> None:
    counts = Counter(path_of.replace("{name}", video.stem) for video in videos) if path_of else Counter()
    for path, count in counts.most_common(1):
        if count > 1:
            raise ValueError(
                f"{path} holds results of one video, {count} videos would take them for theirs: write {{name}} where a video's name"
                " stands, and annotate videos of the same name apart, each with an --out of its own"
            )


def videos_in(paths: Sequence[Path], out: Path) -> list[Path]:
    """The files among these paths, and the video files of the folders among them, however deep; FileNotFoundError for a folder without any.

    What lies in `out` is results.
    """
    found: list[Path] = []
    for path in paths:
        inside = (
            sorted(file for file in path.rglob("*") if _is_video(file) and out.absolute() not in file.absolute().parents) if path.is_dir() else [path]
        )
        if not inside:
            raise FileNotFoundError(f"{path} holds no videos ({', '.join(SUFFIXES)})")
        found += inside
    return found


def _is_video(file: Path) -> bool:
    """Archives from a Mac leave hidden files of the same names beside videos."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def names_of(videos: Sequence[Path]) -> list[str]:
    """A name for every video: its file's, with as many folders before it as tell it from others of that name."""
    parts = [(*video.absolute().parts[1:-1], video.stem) for video in videos]
    names = [video.stem for video in videos]
    for depth in range(2, max(map(len, parts), default=1) + 1):
        counts = Counter(names)
        names = [name if counts[name] == 1 else "-".join(path[-depth:]) for name, path in zip(names, parts, strict=True)]
    counts = Counter(names)
    twice = [str(video) for video, name in zip(videos, names, strict=True) if counts[name] > 1]
    if twice:
        raise ValueError(f"videos must have names of their own (folders and file), these have not: {', '.join(twice)}")
    if REPORT_FOLDER in names:
        raise ValueError(f"a video must not be called {REPORT_FOLDER!r}: the report lies there; rename it")
    return names


def annotate_video(task: Task, video: Path, place: Path) -> Mapping[str, Any]:
    """Annotates one video and writes its episode; what the report tells about it.

    RejectedError when the camera's path cannot be known, or the quality gate rejects the clip: then no episode is written.
    """
    clip = open_clip(video, task.config.clip)
    sightings = sightings_of(task, clip, place.name)
    try:
        annotation = annotate_clip(clip, sightings, task.cameras, task.config)
    except NoCameraPathError as error:
        annotation = hands_alone(clip, sightings, task.config, str(error))
    result = told(annotation)
    task.beside(place.name, ".jpg").write_bytes(jpeg(_sheet(annotation, place.name, HandRenderer(hand_models=task.config.hands.mano))))
    if annotation.reasons:
        raise RejectedError("; ".join(annotation.reasons), result)
    _write_episode(place, annotation, {"hands": task.detector.name, **result})
    return result


def sightings_of(task: Task, clip: Clip, name: str) -> list[Sightings]:
    """What the detector sees, from an earlier run where video, detector and settings are the same."""
    key = _digest(_contents(clip.path), repr(task.detector), repr(task.config.clip), repr(task.config.intrinsics))
    path = task.beside(name, f".{task.detector.name}.sightings.gz")
    saved = load_sightings(path, key)
    if saved is not None:
        return saved
    found = list(task.detector.sightings(clip, intrinsics_of(clip, task.config.intrinsics).camera))
    if len(found) != clip.num_frames:
        raise ValueError(f"{task.detector.name} told about {len(found)} frames, {clip.path} has {clip.num_frames} at {clip.rate_hz:g} Hz")
    save_sightings(path, found, key)
    return found


def told(annotation: Annotation) -> dict[str, Any]:
    """What is noted about a clip, JSON: `frames`, `scores`, `dropped`, `camera` and a drawing of the paths; missing numbers are None."""
    intrinsics, centres = annotation.path.intrinsics, annotation.path.centres
    camera = {"path": annotation.path.source, "intrinsics": intrinsics.source, "fx": intrinsics.camera.fx, "fy": intrinsics.camera.fy}
    scores = {name: None if value != value else value for name, value in asdict(annotation.scores).items()}
    return {
        "video": str(annotation.clip.path),
        "frames": len(annotation.conditions),
        "scores": scores,
        "dropped": dict(annotation.dropped),
        "camera": camera | ({"scale by": annotation.scale.source} if annotation.scale.source else {}),
        "path_svg": path_svg(centres, [wrists(annotation.conditions, side) for side in ("left", "right")]) if len(centres) else "",
    }


def _annotator(task: Task) -> Work:
    return partial(annotate_video, task)


def _sheet(annotation: Annotation, name: str, renderer: HandRenderer) -> Image:
    shown = set(tile_frames(annotation.clip.num_frames))
    frames = (
        (picture, moment, f"{name} {index} {annotation.clip.stamps_ns[index] * 1e-9:.2f} s")
        for index, (picture, moment) in enumerate(annotation.with_pictures())
        if index in shown
    )
    return contact_sheet(frames, renderer)


def _write_episode(place: Path, annotation: Annotation, made: Mapping[str, Any]) -> None:
    description = {"annotated from": annotation.clip.path.name, **{key: made[key] for key in ("hands", "camera", "scores")}}
    with EpisodeWriter(place, annotation.clip.rate_hz, REAL, description) as writer:
        for picture, moment in annotation.with_pictures():
            if moment is not None:
                writer.write(replace(moment, image=picture))
        writer.dropped = dict(annotation.dropped)


def _contents(video: Path) -> str:
    return fingerprint(video) if video.is_file() else "missing"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

"""Videos to episodes, one by one: what is done stays done, and what goes wrong with one video says so and stops no other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from h2w_ros.annotate.cameras.path import CameraSource, NoCameraPathError
from h2w_ros.annotate.clip import Clip, fingerprint, open_clip
from h2w_ros.annotate.intrinsics import intrinsics_of
from h2w_ros.annotate.outcome import Outcome, read_outcome, write_outcome
from h2w_ros.annotate.pipeline import AnnotateConfig, Annotation, annotate_clip, wrists
from h2w_ros.annotate.report import REPORT_FOLDER
from h2w_ros.annotate.saved_sightings import load_sightings, save_sightings
from h2w_ros.annotate.sheets import contact_sheet, jpeg, path_svg, tile_frames
from h2w_ros.annotate.sighting import HandDetector, Sightings
from h2w_ros.condition import Image
from h2w_ros.episodes.recording import REAL
from h2w_ros.episodes.writer import EpisodeWriter
from h2w_ros.hands.render import HandRenderer

Watch = Callable[[Iterator[Sightings], Clip], Iterator[Sightings]]


@dataclass(frozen=True)
class Job:
    """One video: where it is, what it is to be called, who looks for hands and cameras, and where the episode goes."""

    video: Path
    name: str
    out: Path
    detector: HandDetector
    cameras: CameraSource
    config: AnnotateConfig

    @property
    def episode(self) -> Path:
        """The folder of the episode."""
        return self.out / self.name

    def beside(self, suffix: str) -> Path:
        """A file of the report's folder."""
        return self.out / REPORT_FOLDER / f"{self.name}{suffix}"

    @property
    def key(self) -> str:
        """What the result depends on."""
        return _digest(fingerprint(self.video), repr(self.detector), repr(self.cameras), repr(self.config))

    @property
    def sightings_key(self) -> str:
        """What the sightings depend on."""
        return _digest(fingerprint(self.video), repr(self.detector), repr(self.config.clip), repr(self.config.intrinsics))


def names_of(videos: Sequence[Path]) -> list[str]:
    """A name for every video: its file's, with the folder's before it where two would be the same."""
    counts = Counter(video.stem for video in videos)
    names = [video.stem if counts[video.stem] == 1 else f"{video.absolute().parent.name}-{video.stem}" for video in videos]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"videos must have names of their own (folder and file), these have not: {', '.join(twice)}")
    if REPORT_FOLDER in names:
        raise ValueError(f"a video must not be called {REPORT_FOLDER!r}: the report lies there; rename it")
    return names


def finished(job: Job) -> Outcome | None:
    """The outcome of an earlier run with the same video and settings, if that came to an end."""
    outcome = read_outcome(job.beside(".json"))
    if outcome is None or outcome.status == "failed" or not job.video.is_file() or outcome.key != job.key:
        return None
    return outcome if outcome.status == "rejected" or job.episode.is_dir() else None


def annotate_video(job: Job, watch: Watch = lambda frames, _: frames) -> Outcome:
    """Annotates one video and writes its episode, unless the quality gate rejects it; `watch` may look at the detector's progress.

    A video that cannot be annotated has an outcome too, with its reason.
    """
    try:
        outcome = _annotated(job, watch)
    except NoCameraPathError as error:
        outcome = Outcome(job.name, str(job.video), "rejected", job.key, (str(error),))
    except (ValueError, OSError) as error:
        outcome = Outcome(job.name, str(job.video), "failed", "", (str(error),))
    write_outcome(job.beside(".json"), outcome)
    return outcome


def _annotated(job: Job, watch: Watch) -> Outcome:
    _check_free(job)
    clip = open_clip(job.video, job.config.clip)
    annotation = annotate_clip(clip, _sightings(job, clip, watch), job.cameras, job.config)
    camera = annotation.path.intrinsics
    outcome = Outcome(
        name=job.name,
        video=str(job.video),
        status="rejected" if annotation.reasons else "annotated",
        key=job.key,
        reasons=annotation.reasons,
        scores=asdict(annotation.scores),
        dropped=annotation.dropped,
        camera={"path": annotation.path.source, "intrinsics": camera.source, "fx": camera.camera.fx, "fy": camera.camera.fy},
        path_svg=path_svg(annotation.path.centres, [wrists(annotation.conditions, side) for side in ("left", "right")]),
    )
    job.beside(".jpg").write_bytes(jpeg(_sheet(job, annotation)))
    if outcome.status == "annotated":
        _write_episode(job, annotation, outcome)
    return outcome


def _check_free(job: Job) -> None:
    """An episode of this name that another video or other settings left must not be lost by accident."""
    if job.episode.exists():
        raise FileExistsError(f"{job.episode} is there already, from another video or other settings; remove it or choose another --out")


def _sightings(job: Job, clip: Clip, watch: Watch) -> list[Sightings]:
    path = job.beside(f".{job.detector.name}.sightings.gz")
    saved = load_sightings(path, job.sightings_key)
    if saved is not None:
        return saved
    camera = intrinsics_of(clip, job.config.intrinsics).camera
    found = list(watch(job.detector.sightings(clip, camera), clip))
    if len(found) != clip.num_frames:
        raise ValueError(f"{job.detector.name} told about {len(found)} frames, the clip has {clip.num_frames}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_sightings(path, found, job.sightings_key)
    return found


def _sheet(job: Job, annotation: Annotation) -> Image:
    shown = set(tile_frames(annotation.clip.num_frames))
    frames = (
        (picture, moment, f"{job.name} {index} {annotation.clip.stamps_ns[index] * 1e-9:.2f} s")
        for index, (picture, moment) in enumerate(annotation.with_pictures())
        if index in shown
    )
    return contact_sheet(frames, HandRenderer(hand_models=job.config.hands.mano))


def _write_episode(job: Job, annotation: Annotation, outcome: Outcome) -> None:
    description = {"annotated from": job.video.name, "hands": job.detector.name, "camera": dict(outcome.camera), "scores": dict(outcome.scores)}
    with EpisodeWriter(job.episode, annotation.clip.rate_hz, REAL, description) as writer:
        for picture, moment in annotation.with_pictures():
            if moment is not None:
                writer.write(replace(moment, image=picture))
        writer.dropped = dict(annotation.dropped)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

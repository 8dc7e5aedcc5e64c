"""`h2w world sample`: episodes of the simulated world, a video of each, and a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.world.simulate import WorldEpisode
    from h2w_ros.world.spec import WorldSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`h2w world sample --seed 7 --episodes 16 --out samples`."""
    parser.epilog = (
        "Writes OUT/episode_SEED (an episode folder with truth.parquet: ids, depth, object poses, contacts; docs/episode.md), "
        "OUT/episode_SEED.mp4 (picture, untouched scene, masks, depth) and OUT/contact_sheet.png. "
        "Seeds from 900000 are for evaluation. Needs OpenGL without a display: apt-get install libegl1 libgl1-mesa-dri"
    )
    parser.add_argument("action", choices=["sample"], help="sample: simulate episodes of consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=8, help="how many (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=49, help="frames an episode, at 16 a second (default: %(default)s)")
    parser.add_argument("--width", type=int, default=128, help="pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=96, help="pixels (default: %(default)s); cameras see 4:3, squashed into other proportions")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; episodes that it already holds are refused")


def run(args: argparse.Namespace) -> int:
    """Simulates and writes; 0 when every seed gave an episode, 1 when some were left out."""
    import cv2
    from tqdm import tqdm

    from h2w_ros.world.dataset import simulate_many
    from h2w_ros.world.preview import contact_row, contact_sheet
    from h2w_ros.world.spec import WorldSpec

    if args.episodes < 1:
        raise ValueError(f"--episodes must be at least 1, got {args.episodes}")
    spec = WorldSpec(width_px=args.width, height_px=args.height, num_frames=args.frames, ground_truth=True)
    args.out.mkdir(parents=True, exist_ok=True)
    failed: dict[int, str] = {}
    rows = []
    seeds = range(args.seed, args.seed + args.episodes)
    for seed, episode in tqdm(simulate_many(seeds, spec, args.workers, failed), total=args.episodes, unit="episode", disable=None):
        _write(args.out / f"episode_{seed:06d}", episode, spec)
        rows.append(contact_row(episode))
    if rows:
        sheet = args.out / "contact_sheet.png"
        cv2.imwrite(str(sheet), contact_sheet(rows)[..., ::-1])
        print(f"{len(rows)} episodes in {args.out}; look at {sheet}")
    return 1 if failed else 0


def _write(path: Path, episode: WorldEpisode, spec: WorldSpec) -> None:
    from h2w_ros.episodes.recording import SIMULATED_TABLETOP
    from h2w_ros.episodes.writer import EpisodeWriter
    from h2w_ros.video import write_video
    from h2w_ros.world.preview import side_by_side
    from h2w_ros.world.truth_file import write_truth
    from h2w_ros.world.view import pixel_aspect

    with EpisodeWriter(path, spec.rate_hz, domain=SIMULATED_TABLETOP, description=episode.description) as writer:
        for condition, hand, thing in zip(episode.conditions, episode.hand_masks, episode.object_masks, strict=True):
            writer.write(condition, {"hand": hand, "object": thing})
    if episode.truth is not None:
        write_truth(path, episode.truth)
    shown = side_by_side(episode)
    write_video(path.with_suffix(".mp4"), shown, spec.rate_hz, pixel_aspect=pixel_aspect(spec.width_px, spec.height_px))

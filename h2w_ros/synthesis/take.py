"""What is to be synthesized: one take is one recording in one variation, and becomes one episode."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Literal, cast, get_args

from h2w_ros.bulk.job import Job
from h2w_ros.episodes.bag_alignment import BagOptions
from h2w_ros.episodes.recording import open_recording
from h2w_ros.synthesis.gate import GateConfig
from h2w_ros.synthesis.motion import starts_alike
from h2w_ros.synthesis.source import content_hash

Kind = Literal["seed", "retimed", "perturbed", "mirrored", "swapped", "camera"]
KINDS = cast("tuple[Kind, ...]", get_args(Kind))
ONLY_ONCE = ("mirrored", "swapped")
"""There is one mirror picture, and one swap a donor; another seed makes more of them."""


@dataclass(frozen=True)
class Take:
    """`number` counts within a kind, from 1, and seeds both the variation and the generator. `donor`: whose hands a swap takes."""

    source: Path
    source_hash: str
    kind: Kind
    number: int
    donor: Path | None = None
    donor_hash: str = ""


@dataclass(frozen=True)
class SynthesisConfig:
    """What all takes share. `seeds_compared`: futures of each, the first of which is kept; their difference is the spread.

    `max_frames` None: as many as the recording has. `model_hash` and `code_version` go into every episode's provenance.
    """

    model: str
    model_hash: str
    code_version: str
    gate: GateConfig = field(default_factory=GateConfig)
    seeds_compared: int = 2
    max_frames: int | None = None
    mcap: bool = True
    bag: BagOptions | None = None

    def __post_init__(self) -> None:
        if self.seeds_compared < 1:
            raise ValueError(f"seeds_compared must be at least 1 (which gives no spread), got {self.seeds_compared}")
        if self.max_frames is not None and self.max_frames < 2:
            raise ValueError(f"an episode needs at least 2 frames, got max_frames (--frames) {self.max_frames}")


def parsed_kinds(words: Sequence[str]) -> dict[Kind, int]:
    """How many of each kind: 'seed=3', 'mirrored'. ValueError for words that say nothing known."""
    counts: dict[Kind, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        count = int(number) if number.isdecimal() else 1 if not number else 0
        kind = next((kind for kind in KINDS if kind == name), None)
        if kind is not None and number.isdecimal() and count < 1:
            raise ValueError(f"of a variation there is at least one, got {word!r}: leave it out, or ask for more")
        if kind is None or count < 1 or word.endswith("="):
            raise ValueError(f"a variation is one of {', '.join(KINDS)}, with =COUNT if there are to be more of them; got {word!r}")
        counts[kind] = count
    return counts


def takes_of(sources: Sequence[Path], kinds: Mapping[Kind, int], config: SynthesisConfig) -> list[Take]:
    """Every take of every recording, recordings one after the other."""
    hashes = {source: content_hash(source) for source in sources}
    donors = donors_of(sources, config.bag) if "swapped" in kinds else {}
    takes = []
    for source in sources:
        for kind, count in kinds.items():
            if kind == "swapped":
                pairs = product(donors[source], range(1, count + 1))
                takes += [Take(source, hashes[source], kind, number, donor, hashes[donor]) for donor, number in pairs]
            else:
                takes += [Take(source, hashes[source], kind, number) for number in range(1, count + 1)]
    return takes


def donors_of(sources: Sequence[Path], bag: BagOptions | None) -> dict[Path, list[Path]]:
    """For every recording the others that begin as it does: same lens, same hands in about the same places."""
    firsts = {source: next(open_recording(source, bag).conditions(), None) for source in sources}
    return {
        source: [
            other for other, start in firsts.items() if other != source and first is not None and start is not None and starts_alike(first, start)
        ]
        for source, first in firsts.items()
    }


def jobs_of(takes: Sequence[Take], config: SynthesisConfig) -> list[Job]:
    """Takes by name; their key says from what and with which settings they are made. A newer h2w_ros does not make them again."""
    stems = _stems(takes)
    return [Job(_name(take, stems), take, _key(take, config)) for take in takes]


def _stems(takes: Sequence[Take]) -> dict[Path, str]:
    """A short name for every recording; those that would share one are told apart by what is in them."""
    hashes = {path: digest for take in takes for path, digest in ((take.source, take.source_hash), (take.donor, take.donor_hash)) if path is not None}
    plain = {path: path.name.removesuffix(".mcap").removesuffix(".db3").replace(":", "-").lstrip(".") for path in hashes}
    names = list(plain.values())
    return {path: stem if names.count(stem) == 1 else f"{stem}-{hashes[path][:8]}" for path, stem in plain.items()}


def _name(take: Take, stems: Mapping[Path, str]) -> str:
    donor = "" if take.donor is None else f"-{stems[take.donor]}"
    return f"{stems[take.source]}-{take.kind}{donor}-{take.number}"


def _key(take: Take, config: SynthesisConfig) -> str:
    said = (take.source_hash, take.donor_hash, take.kind, take.number, replace(config, code_version=""))
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

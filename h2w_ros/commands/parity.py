"""`h2w parity DIR`: each tensor's error against a golden folder; exit code 1 when one is too large."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of golden values."""
    parser.add_argument("folder", type=Path, help="a folder with meta.json, transformer, LoRAs, inputs.safetensors and outputs.safetensors")


def run(args: argparse.Namespace) -> int:
    """Prints max|ours - theirs| / max|theirs| of every tensor."""
    from h2w_ros.generator.parity import LARGEST_ERROR, compare

    failures = 0
    for result in compare(args.folder):
        failures += not result.passed
        print(f"{'ok  ' if result.passed else 'FAIL'}  {result.error:9.2e}  {result.name}", flush=True)
    print(f"{failures} tensors beyond {LARGEST_ERROR:g}" if failures else f"all within {LARGEST_ERROR:g}")
    return int(failures > 0)

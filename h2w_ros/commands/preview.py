"""`h2w preview`: a page in the browser, to reach into a photo with a hand of one's own and to watch a robot's live session."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

EPILOG = """\
The page answers to this machine only. With --host 0.0.0.0 (or an address of yours) others reach it too, with the token that is then printed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the page is served, and what is on it."""
    parser.epilog = EPILOG
    parser.add_argument("--model", default="tiny", help="shipped model's name or a model folder (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="0 takes any free one (default: %(default)s)")
    parser.add_argument("--token", default="", help="what visitors from elsewhere must know (default: a fresh one)")
    parser.add_argument("--scene", type=Path, action="append", default=[], metavar="RECORDING", help="a photo of your own to reach into; repeatable")
    parser.add_argument("--open", action="store_true", help="open the page in the browser of this machine")


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    from h2w_ros.web.generator_process import GeneratorProcess
    from h2w_ros.web.live import LiveHub
    from h2w_ros.web.scenes import scene_of_recording, shipped_scenes
    from h2w_ros.web.server import PageConfig, PageServer

    scenes = [*(scene_of_recording(path) for path in args.scene), *shipped_scenes()]
    generator = GeneratorProcess(args.model)
    server = PageServer(PageConfig(args.host, args.port, args.token), generator, LiveHub("ROS 2 is not running here"), scenes)
    generator.start()
    try:
        address = server.start()
        print(f"Reach into a photo:  {address}   (Ctrl-C ends)", flush=True)
        if args.open:
            import webbrowser

            webbrowser.open(address)
        threading.Event().wait()
    finally:
        server.stop()
        generator.stop()
    return 0

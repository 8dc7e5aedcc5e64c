"""`h2w preview`: a page in the browser, to reach into a photo with a hand of one's own and to watch a robot's live session."""

from __future__ import annotations

import argparse
import json
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2w_ros.web.scenes import Scene

EPILOG = """\
The page answers to this machine only. With --host 0.0.0.0 (or an address of yours) others reach it too, with the token that is then printed.
Where ROS 2 is, the page also shows the live session of `h2w run`; everything after --ros-args is ROS's own.
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
    parser.add_argument("--no-ros", action="store_true", help="photos only, even where ROS 2 is")
    parser.add_argument("--ros-args", nargs=argparse.REMAINDER, default=[], help="arguments for ROS")


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    missing = [package for package in ("rclpy", "h2w_msgs") if find_spec(package) is None]
    if args.no_ros or missing:
        absence = (
            "this page was started with --no-ros"
            if args.no_ros
            else f"{' and '.join(missing)} cannot be imported here: source ROS 2 for live sessions"
        )
        return _serve_photos(args, absence)
    from h2w_ros.nodes.preview import main

    return main(ros_arguments(args), lambda address: _tell(address, args.open), _own_scenes(args))


def ros_arguments(args: argparse.Namespace) -> list[str]:
    """The same as ROS arguments."""
    given = {"model": args.model, "host": args.host, "port": args.port} | ({"token": args.token} if args.token else {})
    # Quoted, as YAML reads them: a token of digits is no number.
    return ["h2w", "--ros-args", *(word for name, value in given.items() for word in ("-p", f"{name}:={json.dumps(value)}")), *args.ros_args]


def _serve_photos(args: argparse.Namespace, absence: str) -> int:
    from h2w_ros.web.generator_process import GeneratorProcess
    from h2w_ros.web.live import LiveHub
    from h2w_ros.web.scenes import shipped_scenes
    from h2w_ros.web.server import PageConfig, PageServer

    generator = GeneratorProcess(args.model)
    server = PageServer(PageConfig(args.host, args.port, args.token), generator, LiveHub(absence), [*_own_scenes(args), *shipped_scenes()])
    generator.start()
    try:
        _tell(server.start(), args.open)
        threading.Event().wait()
    finally:
        server.stop()
        generator.stop()
    return 0


def _own_scenes(args: argparse.Namespace) -> list[Scene]:
    from h2w_ros.web.scenes import scene_of_recording

    return [scene_of_recording(path) for path in args.scene]


def _tell(address: str, opens: bool) -> None:
    """Says where the page is; opens it where that is wanted."""
    print(f"Reach into a photo:  {address}   (Ctrl-C ends)", flush=True)
    if opens:
        import webbrowser

        webbrowser.open(address)

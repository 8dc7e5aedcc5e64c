"""What the middleware needs to carry pictures."""

from __future__ import annotations

import os

from h2w_ros.paths import config_dir

# The name up to Fast DDS 2 and the one from 3 on.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def make_room_for_pictures() -> None:
    """Names our Fast DDS profile to the processes that start from here, unless the user named one; before `rclpy.init`.

    With the default 512 kB of shared memory, raw pictures delay everything else by seconds; config/fastdds.xml says more.
    """
    profile = config_dir() / "fastdds.xml"
    if profile.is_file() and not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(profile)))

"""The live half of the preview page in a real browser, beside real nodes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from browser_fixture import NEEDS_BROWSER, eventually, frames_come, running_browser, seen
from page_fixture import EchoGenerator, scenes
from robot_fixture import Robot, conditioner, generator
from ros_fixture import EchoSession, Ros, conditions, hand

from h2w_ros.condition import Condition
from h2w_ros.nodes.params import overrides
from h2w_ros.nodes.preview import Preview

pytestmark = NEEDS_BROWSER
BLUE = (20, 60, 200)


class Playing:
    """A robot that goes on and on, until it is stopped."""

    def __init__(self, robot: Robot, moments: list[Condition]) -> None:
        self._robot, self._moments = robot, moments
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> Playing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _play(self) -> None:
        for moment in self._moments:
            if self._is_over.wait(0.05):
                return
            self._robot.send(moment)


@pytest.fixture
def address(ros: Ros) -> str:
    told: list[str] = []
    ros.add(Preview(told.append, scenes(), EchoGenerator, context=ros.context, parameter_overrides=overrides(port=0)))
    return told[0]


def test_a_live_session_is_seen_judged_reset_and_grounded(ros: Ros, address: str) -> None:
    session = EchoSession()
    generator(ros, session, listens=True)
    conditioner(ros)
    moments = [replace(moment, image=np.full_like(moment.image, BLUE), hands=(hand(5),)) for moment in conditions(1200)]
    with running_browser() as browser, Playing(Robot(ros), moments):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.click("#tab-live")
        frames_come(page, 5)

        eventually(page, lambda: page.locator("#status").inner_text() == "live")
        assert page.locator("#veil").is_hidden()
        assert np.abs(seen(page, "camera") - BLUE).mean() < 25.0
        eventually(page, lambda: "L" in str(page.locator("#camera-hands path").first.get_attribute("d")))  # the hand, over the camera's picture
        eventually(page, lambda: page.locator("#latency").inner_text().endswith(" ms"))
        eventually(page, lambda: page.locator("#disagreement").inner_text() not in ("", "–"))

        page.click("#ground")
        eventually(page, lambda: len(session.observed) == 1)
        page.locator("#seed").fill("7")
        page.click("#reset")
        eventually(page, lambda: session.resets[-1] == (None, 7))
        page.check("#lay-over")
        camera, prediction = (page.locator(f"#{name}-frame").bounding_box() for name in ("camera", "prediction"))
        assert camera == prediction, "the prediction lies over the camera's picture"
        page.close()

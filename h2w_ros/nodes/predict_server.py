"""The action `predict`: goals in; videos and scores out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle

from h2w_msgs.action import Predict
from h2w_msgs.msg import PredictedVideo, PredictionScore
from h2w_ros.condition import Image
from h2w_ros.nodes import topics
from h2w_ros.nodes.images import bytes_field, image_to_compressed
from h2w_ros.nodes.predictor import Job, Outcome, Predictor
from h2w_ros.nodes.questions import read_goal
from h2w_ros.video import write_video

if TYPE_CHECKING:
    from h2w_ros.planning.prediction import Prediction
    from h2w_ros.planning.scores import Score

VIDEO_FORMAT = "mp4/h264"


class PredictServer:
    """Takes goals for a predictor that comes and goes with the node's states, and brings its answers back.

    Every goal is accepted, and one that cannot be met is aborted at once: unlike a rejection, that carries the reason.
    `latest` gives the camera's newest picture, `quality` that of the feedback's JPEGs.
    """

    def __init__(self, node: Any, latest: Callable[[], Image | None], quality: Callable[[], int]) -> None:
        self._node, self._latest, self._quality = node, latest, quality
        self._predictor: Predictor | None = None
        self._server = ActionServer(
            node,
            Predict,
            topics.PREDICT,
            execute_callback=lambda handle: _refused(handle, "a goal came without a question"),
            handle_accepted_callback=self._on_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def open(self, predictor: Predictor) -> None:
        """Answers goals from now on."""
        self._predictor = predictor

    def close(self) -> None:
        """Ends the prediction that is under way; goals are refused from now on."""
        if self._predictor is not None:
            self._predictor.stop()
            self._predictor = None

    def _on_goal(self, handle: ServerGoalHandle) -> None:
        """Hands the question over. The goal's result is set when it is answered, so that no callback waits for it."""
        try:
            if self._predictor is None or not self._node.is_active:
                raise ValueError("the generator is not active: activate it first")
            self._predictor.ask(
                Job(
                    partial(read_goal, handle.request),
                    self._latest(),
                    why_stop=lambda: "the prediction was cancelled" if handle.is_cancel_requested else "",
                    advanced=partial(self._tell, handle),
                    done=partial(self._finish, handle),
                )
            )
        except ValueError as error:
            handle.execute(partial(_refused, problem=str(error)))

    def _tell(self, handle: ServerGoalHandle, prediction: Prediction) -> None:
        """Called on the predictor's thread after every block."""
        pictures = [image_to_compressed(picture, 0, "", self._quality()) for picture in prediction.newest[:, 0, -1]]
        handle.publish_feedback(Predict.Feedback(frames_done=prediction.num_frames, frames_total=prediction.question.num_frames, latest=pictures))

    def _finish(self, handle: ServerGoalHandle, outcome: Outcome) -> None:
        """Called on the predictor's thread; the executor sets the result."""
        result = Predict.Result(message=outcome.problem) if outcome.prediction is None else result_msg(outcome.prediction, outcome.scores)
        if self._node.executor is not None:
            handle.execute(partial(_done, result=result))


def result_msg(prediction: Prediction, scores: Sequence[Score]) -> Predict.Result:
    """Everything that is known of a prediction."""
    faults = [score.fault for score in scores if score.fault]
    return Predict.Result(
        success=True,
        is_complete=prediction.is_complete,
        frames_done=prediction.num_frames,
        frames_total=prediction.question.num_frames,
        message="; ".join(filter(None, [prediction.stopped, *faults])),
        videos=[video_msg([prediction.start, *future.pictures[0]], prediction.rate_hz) for future in prediction.futures()],
        scores=[
            PredictionScore(name=score.scorer.name, meaning=score.scorer.meaning, higher_is_better=score.scorer.higher_is_better, values=score.values)
            for score in scores
        ],
    )


def video_msg(pictures: list[Image], rate_hz: float) -> PredictedVideo:
    """The pictures as one compressed file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predicted.mp4"
        write_video(path, pictures, rate_hz)
        data = np.frombuffer(path.read_bytes(), np.uint8)
    msg = PredictedVideo(format=VIDEO_FORMAT, rate_hz=rate_hz, num_frames=len(pictures))
    msg.data = bytes_field(data)
    return msg


def _refused(handle: ServerGoalHandle, problem: str) -> Predict.Result:
    return _done(handle, Predict.Result(message=problem))


def _done(handle: ServerGoalHandle, result: Predict.Result) -> Predict.Result:
    """Ends the goal; called by the executor."""
    if handle.is_cancel_requested:
        handle.canceled()
    elif result.success:
        handle.succeed()
    else:
        handle.abort()
    return result

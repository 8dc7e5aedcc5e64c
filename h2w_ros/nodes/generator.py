"""Conditions in; predicted pictures out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Duration
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import String
from std_srvs.srv import Trigger

from h2w_msgs.msg import Condition as ConditionMsg
from h2w_msgs.msg import Prediction
from h2w_msgs.srv import ResetSession
from h2w_ros.camera import Resize, ResizePolicy
from h2w_ros.condition import Camera, Image
from h2w_ros.domain import DomainCheck, check_domain
from h2w_ros.hardware import share_cores
from h2w_ros.nodes import lifecycle, topics
from h2w_ros.nodes.diagnostics import Diagnostics, Health
from h2w_ros.nodes.evidence import failures_dir, keep_inputs
from h2w_ros.nodes.hearing import Hearing
from h2w_ros.nodes.images import header, image_to_compressed, image_to_msg, stamp_from_ns
from h2w_ros.nodes.live_session import Answer, StreamingSession
from h2w_ros.nodes.messages import Moment, camera_info, condition_from_msg
from h2w_ros.nodes.params import check_choices, read, setting
from h2w_ros.nodes.predict_server import PredictServer
from h2w_ros.nodes.predictor import BranchingSession, Predictor
from h2w_ros.nodes.video_out import VideoConfig, VideoOut
from h2w_ros.nodes.worker import InferenceWorker, WorkerConfig
from h2w_ros.ros_messages import NS_PER_S, image_from_msg

if TYPE_CHECKING:
    from h2w_ros.generator.checkpoint import Generator as LocalGenerator
    from h2w_ros.generator.network_process import RemoteGenerator


@dataclass(frozen=True)
class GeneratorConfig:
    """Which model predicts, and on what."""

    model: str = setting("tiny", "name of a model in the models folder, or a checkpoint's path")
    resize_policy: ResizePolicy = setting("squash", "how pictures come to the model's size; intrinsics follow", choices=("squash", "crop"))
    table_height_m: tuple[float, ...] = setting((), "height of the table in odometry's world, whose z axis points up [m]; empty: unknown")
    mano_dir: str = setting("", "folder of your MANO_LEFT.pkl and MANO_RIGHT.pkl; empty: the shipped stand-in, with which tiny was trained")
    device: str = setting("auto", "where the network runs: cpu, cuda, cuda:1 and so on, or auto for a GPU where there is one")
    num_threads: int = setting(0, "threads of the network on a CPU, of each of its two parts where both speak; 0: $OMP_NUM_THREADS, else 1", 0, 256)
    own_process: bool = setting(True, "run the network in a process of its own, so that conditions are drawn and ROS is spoken beside it")
    jpeg_quality: int = setting(90, "quality of predicted/compressed", 1, 100, live=True)
    max_futures: int = setting(64, "most futures of one goal of `predict`, candidates times seeds: what memory holds", 1, 4096)
    max_horizon_s: float = setting(30.0, "longest horizon of a goal of `predict` [s]", 0.1, 3600.0)
    failures_dir: str = setting("", "folder for the last inputs of a session that failed; empty: h2w_failures in ROS's log folder")

    def __post_init__(self) -> None:
        check_choices(self)
        if len(self.table_height_m) > 1:
            raise ValueError(f"table_height_m must be one height [m], or empty where it is unknown, got {self.table_height_m}")


def load_session(config: GeneratorConfig) -> StreamingSession:
    """A session of the configured model; the quick faults come first."""
    share_cores()
    from h2w_ros.hands.model import mano_folder

    hand_models = mano_folder(config.mano_dir)
    generator = _begin_loading(config) if config.own_process else _loaded(config)
    from h2w_ros.hands.render import HandRenderer
    from h2w_ros.session import Session

    renderer = HandRenderer(style=generator.config.hand_style, hand_models=hand_models)
    return Session(generator, config.resize_policy, renderer, table_height_m=next(iter(config.table_height_m), None))


def _begin_loading(config: GeneratorConfig) -> RemoteGenerator:
    """The network in a process of its own, which loads while this one does other things."""
    from h2w_ros.generator.network_process import RemoteGenerator

    return RemoteGenerator(config.model, config.device, config.num_threads or None)


def _loaded(config: GeneratorConfig) -> LocalGenerator:
    """The network in this process."""
    import torch

    from h2w_ros.generator.checkpoint import find_device, load_generator

    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    return load_generator(config.model, device=find_device(config.device))


class Generator(lifecycle.ManagedNode):
    """Runs a session on its own thread and publishes what it predicts, with the stamps of the inputs that it answers.

    `listens` False leaves the condition topic alone: conditions then come as objects through `accept`.
    """

    def __init__(self, load: Callable[[GeneratorConfig], StreamingSession] = load_session, listens: bool = True, **kwargs: Any) -> None:
        super().__init__("generator", (GeneratorConfig, VideoConfig, WorkerConfig), **kwargs)
        self._load, self._listens = load, listens
        self._worker: InferenceWorker | None = None
        self._input: Any = None
        out = {"qos_profile": topics.RESULT_OUT, "qos_overriding_options": topics.overridable()}
        self._images = self.create_lifecycle_publisher(ImageMsg, topics.PREDICTED_IMAGE, **out)
        self._infos = self.create_lifecycle_publisher(CameraInfo, topics.PREDICTED_INFO, **out)
        self._compressed = self.create_lifecycle_publisher(CompressedImage, topics.PREDICTED_COMPRESSED, **out)
        self._video = VideoOut(self, topics.PREDICTED_VIDEO)
        self._predictions = self.create_lifecycle_publisher(Prediction, topics.PREDICTION, **out)
        self._service = self.create_service(ResetSession, topics.RESET_SESSION, self._on_reset)
        self._ground_service = self.create_service(Trigger, topics.GROUND_SESSION, self._on_ground)
        self._latest_image: Image | None = None
        self._domain = DomainCheck(False, "")
        self._info: Any = None
        self._server = PredictServer(self, lambda: self._latest_image, lambda: self._config.jpeg_quality)
        self._diagnostics = Diagnostics(self, self._health)
        self._num_refused = 0

    def set_up(self) -> None:
        """Loads the model and starts the inference thread."""
        self._config, self._video_config = read(self, GeneratorConfig), read(self, VideoConfig)
        keep = partial(keep_inputs, failures_dir(self._config.failures_dir))
        with lifecycle.interruptible():
            session = self._load(self._config)
            worker = InferenceWorker(session, read(self, WorkerConfig), self._publish, keep)
            try:
                worker.start()
            except BaseException:
                session.close()
                raise
        self._session, self._worker = session, worker
        if isinstance(session, BranchingSession):
            self._server.open(Predictor(session, self._worker, self._config.max_futures, self._config.max_horizon_s))
        self._model_domain = session.config.domain if hasattr(session, "config") else ""
        self._info = self.create_subscription(String, topics.RECORDING_INFO, self._on_recording_info, topics.LATCHED)
        self._hearing = Hearing(read(self, lifecycle.NodeConfig).stale_after_s)
        if self._listens:
            self._input = self.create_subscription(
                ConditionMsg, topics.CONDITION, self._on_condition, topics.RESULT_OUT, qos_overriding_options=topics.overridable()
            )
            self._hearing.expect(self._input.topic_name, "no predictions")
        self.get_logger().info(f"model {self._config.model} is ready")

    def tear_down(self) -> None:
        """Ends the prediction and inference threads."""
        self._server.close()
        self._latest_image = None
        if self._worker is not None:
            self._worker.stop()
            self._session.close()
            self._worker = None
        for subscription in filter(None, (self._input, self._info)):
            self.destroy_subscription(subscription)
        self._input = self._info = None
        self._domain = DomainCheck(False, "")

    def take_changes(self) -> None:
        """Limits hold from the next condition on, the seed from the next session on."""
        self._config, self._video_config = read(self, GeneratorConfig), read(self, VideoConfig)
        self._hearing.stale_after_s = read(self, lifecycle.NodeConfig).stale_after_s
        if self._worker is not None:
            self._worker.use(read(self, WorkerConfig))

    def accept(self, moment: Moment) -> None:
        """A condition from the same process."""
        if self.is_active and self._worker is not None:
            self._latest_image = self._latest_image if moment.condition.image is None else moment.condition.image
            self._worker.put(moment)

    def _on_condition(self, msg: ConditionMsg) -> None:
        self._hearing.heard(self._input.topic_name)
        try:
            moment = condition_from_msg(msg)
        except ValueError as error:
            self._num_refused += 1
            self.warn("condition", f"{self.resolve_topic_name(topics.CONDITION)}: a condition is dropped: {error}")
            return
        self.accept(moment)

    def _on_recording_info(self, msg: String) -> None:
        """What a replay says of its recording; what is no such message says nothing."""
        try:
            info = json.loads(msg.data)
        except ValueError:
            return
        domain = info.get("domain") if isinstance(info, dict) else None
        if self._model_domain and isinstance(domain, str):
            self._domain = check_domain(self._model_domain, domain)
            if self._domain.out_of_domain:
                self.get_logger().warning(f"out of domain: {self._domain.reason}")

    def _on_reset(self, request: ResetSession.Request, response: ResetSession.Response) -> ResetSession.Response:
        if self._worker is None or not self.is_active:
            response.message = "the generator is not active: activate it first"
            return response
        try:
            image = None if request.use_camera_image else image_from_msg(request.image)
        except ValueError as error:
            response.message = f"the reference picture can't be used: {error}; send rgb8, or set use_camera_image"
            return response
        if request.use_camera_image and request.image.data:
            response.message = "use_camera_image is set and a picture came too: leave one out"
            return response
        response.accepted, response.session_id = True, self._worker.restart(image, request.seed)
        return response

    def _on_ground(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._worker is None or not self.is_active:
            response.message = "the generator is not active: activate it first"
        elif self._worker.has_failed:
            response.message = f"there is no session to ground: {self._worker.problem}"
        else:
            self._worker.ground_soon()
            response.success, response.message = True, "with the next block whose conditions carry the camera's pictures"
        return response

    def _publish(self, answers: list[Answer]) -> None:
        """Called on the inference thread; pictures go out before anything that is slower to make."""
        for answer in answers:
            frame, camera_frame = answer.frame, answer.moment.camera_frame
            image = image_to_msg(frame.image, frame.stamp_ns, camera_frame)
            self._images.publish(image)
            self._infos.publish(camera_info(self._camera_of(answer), frame.stamp_ns, camera_frame))
            if self._predictions.get_subscription_count():
                self._predictions.publish(prediction_msg(answer, image))
            if self._compressed.get_subscription_count():
                self._compressed.publish(image_to_compressed(frame.image, frame.stamp_ns, camera_frame, self._config.jpeg_quality))
            self._video.publish(frame.image, frame.stamp_ns, camera_frame, self._video_config)

    def _camera_of(self, answer: Answer) -> Camera:
        """What the predicted picture was taken with: the condition's camera, brought to its size."""
        height_px, width_px = answer.frame.image.shape[:2]
        return Resize(width_px, height_px, self._config.resize_policy).camera(answer.moment.condition.camera)

    def _health(self) -> Health:
        worker = self._worker
        if worker is None:
            return Health("not configured")
        if worker.problem:
            self.warn("inference", worker.problem)
        values: dict[str, object] = {
            "model": self._config.model,
            "frames": worker.num_frames,
            "waiting": worker.num_waiting,
            "latency_ms.p50": worker.latency_ms(50.0),
            "latency_ms.p95": worker.latency_ms(95.0),
            "disagreement": worker.disagreement,
            "groundings": worker.num_groundings,
            "out_of_domain": self._domain.reason,
        }
        values.update({f"stage_ms.{stage}": time_ms for stage, time_ms in worker.stages_ms.items()})
        values.update({f"dropped.{reason}": count for reason, count in sorted(worker.dropped.items())})
        if self._num_refused:
            values["dropped.condition_invalid"] = self._num_refused
        problems = [worker.problem, *self._hearing.stale().values()]
        return Health("; ".join(filter(None, problems)), is_error=worker.has_failed, values=values)


def prediction_msg(answer: Answer, image: ImageMsg) -> Prediction:
    """The frame with everything that is known about it."""
    latency_ns = max(0, answer.latency_ns or 0)
    return Prediction(
        header=header(answer.frame.stamp_ns, answer.moment.camera_frame),
        session_id=answer.session_id,
        index=answer.frame.index,
        is_reference=answer.frame.is_reference,
        image=image,
        input_stamps=[stamp_from_ns(stamp_ns) for stamp_ns in answer.input_stamps_ns],
        latency=Duration(sec=latency_ns // NS_PER_S, nanosec=latency_ns % NS_PER_S),
    )


def main(args: list[str] | None = None) -> int:
    """Executable `generator`."""
    return lifecycle.main(lambda: [Generator()], args)

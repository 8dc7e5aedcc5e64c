"""What a training run is made of, under names.

`debug` (a rehearsal of seconds), `tiny` (the shipped model; choices and ablations, too), `tiny-gpu` (every stage, a GPU).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from h2w_ros.generator.config import GeneratorConfig


@dataclass(frozen=True)
class CodecTraining:
    """The codec's enlarging decoder: reconstruction of camera images, static renders and hand renders."""

    batch_pictures: int = 24
    learning_rate: float = 7e-4
    warmup_steps: int = 50
    latent_noise: float = 0.1  # noise on the latents, so that the decoder forgives the generator's small errors
    edge_weight: float = 0.5  # weight of the error of horizontal and vertical differences
    hand_share: float = 0.25  # share of hand renders in a batch
    static_share: float = 0.15  # share of static renders in a batch
    ema_decay: float = 0.995


@dataclass(frozen=True)
class DreamConfig:
    """Whole episodes that the model streams during training, to learn from its own past."""

    share: float = 0.5  # share of steps whose history is dreamt
    from_step: int = 700  # before it, dreams are noise
    every_steps: int = 60
    episodes_at_once: int = 8
    episodes_kept: int = 64
    limit: float = 4.0  # dreamt latents are clamped to so many standard deviations


@dataclass(frozen=True)
class StreamTraining:
    """The whole network in its own stream; scene shares and weights are those of `CausalTraining`."""

    streams: int = 32  # that advance together
    groups: int = 16  # that take turns: neighbouring frames of few streams would be one lesson told often
    shortest_stream: int = 8  # blocks
    frames_together: int = 1  # neighbouring frames of a step: gradients flow back along the memory through so many
    # How often a stream's newest frame becomes the truth, as `observe` would give it: drawn for each stream between these,
    # evenly in the logarithm, so that clean pasts and long own ones are both always learned from. At first it is the one, over the
    # annealed share of the training it becomes the other: what is wrong after one frame is hopeless after ten.
    first_seen_share: tuple[float, float] = (0.3, 1.0)
    # A session seldom sees the truth: streams that often did would trust their last frame more than what is drawn, and blur.
    seen_share: tuple[float, float] = (0.004, 0.06)
    annealed_share: float = 0.8
    refiner_too: bool = False  # train on the refiner that the stage before has trained; a short stage only shakes it
    carried_share: float = 0.4  # share of streams that run through episodes with carried things in them, of which there are few
    other_looks: bool = True  # every stream in its own colours, half of them mirrored
    tolerance: float = 0.5  # error from which the loss grows linearly only, in standard deviations of the latents
    choice_share: float = 1.0  # weight of the error of the choice among layers
    choice_tolerance: float = 0.05  # mean squared error from which one layer is clearly better than another
    limit: float = 4.0  # latents that go on as history are clamped to so many standard deviations
    muon_learning_rate: float = 0.005
    adam_learning_rate: float = 3e-4  # what a stream predicts becomes its past: at 1e-3 the weights shake it
    warmup_steps: int = 100
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if self.frames_together < 1:
            raise ValueError(f"frames_together must be at least 1, got {self.frames_together}")
        if not 0 < self.annealed_share <= 1:
            raise ValueError(f"annealed_share must be in (0, 1], got {self.annealed_share}")
        if not 0 <= self.carried_share < 1:
            raise ValueError(f"carried_share must be in [0, 1), so that every episode is drawn at times, got {self.carried_share}")


@dataclass(frozen=True)
class RefinerTraining:
    """The refiner alone, in the stream; scene shares and weights are those of `CausalTraining`."""

    # Gradients through one frame: four times the steps of five frames, and 0.5 dB more in equal minutes (docs/results.md).
    stream: StreamTraining = StreamTraining(streams=12, groups=32, adam_learning_rate=2.5e-4)
    weight_decay: float = 0.01


@dataclass(frozen=True)
class CausalTraining:
    """Teacher-forced flow matching of the causal generator over short clips at random offsets."""

    batch_clips: int = 8
    clip_frames: tuple[int, ...] = (3, 3, 6)  # drawn per step; at most the rollout's window
    first_frame_share: float = 0.4  # share of steps whose clips start at the reference
    muon_learning_rate: float | None = 0.02  # None: AdamW for everything
    adam_learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_steps: int = 30
    pure_noise_share: float = 0.4  # share of frames at sigma 1, where every rollout starts
    lowest_sigma: float = 0.3  # of the other frames: a rollout of few steps never sees less noise
    history_noise: float = 0.7  # largest noise on the clean history: the rollout's own history is never perfect
    dreams: DreamConfig = DreamConfig()
    generated_history_share: float = 0.3  # share of steps whose history is the model's own prediction
    generated_passes: int = 4  # at most so many times over, each from the one before: errors grow as in a rollout
    generated_history_from_step: int = 400  # before it, predictions are too poor to be anyone's past
    photo_share: float = 0.6  # share of clips whose static scene is the reference laid on the table (scene.table_photo)
    static_share: float = 0.2  # share of clips that see the true static scene; the rest see none
    hand_weight: float = 4.0  # extra loss on latents that show a hand
    object_weight: float = 8.0  # extra loss on latents that show an object that moves in the episode
    motion_weight: float = 40.0  # in a stream, extra loss for each unit of `StreamedEpisodes`' motion: most of the time, objects rest
    ema_decay: float = 0.998

    @property
    def scene_shares(self) -> tuple[float, float, float]:
        """Shares of clips with the photo, with the true static scene, with neither."""
        return self.photo_share, self.static_share, 1.0 - self.photo_share - self.static_share

    def __post_init__(self) -> None:
        if min(self.scene_shares) < 0:
            raise ValueError(f"photo_share + static_share must be within 0..1, got {self.photo_share} + {self.static_share}")
        if min(self.clip_frames) < 2:
            raise ValueError(f"clip_frames must be at least 2 (one frame of history and one to predict), got {self.clip_frames}")


@dataclass(frozen=True)
class TeacherTraining:
    """Rectified flow over whole clips; scene shares, loss weights and weight decay are those of `CausalTraining`."""

    batch_clips: int = 8
    clip_frames: tuple[int, ...] = (9, 17)  # drawn per step, the reference included
    shift: float = 3.0  # of noise levels towards pure noise
    least_sigma: float = 0.1  # below it errors of the velocity weigh no more: their share of noise is too small to matter
    muon_learning_rate: float = 0.02
    adam_learning_rate: float = 2e-3
    warmup_steps: int = 50
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if min(self.clip_frames) < 2:
            raise ValueError(f"clip_frames must be at least 2 (the reference and one to predict), got {self.clip_frames}")
        if not 0 < self.least_sigma < 1:
            raise ValueError(f"least_sigma must be in (0, 1), got {self.least_sigma}")


@dataclass(frozen=True)
class ConsistencyTraining:
    """Consistency distillation of the causal network; clips, scenes, weights and history are those of `CausalTraining`."""

    num_levels: int = 48  # of noise, between which the teacher steps
    shift: float = 3.0
    slow_decay: float = 0.99  # of the slow copy that answers one step nearer to the end
    muon_learning_rate: float = 0.005
    adam_learning_rate: float = 3e-4
    warmup_steps: int = 50
    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        if self.num_levels < 2:
            raise ValueError(f"num_levels must be at least 2, got {self.num_levels}")


@dataclass(frozen=True)
class MatchingTraining:
    """Distribution matching on the student's own streams; scenes are those of `CausalTraining`."""

    batch_clips: int = 8
    clip_frames: tuple[int, ...] = (9, 17)  # the reference included; lengths that the teacher was trained on
    critic_updates: int = 3  # before each of the student's
    annealed_share: float = 0.5  # of the training, over which the past turns from the truth to the student's own
    shift: float = 3.0
    least_sigma: float = 0.1
    muon_learning_rate: float = 5e-4
    adam_learning_rate: float = 2e-5
    critic_learning_rate: float = 1e-4
    warmup_steps: int = 20
    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        if min(self.clip_frames) < 2:
            raise ValueError(f"clip_frames must be at least 2 (the reference and one to answer), got {self.clip_frames}")
        if self.critic_updates < 1:
            raise ValueError(f"critic_updates must be at least 1, or the critic never knows the student, got {self.critic_updates}")
        if not 0 < self.annealed_share <= 1:
            raise ValueError(f"annealed_share must be in (0, 1], got {self.annealed_share}")


@dataclass(frozen=True)
class Plan:
    """How a whole recipe shares its minutes out, from an empty folder to a model."""

    simulate: float = 0.25
    codec: float = 0.08
    networks: tuple[tuple[str, float], ...] = (("refiner", 1.0),)  # stages in order, with shares of what encoding leaves
    most_episodes: int = 20_000
    pixels_kept: int | None = None  # episodes whose pixels stay once they are encoded: a disk is smaller than what sixteen cores simulate

    def __post_init__(self) -> None:
        if not 0 < self.simulate + self.codec < 1 or min(self.simulate, self.codec) <= 0:
            raise ValueError(f"simulate and codec must be shares that leave something, got {self.simulate} and {self.codec}")
        if abs(sum(share for _, share in self.networks) - 1.0) > 1e-6:
            raise ValueError(f"the networks' shares must add up to 1, got {self.networks}")


@dataclass(frozen=True)
class Recipe:
    """One named training: model preset, data and stages."""

    preset: str = "tiny"
    drawn_raised: tuple[float, float] = (2.0, 3.0)  # `static_raised` and `dressed_raised` of what is shipped; streams learn without
    plan: Plan = Plan()
    codec: CodecTraining = CodecTraining()
    refiner: RefinerTraining = RefinerTraining()
    teacher: TeacherTraining = TeacherTraining()
    causal: CausalTraining = CausalTraining()
    stream: StreamTraining = StreamTraining()
    consistency: ConsistencyTraining = ConsistencyTraining()
    matching: MatchingTraining = MatchingTraining()

    def shipped(self, model: GeneratorConfig) -> GeneratorConfig:
        """The model, which believes more in what is drawn than its streams taught."""
        refiner = model.transformer.refiner
        if refiner is None or model.rollout.prediction != "layers":
            return model
        static_raised, dressed_raised = self.drawn_raised
        surer = replace(refiner, static_raised=static_raised, dressed_raised=dressed_raised if refiner.dressed else 0.0)
        return replace(model, transformer=replace(model.transformer, refiner=surer))


EVERY_STAGE = (("refiner", 0.2), ("teacher", 0.3), ("causal", 0.25), ("consistency", 0.13), ("matching", 0.12))

RECIPES = {
    # In an hour of a CPU core a transformer learns nothing that the refiner does not know better: `stream` made streams worse (docs/results.md).
    "tiny": Recipe(),
    # For one large GPU and some sixteen cores, in about 25 minutes: batches that fill it, longer clips, every stage.
    "tiny-gpu": Recipe(
        preset="tiny-gpu",
        plan=Plan(networks=EVERY_STAGE, most_episodes=2_000, pixels_kept=200),
        codec=CodecTraining(batch_pictures=64),
        refiner=RefinerTraining(StreamTraining(streams=64, frames_together=5, groups=16, adam_learning_rate=4e-4)),
        teacher=TeacherTraining(batch_clips=32, clip_frames=(17, 25, 33)),
        causal=CausalTraining(batch_clips=64, clip_frames=(4, 8), dreams=DreamConfig(share=0.0)),
        matching=MatchingTraining(batch_clips=32, clip_frames=(17, 25)),
    ),
    # Every stage, in seconds.
    "debug": Recipe(
        preset="debug",
        plan=Plan(networks=(("refiner", 0.2), ("teacher", 0.15), ("causal", 0.15), ("stream", 0.2), ("consistency", 0.15), ("matching", 0.15))),
        codec=CodecTraining(batch_pictures=2, warmup_steps=1),
        refiner=RefinerTraining(StreamTraining(streams=2, groups=2, shortest_stream=2, warmup_steps=1)),
        teacher=TeacherTraining(batch_clips=2, clip_frames=(4,), warmup_steps=1),
        causal=CausalTraining(batch_clips=2, clip_frames=(3,), warmup_steps=1, generated_history_from_step=1),
        stream=StreamTraining(streams=2, groups=2, shortest_stream=2, warmup_steps=1),
        consistency=ConsistencyTraining(num_levels=4, warmup_steps=1),
        matching=MatchingTraining(batch_clips=2, clip_frames=(4,), critic_updates=1, warmup_steps=1),
    ),
}

"""What is done for each control of a project: which predictor is asked, and for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from prelabel import keypoints
from prelabel.labelstudio.config import Control, ImageTag, VideoTag
from prelabel.labelstudio.prompts import DISTORTION_PROMPTS, phrases_typed
from prelabel.labelstudio.regions.video import video_regions
from prelabel.labelstudio.regions.write import (
    Page,
    PartChoice,
    PersonBox,
    Region,
    box_regions,
    pose_regions,
)
from prelabel.learning.fusion import fuse_boxes, fuse_poses
from prelabel.learning.marks import FrameAnswer, carried_boxes, carried_people
from prelabel.learning.sequence import Learned
from prelabel.learning.videos import tracks_through
from prelabel.predictors.base import Predictor
from prelabel.types import Ask, Detections, Phrase, Poses

_DEFAULT_ASK = Ask(
    tuple(Phrase(text, "body_distortion", part) for part, text in DISTORTION_PROMPTS)
)


@dataclass(frozen=True, slots=True)
class BoxStep:
    """A control that is filled with boxes, or with their centres."""

    predictor: Predictor
    ask: Ask
    image: ImageTag
    control: Control
    part_choice: PartChoice | None
    choices: Mapping[str, Control]

    def regions(self, found: Detections | Poses, page: Page) -> list[Region]:
        """Findings on one page as regions."""
        assert isinstance(found, Detections), f"{self.predictor.name} gave poses for boxes"
        return box_regions(found, self.control, self.part_choice, page, self.choices)

    def with_learnt(
        self,
        found: Detections | Poses,
        answer: FrameAnswer,
        image_hw: tuple[int, int],
        prefer: bool,
    ) -> Detections:
        """Findings together with what was learnt; without `prefer` only where nothing was found."""
        assert isinstance(found, Detections)
        labels = {label.stored for label in self.control.labels}
        carried = carried_boxes(answer, self.control.name, labels, image_hw)
        if prefer:
            return fuse_boxes(found, carried)
        return found if len(found) else carried

    def scores(self, found: Detections | Poses) -> list[float]:
        """How sure each box is."""
        assert isinstance(found, Detections)
        return [float(score) for score in found.scores]

    def typed(self, texts: Sequence[str]) -> "BoxStep":
        """The step that looks for what an annotator typed."""
        phrases = phrases_typed(texts, self.control)
        return replace(self, ask=replace(self.ask, phrases=phrases)) if phrases else self

    @property
    def wish(self) -> str:
        """What is asked for beyond the defaults; "" for nothing."""
        return "" if self.ask == _DEFAULT_ASK else repr(self.ask)


@dataclass(frozen=True, slots=True)
class PoseStep:
    """A control that is filled with the keypoints of people.

    Attributes:
        points: The stored label of each keypoint index that the control has.
        parent: The rectangle that a person's keypoints lie under, or None.
    """

    predictor: Predictor
    ask: Ask
    image: ImageTag
    control: Control
    points: dict[int, str]
    parent: PersonBox | None
    choices: Mapping[str, Control]

    def regions(self, found: Detections | Poses, page: Page) -> list[Region]:
        """Findings on one page as regions."""
        assert isinstance(found, Poses), f"{self.predictor.name} gave boxes for poses"
        return pose_regions(found, self.control, self.points, self.parent, page, self.choices)

    def with_learnt(
        self,
        found: Detections | Poses,
        answer: FrameAnswer,
        image_hw: tuple[int, int],
        prefer: bool,
    ) -> Poses:
        """Findings together with what was learnt; without `prefer` only where nobody was found."""
        assert isinstance(found, Poses)
        carried = carried_people(answer, self.control.name, len(keypoints.NAMES), image_hw)
        if prefer:
            return fuse_poses(found, carried)
        return found if len(found) else carried

    def scores(self, found: Detections | Poses) -> list[float]:
        """How sure each person is."""
        assert isinstance(found, Poses)
        return [float(score) for score in found.box_scores]

    def typed(self, texts: Sequence[str]) -> "PoseStep":
        """The same step: people are not asked for in words."""
        del texts
        return self

    @property
    def wish(self) -> str:
        """What is asked for beyond the defaults, which are all keypoints; "" for nothing."""
        every = len(self.points) == len(keypoints.NAMES)
        return "" if every and self.ask == Ask() else repr((self.ask, sorted(self.points)))


Step = BoxStep | PoseStep


@dataclass(frozen=True, slots=True)
class VideoStep:
    """A video through which the learner carries tracks that people began; no model looks at it."""

    video: VideoTag
    control: Control
    labels: Control | None
    choices: Mapping[str, Control]

    def regions(self, learned: Learned, task_id: int) -> list[Region] | None:
        """The tracks through a task's video; None where nobody drew one that was learnt from."""
        length, tracks = tracks_through(learned, self.video, self.control, task_id)
        if length is None:
            return None
        return video_regions(tracks, self.control, self.labels, length, self.choices)

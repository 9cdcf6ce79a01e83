"""What is done for each control of a project: which predictor is asked, and for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from prelabel import keypoints
from prelabel.labelstudio.config import Control, ImageTag, VideoTag
from prelabel.labelstudio.prompts import DISTORTION_PROMPTS, phrases_typed
from prelabel.labelstudio.regions.read import drawn_places
from prelabel.labelstudio.regions.video import video_regions
from prelabel.labelstudio.regions.write import (
    Page,
    PartChoice,
    PersonBox,
    PointLabels,
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
    """A control that is filled with boxes, or with their centres.

    Attributes:
        page: The only page of a `valueList` that is looked at, or None for all.
    """

    predictor: Predictor
    ask: Ask
    image: ImageTag
    control: Control
    part_choice: PartChoice | None
    choices: Mapping[str, Control]
    page: int | None = None

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

    def where_drawn(self, results: Sequence[Any]) -> "BoxStep | None":
        """The step that looks only where an annotator drew; None where that is elsewhere."""
        return _where_drawn(self, _on(self.image, results))

    @property
    def wish(self) -> str:
        """What is asked for beyond the defaults; "" for nothing."""
        return "" if self.ask == _DEFAULT_ASK else repr(self.ask)

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls that it fills, besides that of the body parts."""
        return (self.control.name,)


@dataclass(frozen=True, slots=True)
class PoseStep:
    """The controls of an image that are filled with the keypoints of people.

    Attributes:
        points: The controls, each with the keypoints that it has.
        parent: The rectangle that a person's keypoints lie under, or None.
        page: As of a `BoxStep`.
    """

    predictor: Predictor
    ask: Ask
    image: ImageTag
    points: tuple[PointLabels, ...]
    parent: PersonBox | None
    choices: Mapping[str, Control]
    page: int | None = None

    def regions(self, found: Detections | Poses, page: Page) -> list[Region]:
        """Findings on one page as regions."""
        assert isinstance(found, Poses), f"{self.predictor.name} gave boxes for poses"
        return pose_regions(found, self.points, self.parent, page, self.choices)

    def with_learnt(
        self,
        found: Detections | Poses,
        answer: FrameAnswer,
        image_hw: tuple[int, int],
        prefer: bool,
    ) -> Poses:
        """Findings together with what was learnt; without `prefer` only where nobody was found."""
        assert isinstance(found, Poses)
        carried = carried_people(answer, self.control_names, len(keypoints.NAMES), image_hw)
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

    def where_drawn(self, results: Sequence[Any]) -> "PoseStep | None":
        """The step that looks only where an annotator drew; None where that is elsewhere.

        A rectangle with a label that is not that of people's boxes is drawn around something else.
        """
        drawn = _on(self.image, results)
        return _where_drawn(self, [one for one in drawn if _may_hold_person(one, self.parent)])

    @property
    def wish(self) -> str:
        """What is asked for beyond the defaults, which are all keypoints; "" for nothing."""
        wanted = sorted({index for one in self.points for index in one.labels})
        every = len(wanted) == len(keypoints.NAMES)
        return "" if every and self.ask == Ask() else repr((self.ask, wanted))

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls that it fills, besides that of the people's boxes."""
        return tuple(one.control.name for one in self.points)


Step = BoxStep | PoseStep


_OneStep = TypeVar("_OneStep", BoxStep, PoseStep)


def _where_drawn(step: _OneStep, drawn: Sequence[Mapping[str, Any]]) -> _OneStep | None:
    within, at = drawn_places(drawn)
    if not within and not at:
        return None
    pages = [one.get("item_index") for one in drawn] if step.image.is_list else []
    page = next((page for page in pages if isinstance(page, int)), None)
    return replace(step, ask=replace(step.ask, within_xyxy=within, at_xy=at), page=page)


def _on(image: ImageTag, results: Sequence[Any]) -> list[Mapping[str, Any]]:
    """What was drawn on an image, or does not say on which."""
    drawn = [one for one in results if isinstance(one, Mapping)]
    return [one for one in drawn if one.get("to_name") in (None, "", image.name)]


def _may_hold_person(drawn: Mapping[str, Any], parent: PersonBox | None) -> bool:
    """Not a rectangle with another label, where people have one of their own."""
    value = drawn.get("value")
    labels = value.get("rectanglelabels") if isinstance(value, Mapping) else None
    return parent is None or not isinstance(labels, list) or not labels or parent.label in labels


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

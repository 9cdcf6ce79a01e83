"""Which predictor answers which control of a project, and under which model version."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from prelabel.labelstudio.config import Control, LabelConfig, parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels, means_person
from prelabel.labelstudio.prompts import (
    part_choices,
    phrases_of,
)
from prelabel.labelstudio.regions.read import drawn_places, prompt_texts
from prelabel.labelstudio.regions.write import (
    PartChoice,
    PersonBox,
    PointLabels,
)
from prelabel.learning.sequence import Learned
from prelabel.predictors.base import Predictor, why_blind
from prelabel.predictors.registry import fingerprint
from prelabel.runtime.batcher import at
from prelabel.runtime.callers import Caller
from prelabel.steps import BoxStep, PoseStep, Step, VideoStep
from prelabel.types import SEQUENCE, Ask

NO_PREDICTOR = "no-predictor"
"""The model version of a project that has nothing prelabel can fill."""

_POINT_THRESHOLD = "model_point_threshold"
_MIN_PART_CHOICES = 2
_MOST_NAMED = 5

_SEE_WORDS = "install Grounding DINO, or see /health for why it does not answer"


@dataclass(frozen=True, slots=True)
class Predictors:
    """The predictors of this process, by what they find.

    Attributes:
        boxes: Finds what phrases ask for.
        poses: Finds people and their whole-body keypoints.
    """

    boxes: Predictor
    poses: Predictor


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """One trained version of the sequence learner, as a plan uses it.

    Attributes:
        number: How many trainings made it: the N of `.seq<N>`.
        learned: What it knows.
        prefer: Whether it goes before what a model finds, or only fills empty frames.
    """

    number: int
    learned: Learned
    prefer: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tasks of one project are answered.

    Attributes:
        config: The project's label config.
        steps: What to run for each task; empty where the config has nothing to fill.
        notes: What an operator should know about this config, whatever answers it.
        wishes: What it asks for beyond the defaults, as text for the model version.
        lesson: What was learnt from the project's annotations, or None.
        videos: What the learner fills without a model; used where there are no `steps`.
        elsewhere: Whether there are none since an annotator drew where none of them looks.
    """

    config: LabelConfig
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    wishes: tuple[str, ...]
    lesson: Taught | None = None
    videos: tuple[VideoStep, ...] = ()
    elsewhere: bool = False

    @property
    def fills(self) -> bool:
        """Whether there is anything in the label config that can be filled."""
        return bool(self.steps or self.videos)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know about this config, with what answers it now."""
        blind = (
            f"{step.control.name}: {why}; {_SEE_WORDS}"
            for step in self.steps
            if isinstance(step, BoxStep) and (why := why_blind(step.predictor, step.ask))
        )
        return (*self.notes, *blind)

    @property
    def model_version(self) -> str:
        """Names of the predictors that answer now, and a digest where settings are not default.

        Label Studio asks again for every task when it changes.
        """
        if not self.fills:
            return NO_PREDICTOR
        predictors = list({id(step.predictor): step.predictor for step in self.steps}.values())
        digest = fingerprint(
            {
                "predictors": [p.fingerprint for p in predictors if p.fingerprint],
                "wishes": list(self.wishes),
                "learnt": "prefer" if self.lesson is None or self.lesson.prefer else "fill",
            },
            {"predictors": [], "wishes": [], "learnt": "prefer"},
        )
        name = "+".join(predictor.name for predictor in predictors) or SEQUENCE
        version = f"{name}@{digest}" if digest else name
        return version if self.lesson is None else f"{version}.seq{self.lesson.number}"

    def taught(self, lesson: Taught | None) -> "Plan":
        """The plan that also knows what was learnt."""
        return replace(self, lesson=lesson) if self.fills else self

    def at(self, caller: Caller) -> "Plan":
        """The plan whose predictors answer this caller in its turn."""
        seen = {id(step.predictor): at(step.predictor, caller) for step in self.steps}
        steps = (replace(step, predictor=seen[id(step.predictor)]) for step in self.steps)
        return replace(self, steps=tuple(steps))

    def interactive(self, results: Sequence[Any]) -> "Plan":
        """The plan for what an annotator just typed or drew with a smart tool.

        Only what fills the image that was drawn on looks, and only there. A drawing that says of no
        place that it is wanted has none of them look, unless words say what to look for.
        """
        typed = prompt_texts(results)
        steps = [step.typed(typed) if typed else step for step in self.steps]
        if any(drawn_places(results)) or (results and not typed):
            steps = [there for step in steps if (there := step.where_drawn(results))]
        elsewhere = bool(self.steps) and not steps
        # Nothing learnt: a person asks the model, here, now.
        return replace(self, steps=tuple(steps), elsewhere=elsewhere, lesson=None)


def make_plan(label_config: str, predictors: Predictors) -> Plan:
    """Read a label config and decide what fills it.

    Keypoint controls that name whole-body keypoints are filled with poses; a rectangle label for
    persons beside them holds the persons' boxes. All other labels of rectangle and keypoint
    controls are looked for in words, each once, as a rectangle where a control has one for it.

    Raises:
        InvalidRequest: The label config cannot be read.
    """
    config = parse(label_config)
    warnings: list[str] = []
    poses = _pose_steps(config, predictors.poses, warnings)
    given = {
        (p.control.name, label) for s in poses for p in s.points for label in p.labels.values()
    }
    given |= {(s.parent.control.name, s.parent.label) for s in poses if s.parent}
    steps: list[Step] = [*_box_steps(config, predictors.boxes, given, warnings), *poses]
    videos = _video_steps(config)
    if not (steps or videos):
        warnings.append(
            "nothing to fill: prelabel fills RectangleLabels and KeyPointLabels on an Image, and "
            "VideoRectangle on a Video"
        )
        if any(control.tag == "Labels" for control in config.controls):
            warnings.append("Labels with a Rectangle beside them become one RectangleLabels")
    if config.repeats:
        warnings.append(
            "what a Repeater repeats is not filled; <Image valueList> shows the same pages, and is"
        )
    if steps and videos:
        warnings.append("a Video beside an Image is not filled")
    wishes = tuple(step.wish for step in steps if step.wish)
    return Plan(config, tuple(steps), tuple(warnings), wishes, videos=() if steps else videos)


def _video_steps(config: LabelConfig) -> tuple[VideoStep, ...]:
    return tuple(
        VideoStep(video, control, config.labels_beside(control), _choices(config, control))
        for video in config.videos
        for control in config.controls
        if control.tag == "VideoRectangle" and control.to_name == video.name
    )


def _pose_steps(config: LabelConfig, predictor: Predictor, warnings: list[str]) -> list[PoseStep]:
    """A step for each image with keypoints of people, however many controls share them."""
    shared: dict[str, list[PointLabels]] = {}
    for control in _controls(config, "KeyPointLabels"):
        labels = keypoint_labels(control.labels)
        if config.image(control.to_name) is not None and labels:
            shared.setdefault(control.to_name, []).append(PointLabels(control, labels))
            if others := [one.value for one in control.labels if one.stored not in labels.values()]:
                warnings.append(f"{control.name}: {_of_nobody(others)}")
        elif any("model_index" in label.attributes for label in control.labels):
            warnings.append(f"{control.name}: {_not_understood(control)}")
    steps = []
    for name, points in shared.items():
        image, control = config.image(name), points[0].control
        assert image is not None
        ask = Ask(min_score=_point_threshold(points, warnings))
        parent, choices = _person_box(config, control), _choices(config, control)
        steps.append(PoseStep(predictor, ask, image, tuple(points), parent, choices))
    return steps


def _point_threshold(points: Sequence[PointLabels], warnings: list[str]) -> float | None:
    """The lowest threshold that one of the controls asks for, since people are looked for once."""
    wishes = {p.control.name: _min_score(p.control, _POINT_THRESHOLD, warnings) for p in points}
    given = [wish for wish in wishes.values() if wish is not None]
    lowest = min(given, default=None)
    if len(set(wishes.values())) > 1:
        names = ", ".join(wishes)
        warnings.append(f"{names}: {_POINT_THRESHOLD} {lowest:g}, the lowest, counts for all")
    return lowest


def _of_nobody(labels: Sequence[str]) -> str:
    """What to know where some labels of a control name keypoints of a person, and these do not."""
    return (
        f"{_no_keypoints(labels)}, and the other labels are put on people alone, not on "
        'animals; model_skip="true" leaves the control to annotators'
    )


def _not_understood(control: Control) -> str:
    """What to know where the labels are numbered as keypoints, and no name is understood."""
    return (
        f"{_no_keypoints([label.value for label in control.labels])}, so words are looked for; "
        'predicted_values="left_eye", for example, says which keypoint a label is'
    )


def _no_keypoints(labels: Sequence[str]) -> str:
    named = ", ".join(map(repr, labels[:_MOST_NAMED]))
    more = f" and {len(labels) - _MOST_NAMED} more" if labels[_MOST_NAMED:] else ""
    verb = "names no keypoint" if len(labels) == 1 else "name no keypoints"
    return f"{named}{more} {verb} of a person"


def _box_steps(
    config: LabelConfig, predictor: Predictor, given: set[tuple[str, str]], warnings: list[str]
) -> list[BoxStep]:
    steps = []
    asked: set[tuple[str, str]] = set()
    for tag in ("RectangleLabels", "KeyPointLabels"):  # a label in both gets its rectangle
        for control in _controls(config, tag):
            image = config.image(control.to_name)
            if image is None:
                warnings.append(f"{control.name}: its toName {control.to_name!r} is no <Image>")
                continue
            fresh = tuple(
                label
                for label in control.labels
                if (image.name, label.stored) not in asked
                and (control.name, label.stored) not in given
            )
            asked |= {(image.name, label.stored) for label in fresh}
            if fresh:
                ask = Ask(phrases_of(fresh), _min_score(control, "model_score_threshold", warnings))
                choice = _part_choice(config, control)
                choices = _choices(config, control)
                steps.append(BoxStep(predictor, ask, image, control, choice, choices))
    return steps


def _controls(config: LabelConfig, tag: str) -> list[Control]:
    """Controls of a kind that have labels and are not marked to be skipped."""
    return [
        control
        for control in config.controls
        if control.tag == tag
        and control.labels
        and control.attributes.get("model_skip", "").lower() != "true"
    ]


def _person_box(config: LabelConfig, points: Control) -> PersonBox | None:
    """The first rectangle label for persons on the same image, in skipped controls too."""
    for control in config.controls:
        if control.tag == "RectangleLabels" and control.to_name == points.to_name:
            for label in control.labels:
                if means_person(label):
                    return PersonBox(control, label.stored)
    return None


def _min_score(control: Control, attribute: str, warnings: list[str]) -> float | None:
    written = control.attributes.get(attribute)
    if written is None:
        return None
    try:
        score = float(written)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        warnings.append(f"{control.name}: {attribute} {written!r} is not a number from 0 to 1")
        return None
    return score


def _part_choice(config: LabelConfig, control: Control) -> PartChoice | None:
    """The per-region choice for the body part: by its name, else by its values.

    It must belong to this control's image and, where it has a `whenTagName`, to this control.
    """
    fitting = []
    for choices in config.controls:
        stored = part_choices(choices.labels)
        belongs = choices.to_name == control.to_name and (
            not choices.only_for("whenTagName") or control.name in choices.only_for("whenTagName")
        )
        if choices.tag == "Choices" and choices.per_region and belongs and stored:
            named = choices.name.lower().replace("-", "_") in ("body_part", "bodypart", "part")
            if named or len(stored) >= _MIN_PART_CHOICES:
                fitting.append(
                    (not named, PartChoice(choices, stored, _labels_shown(choices, control)))
                )
    return min(fitting, key=lambda choice: choice[0], default=(True, None))[1]


def _choices(config: LabelConfig, control: Control) -> dict[str, Control]:
    """All per-region choices of the image that a control works on, by name."""
    return {
        choices.name: choices
        for choices in config.controls
        if choices.tag == "Choices" and choices.per_region and choices.to_name == control.to_name
    }


def _labels_shown(choices: Control, control: Control) -> frozenset[str]:
    """The stored labels whose regions show these choices; `whenLabelValue` may name the alias."""
    wanted = choices.only_for("whenLabelValue")
    return frozenset(
        label.stored for label in control.labels if wanted & {label.value, label.stored}
    )

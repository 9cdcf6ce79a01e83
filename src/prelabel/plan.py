"""Which predictor answers which control of a project, and under which model version."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prelabel.labelstudio.config import Control, ImageTag, LabelConfig, parse
from prelabel.labelstudio.prompts import (
    DISTORTION_PROMPTS,
    part_choices,
    phrases_of,
    phrases_typed,
)
from prelabel.labelstudio.regions import PartChoice
from prelabel.predictors.base import Predictor
from prelabel.predictors.registry import fingerprint
from prelabel.types import Ask, Phrase

NO_PREDICTOR = "no-predictor"
"""The model version of a project that has nothing prelabel can fill."""

_DEFAULT_ASK = Ask(
    tuple(Phrase(text, "body_distortion", part) for part, text in DISTORTION_PROMPTS)
)
_MIN_PART_CHOICES = 2


@dataclass(frozen=True, slots=True)
class Predictors:
    """The predictors of this process, by what they find.

    Attributes:
        boxes: Finds what phrases ask for.
    """

    boxes: Predictor


@dataclass(frozen=True, slots=True)
class Step:
    """One control of a project and how it is filled."""

    predictor: Predictor
    ask: Ask
    image: ImageTag
    control: Control
    part_choice: PartChoice | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tasks of one project are answered.

    Attributes:
        config: The project's label config.
        steps: What to run for each task; empty where the config has nothing to fill.
        warnings: What an operator should know about this config.
    """

    config: LabelConfig
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def model_version(self) -> str:
        """Names of the predictors that answer now, and a digest where settings are not default.

        Label Studio asks again for every task when it changes.
        """
        if not self.steps:
            return NO_PREDICTOR
        predictors = list({id(step.predictor): step.predictor for step in self.steps}.values())
        digest = fingerprint(
            {
                "predictors": [p.fingerprint for p in predictors if p.fingerprint],
                "asks": [step.ask for step in self.steps if step.ask != _DEFAULT_ASK],
            },
            {"predictors": [], "asks": []},
        )
        name = "+".join(predictor.name for predictor in predictors)
        return f"{name}@{digest}" if digest else name

    def typed(self, texts: Sequence[str]) -> "Plan":
        """The plan that looks for what an annotator typed instead of what the labels say."""
        steps = tuple(
            replace(step, ask=replace(step.ask, phrases=phrases_typed(texts, step.control)))
            for step in self.steps
        )
        return replace(self, steps=steps)


def make_plan(label_config: str, predictors: Predictors) -> Plan:
    """Read a label config and decide what fills it.

    Raises:
        InvalidRequest: The label config cannot be read.
    """
    config = parse(label_config)
    warnings: list[str] = []
    steps: list[Step] = []
    asked: set[str] = set()
    for control in sorted(_primaries(config), key=lambda control: control.tag, reverse=True):
        image = config.image(control.to_name)
        if image is None:
            warnings.append(f"{control.name}: its toName {control.to_name!r} is no <Image>")
            continue
        fresh = tuple(label for label in control.labels if label.stored not in asked)
        asked |= {label.stored for label in fresh}
        if fresh:
            ask = Ask(phrases_of(fresh), _min_score(control, warnings))
            steps.append(Step(predictors.boxes, ask, image, control, _part_choice(config, control)))
    if not steps:
        warnings.append(
            "nothing to fill: prelabel fills RectangleLabels and KeyPointLabels on an Image"
        )
    return Plan(config, tuple(steps), tuple(warnings))


def _primaries(config: LabelConfig) -> list[Control]:
    """Controls that draw; sorted by the caller so that a label in both gets its rectangle."""
    return [
        control
        for control in config.controls
        if control.tag in ("RectangleLabels", "KeyPointLabels")
        and control.labels
        and control.attributes.get("model_skip", "").lower() != "true"
    ]


def _min_score(control: Control, warnings: list[str]) -> float | None:
    written = control.attributes.get("model_score_threshold")
    if written is None:
        return None
    try:
        score = float(written)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        warnings.append(
            f"{control.name}: model_score_threshold {written!r} is not a number from 0 to 1"
        )
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
                fitting.append((not named, PartChoice(choices, stored, _labels_of(choices))))
    return min(fitting, key=lambda choice: choice[0], default=(True, None))[1]


def _labels_of(choices: Control) -> frozenset[str]:
    return choices.only_for("whenLabelValue")

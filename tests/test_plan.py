"""Which control is filled, with what, and under which version."""

from dataclasses import replace

import pytest

from prelabel.errors import InvalidRequest
from prelabel.plan import NO_PREDICTOR, Predictors, make_plan
from prelabel.server.service import default_label_config


class Named:
    """A predictor of which only the name matters."""

    wants_neighbours = False
    batch_size = 1

    def __init__(self, name="fake", fingerprint=""):
        self.name = name
        self.fingerprint = fingerprint


def view(inside):
    return f'<View><Image name="image" value="$image"/>{inside}</View>'


def boxes(*labels, name="label", more=""):
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<RectangleLabels name="{name}" toName="image" {more}>{inside}</RectangleLabels>'


def plan(inside, predictor=None):
    return make_plan(view(inside), Predictors(predictor or Named()))


def test_an_empty_config_has_no_steps_and_says_so():
    empty = make_plan("<View></View>", Predictors(Named()))
    assert empty.steps == ()
    assert empty.model_version == NO_PREDICTOR
    assert "nothing to fill" in empty.warnings[0]


def test_a_config_that_is_not_xml_is_refused():
    with pytest.raises(InvalidRequest):
        make_plan("<View", Predictors(Named()))


def test_the_shipped_config_is_filled_with_boxes_and_parts_under_the_plain_name():
    shipped = make_plan(default_label_config(), Predictors(Named("grounding-dino-tiny")))
    (step,) = shipped.steps
    assert step.part_choice is not None
    assert step.part_choice.control.name == "body_part"
    assert set(step.part_choice.stored) == {
        "face", "hair", "hand", "arm", "leg", "torso", "full_body", "other"
    }  # fmt: skip
    assert shipped.model_version == "grounding-dino-tiny"
    assert shipped.warnings == ()


def test_the_version_changes_with_labels_settings_and_thresholds():
    versions = [
        plan(boxes("body_distortion")).model_version,
        plan(boxes("cat")).model_version,
        plan(boxes("dog")).model_version,
        plan(boxes("body_distortion"), Named(fingerprint="abc")).model_version,
        plan(boxes("body_distortion", more='model_score_threshold="0.5"')).model_version,
    ]
    assert versions[0] == "fake"
    assert len(set(versions)) == len(versions)
    assert all(version.startswith("fake@") for version in versions[1:])


def test_the_same_config_always_has_the_same_version():
    assert plan(boxes("cat")).model_version == plan(boxes("cat")).model_version


@pytest.mark.parametrize(
    ("written", "score"), [("0.4", 0.4), ("0", 0.0), ("high", None), ("1.5", None)]
)
def test_a_threshold_in_the_config_is_honoured_or_warned_about(written, score):
    made = plan(boxes("cat", more=f'model_score_threshold="{written}"'))
    assert made.steps[0].ask.min_score == score
    assert bool(made.warnings) is (score is None)


def test_a_control_marked_to_skip_is_skipped():
    assert plan(boxes("cat", more='model_skip="true"')).steps == ()


def test_a_control_on_something_else_than_an_image_is_warned_about():
    made = make_plan(
        '<View><Video name="v" value="$v"/><RectangleLabels name="r" toName="v">'
        '<Label value="a"/></RectangleLabels></View>',
        Predictors(Named()),
    )
    assert made.steps == ()
    assert "is no <Image>" in made.warnings[0]


def test_a_label_in_a_rectangle_and_a_keypoint_control_is_given_once_as_a_rectangle():
    points = (
        '<KeyPointLabels name="p" toName="image"><Label value="cat"/><Label value="spot"/>'
        "</KeyPointLabels>"
    )
    rectangle, point = plan(points + boxes("cat")).steps
    assert rectangle.control.tag == "RectangleLabels"
    assert [phrase.label for phrase in point.ask.phrases] == ["spot"]


def choices(name, *values, more=""):
    inside = "".join(f'<Choice value="{value}"/>' for value in values)
    return f'<Choices name="{name}" toName="image" perRegion="true" {more}>{inside}</Choices>'


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ("", None),
        (choices("severity", "mild", "severe"), None),
        (choices("body_part", "Face"), "body_part"),
        (choices("where", "FACE", "Full Body"), "where"),
        (choices("where", "face", "hand") + choices("Body-Part", "face"), "Body-Part"),
        (choices("body_part", "face", "hand", more='whenTagName="other"'), None),
        (choices("body_part", "face", "hand", more='whenTagName="label,x"'), "body_part"),
        (choices("body_part", "face").replace('perRegion="true"', ""), None),
    ],
)
def test_the_body_part_choice_is_found_by_name_tag_or_values(controls, expected):
    (step,) = plan(boxes("body_distortion") + controls).steps
    assert (step.part_choice and step.part_choice.control.name) == expected


def test_typed_words_replace_the_labels_phrases():
    made = plan(boxes("cat", "dog"))
    typed = made.typed(["a brown dog"])
    assert [(p.text, p.label) for p in typed.steps[0].ask.phrases] == [("a brown dog", "dog")]
    assert replace(typed, steps=made.steps) == made

"""Which control is filled, with what, and under which version."""

from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel import keypoints
from prelabel.errors import InvalidRequest
from prelabel.labelstudio.config import normalised
from prelabel.labelstudio.keypoint_labels import PERSON_WORDS
from prelabel.labelstudio.templates import boxes_config
from prelabel.plan import NO_PREDICTOR, PoseStep, Predictors, make_plan
from prelabel.predictors.artifacts import ArtifactDetector


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


def predictors(boxes=None, poses=None):
    return Predictors(boxes or Named(), poses or Named("pose"))


def plan(inside, predictor=None):
    return make_plan(view(inside), predictors(predictor))


def test_an_empty_config_has_no_steps_and_says_so():
    empty = make_plan("<View></View>", predictors())
    assert empty.steps == ()
    assert empty.model_version == NO_PREDICTOR
    assert "nothing to fill" in empty.warnings[0]


def test_labels_beside_a_rectangle_are_told_what_they_can_become():
    beside = '<Labels name="l" toName="image"><Label value="a"/></Labels>'
    made = plan(f'{beside}<Rectangle name="r" toName="image"/>')
    assert made.model_version == NO_PREDICTOR
    assert "become one RectangleLabels" in made.warnings[1]


def test_a_config_that_is_not_xml_is_refused():
    with pytest.raises(InvalidRequest):
        make_plan("<View", predictors())


@pytest.mark.parametrize(("label", "knows"), [("Car", False), ("body_distortion", True)])
def test_a_predictor_that_knows_none_of_the_labels_is_warned_of(label, knows):
    inside = boxes(label, name="b")
    found = plan(inside, ArtifactDetector())
    assert [warning.partition(";")[0] for warning in found.warnings] == (
        [] if knows else ["b: opencv-fallback finds distortions only, and no label names one"]
    )
    assert plan(inside).warnings == ()


def test_the_warnings_are_of_what_answers_now():
    class Recovers(Named):
        sees = False

        def why_blind(self, ask):
            return "" if self.sees else "sees nothing"

    predictor = Recovers()
    made = plan(boxes("cat", name="b"), predictor)
    assert made.warnings[0].startswith("b: sees nothing; ")
    predictor.sees = True
    assert made.warnings == ()


def test_the_shipped_config_is_filled_with_boxes_and_parts_under_the_plain_name():
    shipped = make_plan(boxes_config(), predictors(Named("grounding-dino-tiny")))
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
        predictors(),
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


def test_typed_words_replace_the_labels_phrases_and_not_the_version():
    made = plan(boxes("cat", "dog"))
    typed = made.interactive([{"type": "textarea", "value": {"text": ["a brown dog"]}}])
    assert [(p.text, p.label) for p in typed.steps[0].ask.phrases] == [("a brown dog", "dog")]
    assert typed.model_version == made.model_version


def points(*names, name="keypoints", more=""):
    inside = "".join(f'<Label value="{point}"/>' for point in names)
    return f'<KeyPointLabels name="{name}" toName="image" {more}>{inside}</KeyPointLabels>'


def test_keypoints_with_whole_body_names_are_filled_with_poses():
    (step,) = plan(points("nose", "left_eye")).steps
    assert isinstance(step, PoseStep)
    assert [one.labels for one in step.points] == [{0: "nose", 1: "left_eye"}]
    assert step.parent is None
    assert plan(points("nose")).model_version.startswith("pose@")


def test_all_133_keypoints_are_the_default_and_need_no_digest():
    assert plan(points(*keypoints.NAMES)).model_version == "pose"


@pytest.mark.parametrize(
    "rectangle",
    [
        boxes("Person", name="box"),
        boxes("car", "human", name="box"),
        boxes("person", name="keypoints_bbox", more='model_skip="true"'),
    ],
)
def test_a_rectangle_for_persons_becomes_the_parent_and_is_asked_of_no_detector(rectangle):
    made = plan(rectangle + points("nose"))
    pose = made.steps[-1]
    assert pose.parent is not None
    assert normalised(pose.parent.label) in PERSON_WORDS
    asked = [phrase.text for step in made.steps[:-1] for phrase in step.ask.phrases]
    assert asked == (["car"] if "car" in rectangle else [])


def test_boxes_and_poses_in_one_project_have_both_names_in_one_version():
    config = boxes("body_distortion") + boxes("person", name="person") + points(*keypoints.NAMES)
    made = plan(config)
    assert [type(step).__name__ for step in made.steps] == ["BoxStep", "PoseStep"]
    assert made.model_version == "fake+pose"


def test_other_keypoints_beside_whole_body_ones_get_the_centres_of_boxes():
    box, pose = plan(points("nose", "spot")).steps
    assert [phrase.label for phrase in box.ask.phrases] == ["spot"]
    assert [one.labels for one in pose.points] == [{0: "nose"}]


def test_controls_that_share_people_are_filled_in_one_step():
    face, hands = points("nose", name="face"), points("left_wrist", "spot", name="hands")
    box, pose = plan(boxes("person", name="person") + face + hands).steps
    assert [phrase.label for phrase in box.ask.phrases] == ["spot"]
    assert [(one.control.name, one.labels) for one in pose.points] == [
        ("face", {0: "nose"}),
        ("hands", {9: "left_wrist"}),
    ]
    assert (
        plan(points(*keypoints.NAMES[:50]) + points(*keypoints.NAMES[50:], name="rest")).wishes
        == ()
    )


@pytest.mark.parametrize(
    ("face", "hands", "threshold", "is_warned"),
    [("0.7", "0.7", 0.7, False), ("0.7", "0.5", 0.5, True), ("0.7", None, 0.7, True)],
)
def test_of_several_thresholds_for_the_points_of_people_the_lowest_counts(
    face, hands, threshold, is_warned
):
    more = [f'model_point_threshold="{wish}"' if wish else "" for wish in (face, hands)]
    made = plan(points("nose", name="face", more=more[0]) + points("left_wrist", more=more[1]))
    assert [step.ask.min_score for step in made.steps] == [threshold]
    assert bool(made.warnings) is is_warned


def drawn(label, name="person", **more):
    value = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [label]}
    size = {"original_width": 100, "original_height": 100}
    return {"type": "rectanglelabels", "from_name": name, "to_name": "image", "value": value} | (
        size | more
    )


def test_a_smart_rectangle_around_something_else_draws_no_person():
    config = boxes("body_distortion") + boxes("person", name="person") + points("nose")
    asked = plan(config).interactive([drawn("body_distortion", "label")])
    assert [type(step).__name__ for step in asked.steps] == ["BoxStep"]
    asked = plan(config).interactive([drawn("person")])
    assert [step.ask.within_xyxy for step in asked.steps] == [((10, 10, 60, 60),)] * 2
    odd = drawn("person")
    odd["value"]["rectanglelabels"] = 5
    assert len(plan(config).interactive([odd]).steps) == 2
    alone = plan(boxes("body_distortion") + points("nose")).interactive([drawn("body_distortion")])
    assert [type(step).__name__ for step in alone.steps] == ["BoxStep", "PoseStep"]


def test_a_smart_rectangle_is_answered_on_its_own_image_and_page():
    two = (
        '<Image name="image" valueList="$pages"/><Image name="other" value="$other"/>'
        '<RectangleLabels name="label" toName="image"><Label value="cat"/></RectangleLabels>'
        '<RectangleLabels name="more" toName="other"><Label value="dog"/></RectangleLabels>'
    )
    made = make_plan(f"<View>{two}</View>", predictors())
    (step,) = made.interactive([drawn("cat", "label", item_index=1)]).steps
    assert (step.image.name, step.page) == ("image", 1)
    (step,) = made.interactive([drawn("dog", "more", to_name="other")]).steps
    assert (step.image.name, step.page) == ("other", None)
    assert [step.page for step in made.interactive([]).steps] == [None, None]


POINT = {"x": 50, "y": 50, "width": 1, "keypointlabels": ["nose"]}
BRUSH = {"format": "rle", "rle": [0, 1], "brushlabels": ["person"]}


@pytest.mark.parametrize(
    "results",
    [
        [drawn("person", type="keypointlabels", value=POINT, is_positive=False)],
        [drawn("person", type="brushlabels", value=BRUSH)],
        [drawn("person", original_width=None)],
        [drawn("person", to_name="other")],
        [drawn("car")],
        [None],
    ],
)
def test_where_nothing_says_where_to_look_nothing_looks(results):
    made = plan(boxes("person", name="person") + points("nose"))
    asked = made.interactive(results)
    assert (asked.steps, asked.elsewhere) == ((), True)
    typed = {"type": "textarea", "value": {"text": ["a hand"]}}
    assert made.interactive([typed]).steps == made.steps


def test_what_a_repeater_repeats_is_not_filled_and_that_is_told():
    inside = '<Image name="page_{{i}}" value="$pages"/>'
    inside += boxes("cat").replace('"label"', '"of_{{i}}"').replace('"image"', '"page_{{i}}"')
    made = plan(f'<Repeater on="$pages">{inside}</Repeater>')
    assert made.steps == ()
    assert any("<Image valueList> shows the same pages" in one for one in made.warnings)
    (step,) = plan(boxes("cat") + f'<Repeater on="$pages">{inside}</Repeater>').steps
    assert step.image.name == "image"


def test_a_threshold_for_points_is_honoured():
    (step,) = plan(points("nose", more='model_point_threshold="0.7"')).steps
    assert step.ask.min_score == 0.7


def test_what_was_drawn_tells_where_to_look():
    size = {"original_width": 200, "original_height": 100}
    drawn = [
        {"type": "rectanglelabels", **size, "id": "a",
         "value": {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["person"]}},
        {"type": "keypointlabels", **size, "id": "b", "is_positive": True,
         "value": {"x": 50, "y": 50, "width": 1, "keypointlabels": ["nose"]}},
    ]  # fmt: skip
    (step,) = plan(points("nose")).interactive(drawn).steps
    assert step.ask.within_xyxy == ((20, 10, 120, 60),)
    assert step.ask.at_xy == ((100, 50),)


NAMES = st.sampled_from(["image", "label", "keypoints", "person", "x y", "", "手", "a,b"])
LABELS = st.one_of(
    st.sampled_from(["nose", "left_hand_0", "face-67", "person", "body_distortion", " ", ".", "²"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12),
)
TAGS = st.sampled_from(["RectangleLabels", "KeyPointLabels", "Choices", "TextArea", "BrushLabels"])
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["perRegion", "whenTagName", "whenLabelValue", "model_skip", "model_score_threshold",
         "model_point_threshold", "model_index", "alias", "predicted_values"]
    ),
    LABELS,
    max_size=3,
)  # fmt: skip


@st.composite
def configs(draw):
    root = Element("View")
    for _ in range(draw(st.integers(0, 2))):
        SubElement(root, "Image", {"name": draw(NAMES), "value": draw(LABELS)})
    for _ in range(draw(st.integers(0, 3))):
        given = {"name": draw(NAMES), "toName": draw(NAMES), **draw(ATTRIBUTES)}
        control = SubElement(root, draw(TAGS), given)
        for label in draw(st.lists(LABELS, max_size=4)):
            child = "Choice" if control.tag == "Choices" else "Label"
            SubElement(control, child, {**draw(ATTRIBUTES), "value": label})
    return tostring(root, encoding="unicode")


@given(configs())
def test_whatever_a_project_says_it_gets_a_plan_with_a_version(config):
    made = make_plan(config, predictors())
    assert isinstance(made.model_version, str)
    assert made.model_version == make_plan(config, predictors()).model_version


@given(st.lists(st.recursive(st.none() | st.text(max_size=3) | st.floats() | st.integers(),
                             lambda inner: st.lists(inner, max_size=2)
                             | st.dictionaries(st.sampled_from(["type", "value", "x", "text"]),
                                               inner, max_size=3)), max_size=3))  # fmt: skip
def test_whatever_an_editor_sends_is_a_plan_too(results):
    plan(points("nose")).interactive(results)


def test_numbered_labels_of_which_no_name_is_understood_are_told():
    label = '<Label value="Kopf" {}/>'
    points = f'<KeyPointLabels name="kp" toName="image">{label}</KeyPointLabels>'
    assert plan(points.format("")).warnings == ()
    (warning,) = plan(points.format('model_index="0"')).warnings
    assert warning.startswith("kp: 'Kopf' names no keypoint of a person, so words")


def test_labels_of_nobody_beside_those_of_a_person_are_told():
    def told(*labels):
        rows = "".join(f'<Label value="{label}"/>' for label in labels)
        control = f'<KeyPointLabels name="kp" toName="image">{rows}</KeyPointLabels>'
        return [one for one in plan(control).warnings if "animals" in one]

    assert told("nose", "left_eye") == []
    assert told("tail", "paw") == []  # all are looked for in words
    (warning,) = told("nose", "left_eye", "tail")
    assert warning.startswith("kp: 'tail' names no keypoint of a person")
    (warning,) = told("nose", *(f"spine {n}" for n in range(7)))
    assert "'spine 4' and 2 more name no keypoints" in warning

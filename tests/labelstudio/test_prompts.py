"""What labels ask a detector for."""

import pytest

from prelabel.labelstudio.config import Label, parse
from prelabel.labelstudio.prompts import (
    body_part_in,
    means_distortion,
    part_choices,
    phrases_of,
    phrases_typed,
)
from prelabel.types import BODY_PARTS


def label(value, alias=None, **attributes):
    return Label(value, alias, attributes)


def test_no_labels_ask_for_nothing():
    assert phrases_of([]) == ()


def test_body_distortion_is_asked_for_part_by_part():
    phrases = phrases_of([label("body_distortion")])
    assert {phrase.label for phrase in phrases} == {"body_distortion"}
    assert [phrase.body_part for phrase in phrases] == [p for p in BODY_PARTS if p != "other"]
    assert phrases[0].text == "distorted face"


def test_a_label_that_names_the_part_is_asked_for_as_it_is():
    (phrase,) = phrases_of([label("Distorted-Hand", alias="dh")])
    assert (phrase.text, phrase.label, phrase.body_part) == ("distorted hand", "dh", "hand")


def test_other_labels_are_their_own_phrase():
    (phrase,) = phrases_of([label("traffic_light")])
    assert (phrase.text, phrase.label, phrase.body_part) == ("traffic light", "traffic_light", None)


def test_predicted_values_are_the_phrases_of_their_label():
    phrases = phrases_of([label("body_distortion", predicted_values="extra fingers, melted face")])
    assert [(p.text, p.label, p.body_part) for p in phrases] == [
        ("extra fingers", "body_distortion", "hand"),
        ("melted face", "body_distortion", "face"),
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", None),
        ("car", None),
        ("charm", None),
        ("left-hand fingers", "hand"),
        ("Full Body", "full_body"),
        ("knee", "leg"),
        ("hairstyle", None),
    ],
)
def test_body_parts_are_found_as_whole_words(text, part):
    assert body_part_in(text) == part


@pytest.mark.parametrize(
    ("text", "means"),
    [("", False), ("cat", False), ("Body Distortion", True), ("AI artifact", True)],
)
def test_a_distortion_is_told_from_a_thing(text, means):
    assert means_distortion(text) is means


def test_typed_words_get_a_label_that_the_project_has():
    control = parse(
        '<View><Image name="i" value="$i"/><RectangleLabels name="r" toName="i">'
        '<Label value="thing"/><Label value="cat"/></RectangleLabels></View>'
    ).controls[0]
    phrases = phrases_typed(["black cat. melted hand", "", " , "], control)
    assert [(p.text, p.label, p.body_part) for p in phrases] == [
        ("black cat", "cat", None),
        ("melted hand", "thing", "hand"),
    ]


def test_choices_stand_for_parts_in_any_spelling():
    choices = [label("Full Body", alias="fb"), label("FACE"), label("severe")]
    assert part_choices(choices) == {"face": "FACE", "full_body": "fb"}

"""Prompts are built from phrases, and findings are read back from token scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.errors import ModelError
from prelabel.predictors.phrases import (
    Reading,
    Selection,
    cleaned,
    detections_from,
    prompts_for,
    token_spans,
)
from prelabel.types import Phrase

START, END, STOP, QUESTION, PADDING = 101, 102, 1012, 1029, 0
DELIMITERS = {START, END, STOP, QUESTION, PADDING}

FACE = Phrase("distorted face", "body_distortion", "face")
HAND = Phrase("distorted hand", "body_distortion", "hand")
BODY = Phrase("distorted full body", "body_distortion", "full_body")


def tokenize(text):
    """A token per word; full stop and question mark are delimiters, as in BERT's vocabulary."""
    spaced = text.replace(".", " . ").replace("?", " ? ").split()
    marks = {".": STOP, "?": QUESTION}
    return [START, *(marks.get(word, 2000 + sum(map(ord, word))) for word in spaced), END]


def prompts(*phrases, max_tokens=256):
    return prompts_for(phrases, tokenize, DELIMITERS, max_tokens)


def reading(prompt, *queries):
    """A reading from queries, each a box (cxcywh) and a dict of token place to probability."""
    probabilities = np.zeros((len(queries), len(tokenize(prompt.text))), np.float32)
    for row, (_, tokens) in enumerate(queries):
        for place, probability in tokens.items():
            probabilities[row, place] = probability
    boxes = np.array([box for box, _ in queries], np.float32).reshape(-1, 4)
    return Reading(probabilities, boxes)


def found(prompt, *queries, box=0.22, text=0.20, most=20, image_hw=(100, 200)):
    return detections_from(
        [prompt],
        [reading(prompt, *queries)],
        image_hw=image_hw,
        selection=Selection(box, text, most),
        source="test",
    )


LEFT = (0.25, 0.5, 0.2, 0.4)
RIGHT = (0.75, 0.5, 0.2, 0.4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("...", ""),
        ("Hand", "hand"),
        ("  distorted\n hand ", "distorted hand"),
        ("hand.", "hand"),
        ("e.g. hand? or arm", "e g hand or arm"),
    ],
)
def test_a_phrase_loses_what_would_end_it_for_the_model(text, expected):
    assert cleaned(text) == expected


def test_no_phrases_make_no_prompt():
    assert prompts() == []


def test_phrases_are_joined_in_their_order_and_the_last_one_ends_with_a_full_stop():
    (prompt,) = prompts(HAND, FACE)
    assert prompt.text == "distorted hand. distorted face."
    assert prompt.phrases == (HAND, FACE)


def test_each_phrase_knows_the_places_of_its_own_tokens():
    (prompt,) = prompts(FACE, BODY)
    assert prompt.spans == ((1, 2), (4, 5, 6))


def test_a_phrase_asked_for_twice_stands_once_and_keeps_the_first_label():
    other = Phrase("Distorted face.", "other_label")
    (prompt,) = prompts(FACE, other, HAND)
    assert prompt.phrases == (FACE, HAND)


def test_a_phrase_without_words_is_left_out():
    (prompt,) = prompts(Phrase("?.?", "label"), HAND)
    assert prompt.phrases == (HAND,)
    assert prompts(Phrase("...", "label")) == []


@given(
    words=st.lists(st.integers(1, 6), max_size=40),
    max_tokens=st.integers(9, 40),
)
def test_every_phrase_stands_in_exactly_one_prompt_that_the_model_can_read_whole(words, max_tokens):
    phrases = [
        Phrase(" ".join(["word"] * (count - 1) + [f"n{number}"]), "label")
        for number, count in enumerate(words)
    ]
    made = prompts(*phrases, max_tokens=max_tokens)
    assert [phrase for prompt in made for phrase in prompt.phrases] == phrases
    assert all(len(tokenize(prompt.text)) <= max_tokens for prompt in made)


def test_a_phrase_that_the_model_cannot_read_whole_is_an_error_that_names_it():
    with pytest.raises(ModelError, match="'very very"):
        prompts(Phrase("very " * 300 + "bad hand", "label"))


def test_padding_and_question_marks_end_a_span_like_full_stops():
    assert token_spans([], DELIMITERS) == ()
    assert token_spans([START, 7, 8, QUESTION, 9, END, PADDING, PADDING], DELIMITERS) == (
        (1, 2),
        (4,),
    )


def test_a_box_gets_label_and_part_of_the_phrase_that_scores_best():
    (prompt,) = prompts(FACE, HAND)
    boxes = found(prompt, (LEFT, {1: 0.5, 2: 0.4, 4: 0.3}), (RIGHT, {1: 0.3, 4: 0.3, 5: 0.6}))
    assert boxes.body_parts == ("hand", "face")
    assert boxes.labels == ("body_distortion", "body_distortion")
    assert boxes.scores == pytest.approx([0.6, 0.5])
    assert boxes.boxes_xyxy == pytest.approx(np.array([[130, 30, 170, 70], [30, 30, 70, 70]]))
    assert boxes.source == "test"


def test_full_stops_and_the_start_token_give_no_score():
    (prompt,) = prompts(FACE)
    assert len(found(prompt, (LEFT, {0: 0.9, 3: 0.9, 4: 0.9, 1: 0.1}))) == 0


def test_the_box_threshold_drops_what_scores_lower():
    (prompt,) = prompts(FACE)
    query = (LEFT, {1: 0.3, 2: 0.3})
    assert len(found(prompt, query, box=0.3)) == 1
    assert len(found(prompt, query, box=0.31)) == 0


def test_the_text_threshold_drops_a_phrase_of_which_less_than_half_is_matched():
    (prompt,) = prompts(BODY)
    one_of_three = (LEFT, {1: 0.9, 2: 0.1, 3: 0.1})
    two_of_three = (LEFT, {1: 0.9, 2: 0.25, 3: 0.1})
    assert len(found(prompt, one_of_three, text=0.2)) == 0
    assert len(found(prompt, one_of_three, text=0.05)) == 1
    assert len(found(prompt, two_of_three, text=0.2)) == 1
    assert len(found(prompt, two_of_three, text=0.3)) == 0


def test_a_text_threshold_above_the_box_threshold_drops_boxes_that_nothing_names():
    (prompt,) = prompts(FACE)
    query = (LEFT, {1: 0.3, 2: 0.3})
    assert len(found(prompt, query, box=0.2, text=0.29)) == 1
    assert len(found(prompt, query, box=0.2, text=0.31)) == 0


def test_where_the_best_phrase_cannot_name_a_box_the_next_one_does():
    (prompt,) = prompts(BODY, HAND)
    boxes = found(prompt, (LEFT, {1: 0.9, 5: 0.1, 6: 0.5}))
    assert boxes.body_parts == ("hand",)
    assert boxes.scores == pytest.approx([0.5])


def test_overlapping_boxes_of_one_part_are_one_finding_the_better_one():
    (prompt,) = prompts(FACE)
    moved = (0.26, 0.5, 0.2, 0.4)
    boxes = found(prompt, (moved, {1: 0.4, 2: 0.4}), (LEFT, {1: 0.5, 2: 0.5}))
    assert boxes.scores == pytest.approx([0.5])


def test_two_phrases_of_one_part_compete():
    (prompt,) = prompts(HAND, Phrase("hand", "body_distortion", "hand"))
    moved = (0.26, 0.5, 0.2, 0.4)
    assert len(found(prompt, (moved, {1: 0.4, 2: 0.4}), (LEFT, {4: 0.5}))) == 1


def test_a_face_within_a_body_stays_but_the_same_box_under_two_parts_does_not():
    (prompt,) = prompts(FACE, HAND)
    half_over = (0.27, 0.5, 0.2, 0.4)
    assert len(found(prompt, (half_over, {1: 0.4, 2: 0.4}), (LEFT, {4: 0.5, 5: 0.5}))) == 2
    assert len(found(prompt, (LEFT, {1: 0.4, 2: 0.4}), (LEFT, {4: 0.5, 5: 0.5}))) == 1


def test_only_the_best_findings_are_kept():
    (prompt,) = prompts(FACE)
    queries = [((0.1 + 0.2 * n, 0.5, 0.1, 0.4), {1: 0.3 + 0.1 * n, 2: 0.3}) for n in range(5)]
    assert found(prompt, *queries, most=2).scores == pytest.approx([0.7, 0.6])


def test_findings_of_several_prompts_are_merged():
    first, second = prompts(FACE, HAND, max_tokens=6)
    same_box = (LEFT, {1: 0.4, 2: 0.4}), (LEFT, {1: 0.5, 2: 0.5})
    boxes = detections_from(
        [first, second],
        [reading(first, same_box[0], (RIGHT, {1: 0.3, 2: 0.3})), reading(second, same_box[1])],
        image_hw=(100, 200),
        selection=Selection(0.22, 0.2, 20),
        source="test",
    )
    assert boxes.body_parts == ("hand", "face")


@given(
    boxes=st.lists(
        st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 2, *[st.floats(0, 2, width=32)] * 2),
        max_size=20,
    ),
    height=st.integers(8, 3000),
    width=st.integers(8, 3000),
)
def test_findings_lie_inside_the_image_and_have_an_area(boxes, height, width):
    (prompt,) = prompts(FACE)
    queries = [(box, {1: 0.9, 2: 0.9}) for box in boxes]
    inside = found(prompt, *queries, image_hw=(height, width)).boxes_xyxy
    assert (inside >= 0).all()
    assert (inside[:, 2:] <= [width, height]).all()
    assert (inside[:, 2:] - inside[:, :2] >= 1).all()

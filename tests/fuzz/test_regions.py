"""Regions of any shape, read as annotations, as drawings and as what was just drawn."""

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prelabel.geometry import within_image
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.regions.check import problems
from prelabel.labelstudio.regions.marks import keep, kept, read_marks
from prelabel.labelstudio.regions.read import drawn_places, prompt_texts, read
from prelabel.labelstudio.regions.video import read_tracks
from prelabel.labelstudio.regions.write import (
    Page,
    PersonBox,
    PointLabels,
    box_regions,
    pose_regions,
)
from prelabel.server.agreement import Remembered, review

from . import shapes
from .conftest import tried

CONFIG = parse(shapes.WHOLE_CONFIG)
BOXES, POINTS = CONFIG.control("label"), CONFIG.control("keypoints")
RESULTS = shapes.RESULTS
TURNED_BY_TEXT = {
    "type": "rectangle", "original_width": 9, "original_height": 9,
    "value": {"x": 1, "y": 1, "width": 1, "height": 1, "rotation": "1"},
}  # fmt: skip


@tried(80)
@given(RESULTS, st.none() | st.integers(0, 2))
def test_whatever_is_read_is_whole_and_what_cannot_be_read_is_passed_over(result, page):
    drawn = read(result, CONFIG, page)
    assert len(drawn.boxes) + len(drawn.people) <= len(result)
    assert not any(drawn.image_hw) or min(drawn.image_hw) > 0


@tried(80)
@given(RESULTS, st.none() | st.integers(0, 2))
def test_marks_and_what_is_kept_of_an_annotation_hold_only_what_is_whole(result, page):
    image_hw, marks = read_marks(result, CONFIG, (6.0, 10.0), page)
    for mark in marks:
        within, visible = within_image(mark.box_xyxy[None], mark.turn, image_hw)
        assert within.tolist() == [mark.box_xyxy.tolist()]
        assert (visible > 0).all()
    assert problems(kept(keep(result), CONFIG), CONFIG) == []


@tried(80)
@given(RESULTS)
@example([TURNED_BY_TEXT])
def test_what_was_just_drawn_or_typed_is_understood_or_passed_over(result):
    boxes, points = drawn_places(result)
    assert len(boxes) + len(points) <= len(result)
    assert all(isinstance(text, str) for text in prompt_texts(result))


@tried(80)
@given(st.lists(shapes.broken_regions(), max_size=4))
def test_one_broken_region_costs_no_other(broken):
    whole = {
        "id": "whole", "type": "rectanglelabels", "from_name": "label", "to_name": "image",
        "original_width": 100, "original_height": 100,
        "value": {"x": 10, "y": 20, "width": 30, "height": 40, "rectanglelabels": ["person"]},
    }  # fmt: skip
    drawn = read([whole, *copy.deepcopy(broken)], CONFIG)
    assert [10, 20, 40, 60] in drawn.boxes.boxes_xyxy.tolist()


@tried(80)
@given(st.lists(shapes.WHOLE_REGION, min_size=1, max_size=4))
def test_what_is_read_and_written_is_read_again_as_the_same(result):
    for region in result:
        region |= {"original_width": 400, "original_height": 300, "id": region["id"]}
        region["value"]["rotation"] = 0
    drawn = read(result, CONFIG)
    inside = [
        row
        for row, box in enumerate(drawn.boxes.boxes_xyxy)
        if (box >= 0).all() and (box[[2, 3]] <= (400, 300)).all() and (box[2:] - box[:2] > 1).all()
    ]
    page = Page(300, 400)
    written = box_regions(drawn.boxes.take(inside), BOXES, None, page)
    again = read(written, CONFIG)
    assert again.boxes.labels == tuple(drawn.boxes.labels[row] for row in inside)
    assert again.boxes.boxes_xyxy == pytest.approx(drawn.boxes.boxes_xyxy[inside], abs=0.01)
    people = pose_regions(
        drawn.people,
        [PointLabels(POINTS, keypoint_labels(POINTS.labels))],
        PersonBox(BOXES, "person"),
        page,
    )
    seen = sum(len(region["value"].get("keypointlabels", ())) for region in people)
    found = read(people, CONFIG).people if people else drawn.people.take([])
    assert int((found.keypoint_scores > 0).sum()) == seen


@tried(80)
@given(RESULTS)
def test_tracks_through_a_video_are_read_or_passed_over(result):
    config = parse(
        '<View><Video name="image" value="$video"/><Labels name="labels" toName="image">'
        '<Label value="person"/></Labels><VideoRectangle name="label" toName="image"/></View>'
    )
    assert len(read_tracks(result, config, config.videos[0])) <= len(result)


@tried(80)
@given(shapes.ANNOTATIONS, shapes.JSON)
def test_any_annotation_can_be_compared_with_any_prediction(annotation, task):
    told = review({**annotation, "task": task}, Remembered())
    assert told.source in ("prediction", "scratch", "skipped")

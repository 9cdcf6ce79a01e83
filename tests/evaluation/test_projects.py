"""Stored predictions of Label Studio tasks against their annotations."""

import numpy as np
import pytest

from prelabel import keypoints
from prelabel.errors import InvalidRequest, SettingsError
from prelabel.evaluation.projects import compare
from prelabel.evaluation.report import evaluate
from prelabel.export.pictures import Schema
from prelabel.labelstudio.config import parse
from prelabel.labelstudio.keypoint_labels import keypoint_labels
from prelabel.labelstudio.regions.write import (
    Page,
    PersonBox,
    PointLabels,
    box_regions,
    pose_regions,
)
from prelabel.types import Detections

CONFIG = parse(
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="box" toName="image"><Label value="Person"/><Label value="hat"/>'
    '</RectangleLabels><KeyPointLabels name="points" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in keypoints.BODY_NAMES)
    + "</KeyPointLabels></View>"
)
SCHEMA = Schema(CONFIG)
PAGE = Page(height=200, width=300)


@pytest.fixture
def pose_result(make):
    """Regions of a person whose body is moved to the right by some pixels."""

    def result(moved=0.0, page=PAGE):
        points = CONFIG.control("points")
        box = PersonBox(CONFIG.control("box"), "Person")
        poses = make.poses(make.spread_out() + np.array([moved, 0]))
        return pose_regions(poses, [PointLabels(points, keypoint_labels(points.labels))], box, page)

    return result


def hat_result(*box):
    hats = Detections(
        np.array([box], np.float32), np.array([0.5], np.float32), ("hat",), (None,), "test"
    )
    return box_regions(hats, CONFIG.control("box"), None, PAGE)


def annotation(result, **fields):
    return {"id": 1, "result": result, "updated_at": "2026-01-01T00:00:00Z", **fields}


def prediction(result, version="v1", created_at="2026-01-01T00:00:00Z"):
    return {"id": 1, "result": result, "model_version": version, "created_at": created_at}


def task(annotations, predictions):
    data = {"image": "https://example.org/a.jpg"}
    return {"id": 7, "data": data, "annotations": annotations, "predictions": predictions}


def test_no_tasks_are_no_scenes():
    compared = compare([], SCHEMA)

    assert compared.scenes == []
    assert evaluate(compared.scenes, {}).poses == {}


def test_a_prediction_like_the_annotation_scores_one(pose_result):
    same = task([annotation(pose_result())], [prediction(pose_result())])

    report = evaluate(compare([same], SCHEMA).scenes, {})

    assert report.images[0].name == "task 7"
    assert set(report.poses) == {"body", "whole_body"}
    assert report.poses["body"].mean_oks == pytest.approx(1, abs=1e-3)
    assert report.boxes["person"].ap == pytest.approx(1)
    assert report.people_with_area == 0


def test_a_prediction_beside_the_annotation_scores_less(pose_result):
    shifted = task([annotation(pose_result())], [prediction(pose_result(moved=5))])

    report = evaluate(compare([shifted], SCHEMA).scenes, {})

    assert 0.3 < report.poses["body"].mean_oks < 0.95


def test_nothing_predicted_where_a_person_was_annotated_is_a_miss(pose_result):
    missed = task([annotation(pose_result())], [prediction([])])

    report = evaluate(compare([missed], SCHEMA).scenes, {})

    assert report.poses["body"].precision.found == 0
    assert report.poses["body"].precision.ap == 0


def test_boxes_are_scored_by_their_labels(pose_result):
    drawn = [*pose_result(), *hat_result(10, 10, 50, 50)]
    found = [*pose_result(), *hat_result(10, 10, 50, 40)]

    report = evaluate(compare([task([annotation(drawn)], [prediction(found)])], SCHEMA).scenes, {})

    assert report.boxes["hat"].ap == pytest.approx(0.6)  # IoU 0.75: right at 6 of 10 thresholds
    assert report.boxes["person"].ap == pytest.approx(1)


def test_a_person_of_whom_only_the_box_is_drawn_excuses_a_pose_in_it(pose_result):
    (box, *_) = pose_result()

    report = evaluate(
        compare([task([annotation([box])], [prediction(pose_result())])], SCHEMA).scenes, {}
    )

    assert report.people == 1
    assert report.poses == {}
    assert report.boxes["person"].ap == pytest.approx(1)


def test_the_newest_prediction_counts_or_that_of_a_model_version(pose_result):
    old = prediction([], "v1", "2026-01-01T00:00:00Z")
    new = prediction(pose_result(), "v2", "2026-01-02T00:00:00Z")
    both = task([annotation(pose_result())], [new, old])

    newest, chosen = compare([both], SCHEMA), compare([both], SCHEMA, "v1")

    assert (newest.model_versions, chosen.model_versions) == ({"v2": 1}, {"v1": 1})
    assert [len(compared.scenes[0].poses) for compared in (newest, chosen)] == [1, 0]


def test_boxes_are_cut_to_the_image_as_an_export_has_them():
    (turned,) = hat_result(200, 100, 300, 200)
    turned["value"]["rotation"] = 45  # reaches over the right and the lower edge

    (scene,) = compare([task([annotation([turned])], [prediction([turned])])], SCHEMA).scenes

    for (box,) in (scene.boxes.boxes_xyxy, scene.detections.boxes_xyxy):
        assert (box[2:] <= (300, 200)).all()
        assert box[1] == pytest.approx(100)


@pytest.mark.parametrize(
    ("predictions", "there"), [([], "none"), ([prediction([], "v2"), prediction([])], "v1, v2")]
)
def test_a_model_version_that_no_prediction_has_is_refused_with_those_that_are(predictions, there):
    with pytest.raises(SettingsError, match=rf"'v3': .*\(there are: {there}\)"):
        compare([task([annotation([])], predictions), task([], [])], SCHEMA, "v3")


def test_ground_truth_goes_before_a_newer_annotation_and_skipped_ones_do_not_count(pose_result):
    truth = annotation(pose_result(), ground_truth=True)
    newer = annotation([], updated_at="2026-02-01T00:00:00Z")
    skipped = annotation([], was_cancelled=True, updated_at="2026-03-01T00:00:00Z")

    (scene,) = compare([task([truth, newer, skipped], [prediction([])])], SCHEMA).scenes

    assert len(scene.people) == 1


def test_what_cannot_be_compared_is_counted_by_its_reason(pose_result):
    smaller = pose_result(page=Page(height=100, width=150))
    tasks = [
        task([], [prediction([])]),
        task([annotation([])], []),
        task([annotation([])], [prediction([], "other")]),
        task([annotation(pose_result())], [prediction(smaller, "v1")]),
        {**task([annotation([])], [prediction([])]), "data": {}},
    ]

    compared = compare(tasks, SCHEMA, "v1")

    assert compared.scenes == []
    assert compared.left_out == {
        "tasks without annotation": 1,
        "tasks without prediction": 2,
        "images of two sizes in annotation and prediction": 1,
        "tasks without image": 1,
    }


def test_tasks_of_videos_have_no_image_to_compare():
    videos = Schema(parse('<View><Video name="v" value="$image"/></View>'))

    compared = compare([task([annotation([])], [prediction([])])], videos)

    assert compared.left_out == {"tasks without image": 1}


def test_an_export_that_only_names_its_predictions_is_refused():
    with pytest.raises(InvalidRequest, match="names its predictions"):
        compare([task([annotation([])], [17])], SCHEMA)


def test_each_page_of_a_list_is_compared_with_its_own():
    config = parse(
        '<View><Image name="image" valueList="$images"/>'
        '<RectangleLabels name="box" toName="image"><Label value="hat"/></RectangleLabels></View>'
    )
    pages = [{**region, "item_index": 1} for region in hat_result(10, 10, 50, 50)]
    several = {
        **task([annotation(pages)], [prediction(pages)]),
        "data": {"images": ["https://example.org/a.jpg", "https://example.org/b.jpg"]},
    }

    report = evaluate(compare([several], Schema(config)).scenes, {})

    assert [image.boxes for image in report.images] == [0, 1]
    assert report.boxes["hat"].ap == pytest.approx(1)

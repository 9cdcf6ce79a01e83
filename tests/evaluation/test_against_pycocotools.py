"""Average precision against COCO's own code, on chance scenes with ties, crowds and gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prelabel import keypoints
from prelabel.evaluation.boxes import score_boxes
from prelabel.evaluation.oks import PARTS
from prelabel.evaluation.poses import people_scores, score_poses

coco = pytest.importorskip("pycocotools.coco", reason="pip install 'prelabel[dev]'")
cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pip install 'prelabel[dev]'")
LABELS = ("body_distortion", "person")
SEEDS = st.integers(0, 2**32 - 1)


def coco_of(images, annotations, categories):
    made = coco.COCO()
    made.dataset = {
        "images": [{"id": number} for number in range(images)],
        "categories": [{"id": number} for number in range(categories)],
        "annotations": [{**row, "id": place} for place, row in enumerate(annotations, 1)],
    }
    made.createIndex()
    return made


def by_coco(kind, images, annotated, predicted, categories=1, sigmas=None):
    """AP, AP50, AP75 and AR of each category; None where nothing was annotated."""
    truth, found = (coco_of(images, rows, categories) for rows in (annotated, predicted))
    judge = cocoeval.COCOeval(truth, found, kind)
    if sigmas is not None:
        judge.params.kpt_oks_sigmas = np.array(sigmas)
    judge.evaluate()
    judge.accumulate()
    answers = []
    for category in range(categories):
        precision = judge.eval["precision"][:, :, category, 0, -1]
        recall = judge.eval["recall"][:, category, 0, -1]
        means = precision.mean(), precision[0].mean(), precision[5].mean(), recall.mean()
        answers.append(None if recall[0] < 0 else tuple(float(mean) for mean in means))
    return answers


def figures(score):
    return None if score.ap is None else (score.ap, score.ap50, score.ap75, score.ar)


def agree(ours, theirs):
    assert (ours is None) == (theirs is None)
    assert ours is None or ours == pytest.approx(theirs, abs=1e-6)


def chance_boxes(rng, count):
    corners = rng.integers(0, 40, (count, 2))
    return np.concatenate([corners, corners + rng.integers(1, 30, (count, 2))], 1)


def chance_box_scene(make, rng):
    count, found = rng.integers(0, 6, 2)
    annotated = chance_boxes(rng, count)
    copies = annotated[rng.integers(0, count, found)] if count else chance_boxes(rng, found)
    shifted = copies + rng.integers(-2, 3, copies.shape) * [0, 0, 1, 1]
    shifted[:, 2:] = np.maximum(shifted[:, 2:], shifted[:, :2] + 1)
    labels = rng.choice(LABELS, count + found)
    return make.scene(
        annotated=[
            (*box, str(label), rng.random() < 0.2)
            for box, label in zip(annotated, labels[:count], strict=True)
        ],
        predicted=[
            (*box, str(label), rng.integers(0, 11) / 10)
            for box, label in zip(shifted, labels[count:], strict=True)
        ],
    )


def box_rows(number, boxes, labels, **columns):
    """Boxes of one image as COCO would have them."""
    for row, (x1, y1, x2, y2) in enumerate(boxes.astype(float).tolist()):
        yield {
            "image_id": number,
            "category_id": LABELS.index(labels[row]),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            **{name: values[row].item() for name, values in columns.items()},
        }


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_box_ap_is_that_of_cocoeval(make, seed):
    rng = np.random.default_rng(seed)
    scenes = [chance_box_scene(make, rng) for _ in range(4)]
    annotated, predicted = [], []
    for number, scene in enumerate(scenes):
        real, found = scene.boxes, scene.detections
        crowds = real.crowds.astype(int)
        annotated += box_rows(number, real.boxes_xyxy, real.labels, iscrowd=crowds)
        predicted += box_rows(number, found.boxes_xyxy, found.labels, score=found.scores)

    theirs = by_coco("bbox", len(scenes), annotated, predicted, categories=len(LABELS))

    ours = score_boxes(scenes)
    for label, expected in zip(LABELS, theirs, strict=True):
        agree(figures(ours[label]) if label in ours else None, expected)


def chance_people(make, rng):
    count = rng.integers(0, 4)
    boxes = chance_boxes(rng, count) * 10
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    places = boxes[:, None, :2] + rng.random((count, 133, 2)) * sides
    annotated = rng.random((count, 133)) < 0.7
    for points in keypoints.GROUPS.values():
        annotated[rng.random(count) < 0.3, points.start : points.stop] = False
    return make.people(
        places, annotated, boxes, sides.prod(-1)[:, 0] * 0.6, rng.random(count) < 0.15
    )


def chance_pose_scene(make, rng):
    people = chance_people(make, rng)
    count = rng.integers(0, 5)
    if len(people):
        owners = rng.integers(0, len(people), count)
        far = rng.choice([0, 1, 4, 12, 60], (count, 1, 1))
        places = people.keypoints_xy[owners] + rng.normal(size=(count, 133, 2)) * far
    else:
        places = rng.uniform(0, 300, (count, 133, 2))
    box_scores = rng.integers(1, 6, count) / 5
    return make.scene(people, make.poses(places, None, box_scores))


def triples(places, marks):
    return np.concatenate([places, marks[:, None]], 1).astype(float).ravel().tolist()


def pose_rows(scenes, points):
    """Annotations and predictions of one part, as COCO would have them."""
    part = slice(points.start, points.stop)
    annotated, predicted = [], []
    for number, scene in enumerate(scenes):
        people = scene.people
        for row, (x1, y1, x2, y2) in enumerate(people.boxes_xyxy.tolist()):
            marks = people.annotated[row, part]
            annotated.append({
                "image_id": number,
                "category_id": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": people.areas[row].item(),
                "iscrowd": int(people.crowds[row]),
                "num_keypoints": int(marks.sum()),
                "keypoints": triples(people.keypoints_xy[row, part], marks * 2),
            })  # fmt: skip
        scores = people_scores(scene.poses).tolist()
        for row, score in enumerate(scores):
            predicted.append({
                "image_id": number,
                "category_id": 0,
                "area": 1000.0,
                "score": score,
                "keypoints": triples(scene.poses.keypoints_xy[row, part], np.ones(len(points))),
            })  # fmt: skip
    return annotated, predicted


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_pose_ap_is_that_of_cocoeval_for_each_part(make, seed):
    rng = np.random.default_rng(seed)
    scenes = [chance_pose_scene(make, rng) for _ in range(3)]

    ours = score_poses(scenes)

    for part, points in PARTS.items():
        annotated, predicted = pose_rows(scenes, points)
        sigmas = keypoints.SIGMAS[points.start : points.stop]
        (theirs,) = by_coco("keypoints", len(scenes), annotated, predicted, sigmas=sigmas)
        agree(figures(ours[part].precision) if part in ours else None, theirs)


def test_our_body_sigmas_are_those_of_cocoeval():
    theirs = cocoeval.Params("keypoints").kpt_oks_sigmas

    assert np.allclose(theirs, keypoints.SIGMAS[:17])

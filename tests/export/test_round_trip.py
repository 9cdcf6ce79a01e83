"""What people drew, through a dataset and the readers that others use, and back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from prelabel import keypoints
from prelabel.export.dataset import export
from prelabel.export.formats import Format

PARTS = {
    "keypoints": keypoints.BODY,
    "foot_kpts": keypoints.FEET,
    "face_kpts": keypoints.FACE,
    "lefthand_kpts": keypoints.LEFT_HAND,
    "righthand_kpts": keypoints.RIGHT_HAND,
}
SIZES = st.tuples(st.integers(16, 6000), st.integers(16, 6000))


@st.composite
def scenes(draw):
    """The size of an image, and people on it: keypoint index to place."""
    height, width = draw(SIZES)
    place = st.tuples(st.floats(0, width, width=32), st.floats(0, height, width=32))
    person = st.dictionaries(st.integers(0, len(keypoints.NAMES) - 1), place, min_size=1)
    return (height, width), draw(st.lists(person, max_size=4))


def triplets(annotation, part):
    return np.array(annotation[part], float).reshape(-1, 3)


def persons_of(coco, image_id):
    return coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))


@settings(max_examples=50, deadline=None)
@given(st.lists(scenes(), max_size=4))
def test_coco_wholebody_gives_back_each_point_of_each_person(tmp_path_factory, draw, pictures):
    project, folder = draw.pose_project(), tmp_path_factory.mktemp("dataset")
    for image_hw, persons in pictures:
        project.add(project.drawn(draw.people(*persons), image_hw))
        project.tasks[-1]["predictions"] = [  # tells the size where nobody is
            {"result": project.drawn(draw.people({0: (1, 1)}), image_hw)}
        ]
    done = export(project.tasks, project.config, Format.COCO_WHOLEBODY, folder)
    assert done.images == len(pictures)
    assert done.persons == sum(len(persons) for _, persons in pictures)
    assert done.points == sum(len(person) for _, persons in pictures for person in persons)

    coco = COCO(str(folder / "annotations.json"))
    assert len(coco.imgs) == done.images
    assert len(coco.anns) == done.persons
    for number, (image_hw, persons) in enumerate(pictures, start=1):
        image = coco.imgs[number]
        assert (image["height"], image["width"]) == image_hw
        for annotation, person in zip(persons_of(coco, number), persons, strict=True):
            for part, indices in PARTS.items():
                for (x, y, visibility), index in zip(
                    triplets(annotation, part), indices, strict=True
                ):
                    assert visibility == (2 if index in person else 0)
                    assert (x, y) == pytest.approx(person.get(index, (0, 0)), abs=0.5)


def test_a_dataset_scores_perfectly_against_itself(tmp_path, draw):
    project = draw.pose_project()
    random = np.random.default_rng(7)
    for _ in range(3):
        persons = [dict(enumerate(random.uniform(0, 400, (133, 2)))) for _ in range(3)]
        project.add(project.drawn(draw.people(*persons)))
    export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path)
    truth = COCO(str(tmp_path / "annotations.json"))
    found = truth.loadRes(
        [
            {**row, "score": 1.0}
            for row in json.loads((tmp_path / "annotations.json").read_text())["annotations"]
        ]
    )
    evaluation = COCOeval(truth, found, "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(scenes())
def test_yolo_pose_gives_back_each_point_of_each_person(tmp_path_factory, draw, scene):
    (height, width), persons = scene
    project, folder = draw.pose_project(), tmp_path_factory.mktemp("dataset")
    project.add(project.drawn(draw.people(*persons, {0: (1, 1)}), (height, width)))
    export(project.tasks, project.config, Format.YOLO_POSE, folder)
    rows = np.loadtxt(folder / "labels" / "00000001-photo.txt", ndmin=2)
    assert rows.shape == (len(persons) + 1, 5 + 3 * 133)
    assert (rows[:, 0] == 0).all()
    assert ((rows[:, 1:5] >= 0) & (rows[:, 1:5] <= 1)).all()
    for row, person in zip(rows, [*persons, {0: (1, 1)}], strict=True):
        for index, (x, y, visibility) in enumerate(row[5:].reshape(-1, 3)):
            assert visibility == (2 if index in person else 0)
            assert (x * width, y * height) == pytest.approx(person.get(index, (0, 0)), abs=0.5)

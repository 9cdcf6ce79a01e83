import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from prelabel.errors import SettingsError
from prelabel.export.dataset import export
from prelabel.export.formats import Format

ONE, OTHER = {0: (100, 50), 5: (80, 120)}, {0: (400, 60), 5: (380, 150), 130: (500, 300)}


def dataset(folder):
    return json.loads((folder / "annotations.json").read_text("utf-8"))


@pytest.mark.parametrize("form", [Format.COCO_WHOLEBODY, Format.COCO_KEYPOINTS])
def test_a_project_without_annotations_is_an_empty_dataset(tmp_path, draw, form):
    project = draw.pose_project()
    done = export(project.tasks, project.config, form, tmp_path / "new" / "folder")
    assert (done.images, done.persons, done.points, done.boxes, done.skipped) == (0, 0, 0, 0, ())
    coco = COCO(str(tmp_path / "new" / "folder" / "annotations.json"))
    assert (coco.imgs, coco.anns) == ({}, {})
    assert coco.cats[1]["name"] == "person"


def test_persons_of_an_image_are_kept_apart(tmp_path, draw):
    project = draw.pose_project()
    project.add(project.drawn(draw.people(ONE, OTHER)))
    export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path)
    first, second = dataset(tmp_path)["annotations"]
    assert first["keypoints"][:3] == pytest.approx([100, 50, 2], abs=0.01)
    assert second["keypoints"][:3] == pytest.approx([400, 60, 2], abs=0.01)
    assert first["bbox"] == pytest.approx([80, 50, 20, 70], abs=0.01)
    assert first["area"] == pytest.approx(1400, abs=1)
    assert (first["id"], second["id"]) == (1, 2)
    assert (first["num_keypoints"], second["num_keypoints"]) == (2, 2)


def test_a_person_with_a_box_only_is_a_person_without_keypoints(tmp_path, draw):
    project = draw.pose_project()
    lone = draw.boxes(("person", None, (10, 20, 110, 220)))
    project.add(project.drawn(draw.people(ONE)) + project.drawn(lone))
    done = export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path)
    assert (done.images, done.persons, done.points) == (1, 2, 2)
    empty = dataset(tmp_path)["annotations"][1]
    assert empty["bbox"] == pytest.approx([10, 20, 100, 200], abs=0.01)
    assert (empty["num_keypoints"], set(empty["keypoints"])) == (0, {0})


@pytest.mark.parametrize(
    ("form", "points"), [(Format.COCO_KEYPOINTS, 2), (Format.COCO_WHOLEBODY, 3)]
)
def test_points_are_counted_as_the_format_has_them(tmp_path, draw, form, points):
    project = draw.pose_project()
    project.add(project.drawn(draw.people(OTHER)))
    assert export(project.tasks, project.config, form, tmp_path).points == points


def test_a_label_that_the_config_has_no_more_is_a_category_still(tmp_path, draw):
    project = draw.box_project()
    old = project.config.controls[0].labels[0].stored
    project.add(project.drawn(draw.boxes((old, None, (10, 20, 30, 60)))))
    config = draw.project(project.xml.replace(old, "new")).config
    export(project.tasks, config, Format.COCO_BOXES, tmp_path)
    names = {row["id"]: row["name"] for row in dataset(tmp_path)["categories"]}
    assert names[dataset(tmp_path)["annotations"][0]["category_id"]] == old


def test_a_part_is_valid_where_something_of_it_is_drawn(tmp_path, draw):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (5, 5), 112: (20, 30), 120: (40, 70)})))
    export(project.tasks, project.config, Format.COCO_WHOLEBODY, tmp_path)
    [person] = dataset(tmp_path)["annotations"]
    valid = {part: person[f"{part}_valid"] for part in ("foot", "face", "lefthand", "righthand")}
    assert valid == {"foot": False, "face": False, "lefthand": False, "righthand": True}
    assert person["righthand_box"] == pytest.approx([20, 30, 20, 40], abs=0.01)
    assert person["lefthand_box"] == [0, 0, 0, 0]
    lengths = {part: len(person[f"{part}_kpts"]) for part in valid}
    assert lengths == {"foot": 18, "face": 204, "lefthand": 63, "righthand": 63}
    assert "foot_box" not in person


def test_the_skeleton_counts_the_keypoints_of_the_body_from_1(tmp_path, draw):
    project = draw.pose_project()
    export([], project.config, Format.COCO_KEYPOINTS, tmp_path)
    [person] = dataset(tmp_path)["categories"]
    assert person["keypoints"][0] == "nose"
    assert len(person["keypoints"]) == 17
    assert [16, 14] in person["skeleton"]  # left ankle to left knee, as in COCO
    assert {number for pair in person["skeleton"] for number in pair} == set(range(1, 18))


def test_boxes_keep_their_label_and_body_part(tmp_path, draw):
    project = draw.box_project()
    label = project.config.controls[0].labels[0].stored
    found = draw.boxes((label, "hand", (10, 20, 30, 60)), (label, None, (0, 0, 640, 480)))
    project.add(project.drawn(found))
    done = export(project.tasks, project.config, Format.COCO_BOXES, tmp_path)
    assert (done.images, done.boxes) == (1, 2)
    coco = COCO(str(tmp_path / "annotations.json"))
    first, second = coco.loadAnns([1, 2])
    assert coco.cats[first["category_id"]]["name"] == label
    assert first["attributes"] == {"body_part": "hand"}
    assert first["bbox"] == pytest.approx([10, 20, 20, 40], abs=0.01)
    assert second["attributes"] == {"body_part": "other"}  # what the config has for unknown parts


def test_people_with_keypoints_are_among_the_boxes(tmp_path, draw):
    project = draw.pose_project()
    lone = draw.boxes(("person", None, (10, 20, 110, 220)))
    project.add(project.drawn(draw.people(ONE)) + project.drawn(lone))
    done = export(project.tasks, project.config, Format.COCO_BOXES, tmp_path)
    rows = dataset(tmp_path)["annotations"]
    assert [row["category_id"] for row in rows] == [1, 1]
    assert done.boxes == len(rows)
    assert rows[1]["bbox"] == pytest.approx([80, 50, 20, 70], abs=0.01)


def test_a_box_is_cut_to_its_image(tmp_path, draw):
    project = draw.pose_project()
    region = {
        "id": "a", "from_name": "person", "to_name": "image", "type": "rectanglelabels",
        "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {"x": 50, "y": 50, "width": 50, "height": 50, "rotation": 45,
                  "rectanglelabels": ["person"]},
    }  # fmt: skip
    project.add([region])
    export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path)
    x, y, width, height = dataset(tmp_path)["annotations"][0]["bbox"]
    assert 0 <= x <= x + width <= 200
    assert 0 <= y <= y + height <= 100


@pytest.mark.parametrize("points", [{0: (0, 0)}, {0: (640, 480)}, {0: (5, 9), 1: (25, 9)}])
def test_the_box_around_few_keypoints_has_an_area_in_the_image(tmp_path, draw, points):
    project = draw.pose_project()
    hand = {100 + index: place for index, place in points.items()}
    project.add(project.drawn(draw.people(points | hand), with_box=False))
    export(project.tasks, project.config, Format.COCO_WHOLEBODY, tmp_path / "coco")
    [person] = dataset(tmp_path / "coco")["annotations"]
    for x, y, width, height in (person["bbox"], person["lefthand_box"]):
        assert min(width, height) == 1
        assert 0 <= x <= x + width <= 640
        assert 0 <= y <= y + height <= 480
    assert person["area"] == person["bbox"][2]

    export(project.tasks, project.config, Format.YOLO_POSE, tmp_path / "yolo")
    [row] = np.loadtxt(tmp_path / "yolo" / "labels" / "00000001-photo.txt", ndmin=2)
    assert row[4] == pytest.approx(1 / 480, abs=1e-6)


def test_a_dataset_is_ascii_since_its_readers_take_the_encoding_of_their_system(tmp_path, draw):
    project = draw.box_project()
    regions = project.drawn(draw.boxes(("body_distortion", None, (10, 20, 30, 60))))
    regions[0]["value"]["rectanglelabels"] = ["\ud800"]  # which UTF-8 does not have
    project.add(regions, uri="s3://bucket/Größe.jpg")
    export(project.tasks, project.config, Format.COCO_BOXES, tmp_path)
    written = json.loads((tmp_path / "annotations.json").read_text("ascii"))
    assert written["images"][0]["file_name"] == "Größe.jpg"
    assert written["categories"][-1]["name"] == "\ud800"


def test_poses_of_a_project_without_keypoints_are_refused(tmp_path, draw):
    with pytest.raises(SettingsError, match="--format coco-boxes"):
        export([], draw.box_project().config, Format.COCO_KEYPOINTS, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("form", list(Format))
def test_a_project_of_which_no_format_holds_anything_is_not_sent_to_another(tmp_path, draw, form):
    project = draw.project(
        '<View><Video name="v" value="$v"/><VideoRectangle name="b" toName="v"/></View>'
    )
    with pytest.raises(SettingsError, match="neither RectangleLabels nor") as refused:
        export([], project.config, form, tmp_path)
    assert "--format" not in str(refused.value)


def test_hands_alone_are_refused_as_keypoints_of_the_body(tmp_path, draw):
    project = draw.pose_project("hands")
    with pytest.raises(SettingsError, match="none of its keypoints"):
        export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path, draw):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written to"):
        export([], draw.pose_project().config, Format.COCO_KEYPOINTS, tmp_path / "file")

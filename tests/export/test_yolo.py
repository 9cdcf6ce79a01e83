import json

import pytest

from prelabel import keypoints
from prelabel.errors import SettingsError
from prelabel.export.dataset import export
from prelabel.export.formats import Format
from prelabel.export.images import Images
from prelabel.export.pictures import Schema
from prelabel.export.yolo import data_yaml, keypoints_of
from prelabel.media.limits import Limits


def described(schema):
    """The lines of data.yaml whose values are JSON, too."""
    pairs = (line.strip().partition(": ") for line in data_yaml(schema).splitlines())
    return {key: json.loads(value) for key, _, value in pairs if value.startswith("[")}


@pytest.mark.parametrize(("points", "count"), [("17", 17), ("133", 133), ("hands", 42)])
def test_a_project_gets_the_groups_of_keypoints_that_it_has_labels_of(draw, points, count):
    schema = Schema(draw.pose_project(points).config)
    assert described(schema)["kpt_shape"] == [count, 3]
    assert len(described(schema)["0"]) == count


@pytest.mark.parametrize("points", ["17", "133", "hands"])
def test_a_mirrored_picture_turns_left_into_right_and_twice_mirrored_is_the_same(draw, points):
    schema = Schema(draw.pose_project(points).config)
    flip, names = described(schema)["flip_idx"], described(schema)["0"]
    assert [flip[flip[index]] for index in range(len(flip))] == list(range(len(flip)))
    for index, name in enumerate(names):
        side = {"left": "right", "right": "left"}.get(name.partition("_")[0])
        if side:
            assert names[flip[index]] == f"{side}_{name.partition('_')[2]}"


def test_one_hand_brings_the_other_for_the_mirrored_picture(draw):
    project = draw.project(
        '<View><Image name="image" value="$image"/><KeyPointLabels name="k" toName="image">'
        '<Label value="left_hand_root"/></KeyPointLabels></View>'
    )
    both = (*keypoints.LEFT_HAND, *keypoints.RIGHT_HAND)
    assert keypoints_of(Schema(project.config)) == both


def test_an_image_on_which_nobody_is_has_an_empty_label_file(tmp_path, draw):
    project = draw.pose_project()
    size = [{"result": project.drawn(draw.people({0: (1, 1)}))}]
    project.add([], predictions=size)
    done = export(project.tasks, project.config, Format.YOLO_POSE, tmp_path)
    assert (done.images, done.persons) == (1, 0)
    assert (tmp_path / "labels" / "00000001-photo.txt").read_text() == ""
    assert (tmp_path / "images").is_dir()


def test_labels_lie_where_their_images_lie(tmp_path, draw):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (1, 1)})), uri="s3://bucket/clip/0001.jpg")
    export(project.tasks, project.config, Format.YOLO_POSE, tmp_path)
    assert (tmp_path / "labels" / "clip" / "0001.txt").is_file()


@pytest.mark.parametrize(
    ("uri", "labels"),
    [
        ("s3://bucket/images/0001.jpg", "images/labels/0001.txt"),
        ("/data/local-files/?d=cam/images/day/0001.jpg", "images/cam/labels/day/0001.txt"),
        ("s3://bucket/images.jpg", "labels/images.txt"),
        ("s3://bucket/old images/0001.jpg", "labels/old images/0001.txt"),
    ],
)
def test_labels_of_images_in_a_folder_named_images_lie_where_ultralytics_looks(
    tmp_path, draw, uri, labels
):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (1, 1)})), uri=uri)
    export(project.tasks, project.config, Format.YOLO_POSE, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")] == [labels]


@pytest.mark.parametrize("uri", ["s3://bucket/0001.jpg", "s3://bucket/images/0001.jpg"])
def test_labels_of_an_earlier_export_are_not_mixed_with_new_ones(tmp_path, draw, uri):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (1, 1)})), uri=uri)
    export(project.tasks, project.config, Format.YOLO_POSE, tmp_path)
    with pytest.raises(SettingsError, match="holds labels already"):
        export(project.tasks, project.config, Format.YOLO_POSE, tmp_path)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("https://example.com/id/200", "id/200"),
        ("https://example.com/show.php", "show"),
        ("s3://bucket/v1.2", "v1"),
        ("s3://bucket/trail. ", "trail"),
    ],
)
def test_images_have_the_suffix_of_an_image_without_which_they_are_passed_over(
    tmp_path, draw, uri, name
):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (1, 1)})), uri=uri)
    images = Images(lambda reference: b"an image", Limits())
    export(project.tasks, project.config, Format.YOLO_POSE, tmp_path, images)
    assert (tmp_path / "images" / f"{name}.jpg").is_file()
    assert (tmp_path / "labels" / f"{name}.txt").is_file()

import cv2
import numpy as np
import pytest

from prelabel.errors import ImageUnreachable
from prelabel.export.dataset import export
from prelabel.export.formats import Format
from prelabel.export.images import Images
from prelabel.media.limits import Limits


@pytest.fixture
def storage():
    """Images by address; an address without one cannot be reached."""
    files = {}

    def fetch(reference):
        if reference.uri not in files:
            raise ImageUnreachable(reference.uri, "it is gone", "Upload it again.")
        return files[reference.uri]

    images = Images(fetch, Limits())
    return files, images


def png(height, width):
    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


def test_no_images_make_no_folder(tmp_path, draw, storage):
    project = draw.pose_project()
    export([], project.config, Format.COCO_KEYPOINTS, tmp_path, storage[1])
    assert not (tmp_path / "images").exists()


def test_images_lie_under_the_names_that_the_dataset_gives_them(tmp_path, draw, storage):
    files, images = storage
    project = draw.pose_project()
    for name in ("one/a.png", "two/a.png"):
        files[f"s3://bucket/{name}"] = png(480, 640)
        project.add(project.drawn(draw.people({0: (1, 1)})), uri=f"s3://bucket/{name}")
    done = export(project.tasks, project.config, Format.YOLO_POSE, tmp_path, images)
    assert done.skipped == ()
    for name in ("one/a", "two/a"):
        copy = tmp_path / "images" / f"{name}.png"
        assert copy.read_bytes() == files[f"s3://bucket/{name}.png"]
        assert (tmp_path / "labels" / f"{name}.txt").is_file()


def test_an_image_that_is_gone_stays_in_the_dataset_and_is_named(tmp_path, draw, storage):
    project = draw.pose_project()
    project.add(project.drawn(draw.people({0: (1, 1)})), uri="s3://bucket/a.png")
    done = export(project.tasks, project.config, Format.COCO_KEYPOINTS, tmp_path, storage[1])
    assert (done.images, done.persons) == (1, 1)
    [missing] = done.skipped
    assert (missing.task_id, "it is gone" in missing.reason) == (1, True)


def test_an_image_on_which_nobody_is_gets_its_size_from_itself(tmp_path, draw, storage):
    files, images = storage
    project = draw.pose_project()
    files["s3://bucket/empty.png"] = png(30, 50)
    project.add([], uri="s3://bucket/empty.png")
    project.add([], uri="s3://bucket/gone.png")
    done = export(project.tasks, project.config, Format.YOLO_POSE, tmp_path, images)
    assert done.images == 1
    assert (tmp_path / "labels" / "empty.txt").read_text() == ""
    assert [one.task_id for one in done.skipped] == [2]
    assert images.size("s3://bucket/empty.png", 1) == (30, 50)

"""From image files to overlays, by the pipeline and by the command."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from prelabel.errors import (
    ImageMissing,
    ImageUnreadable,
    InvalidRequest,
    PrelabelError,
    SettingsError,
)
from prelabel.labelstudio.templates import boxes_config, pose_config
from prelabel.media.limits import Limits
from prelabel.plan import Predictors
from prelabel.preview.files import preview_files, preview_plan


@pytest.fixture
def predictors(made):
    return Predictors(
        boxes=made.predictor(made.boxes((10, 10, 40, 40))),
        poses=made.predictor(made.people((20, 10, 60, 70)), "posing"),
    )


@pytest.fixture
def photo(tmp_path):
    def written(name, folder="photos"):
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        shade = len(list(path.parent.iterdir()))
        cv2.imwrite(str(path), np.full((80, 100, 3), 100 + shade, np.uint8))
        return path

    return written


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(paths, out, plan):
    return list(preview_files(paths, out, plan, Limits()))


def test_no_files_make_an_empty_folder(predictors, out):
    assert run([], out, preview_plan("both", None, predictors)) == []
    assert list(out.iterdir()) == []


def test_a_photo_becomes_an_overlay_and_the_result_that_label_studio_would_get(
    predictors, photo, out
):
    plan = preview_plan("both", None, predictors)
    (seen,) = run([photo("a.png")], out, plan)
    assert len(seen.drawn.boxes) == 1
    assert (seen.drawn.people.keypoint_scores > 0).sum() == 133
    assert seen.seconds > 0
    assert seen.overlay == out / "a.jpg"
    assert cv2.imread(str(seen.overlay)).shape == (80, 100, 3)
    written = json.loads((out / "a.json").read_text())
    assert written["model_version"] == "finding+posing"
    assert {region["type"] for region in written["result"]} == {
        "rectanglelabels",
        "keypointlabels",
        "choices",
    }


@pytest.mark.parametrize(
    ("find", "boxes", "people"), [("boxes", 1, 0), ("poses", 0, 1), ("both", 1, 1)]
)
def test_only_what_is_asked_for_is_looked_for(predictors, photo, out, find, boxes, people):
    (seen,) = run([photo("a.png")], out, preview_plan(find, None, predictors))
    assert (len(seen.drawn.boxes), len(seen.drawn.people)) == (boxes, people)
    assert bool(predictors.boxes.loads) == bool(boxes)
    assert bool(predictors.poses.loads) == bool(people)


@pytest.mark.parametrize("config", [boxes_config(), pose_config("17"), pose_config("hands")])
def test_a_label_config_of_ones_own_says_what_is_looked_for(predictors, photo, out, config):
    plan = preview_plan("both", config, predictors)
    (seen,) = run([photo("a.png")], out, plan)
    points = {pose_config("17"): 17, pose_config("hands"): 42}.get(config, 0)
    assert (seen.drawn.people.keypoint_scores > 0).sum() == points


@pytest.mark.parametrize(
    ("find", "config"), [("poses", boxes_config()), ("boxes", pose_config("17")), ("both", "<V/>")]
)
def test_a_label_config_without_what_is_to_be_found_is_refused(predictors, find, config):
    with pytest.raises(InvalidRequest, match="nothing to fill"):
        preview_plan(find, config, predictors)


@pytest.mark.parametrize("tag", ['value="$some.where.deep"', 'valueList="$pages"', 'value="$x"'])
def test_the_label_config_may_read_the_image_from_any_key(predictors, photo, out, tag):
    config = boxes_config().replace('value="$image"', tag)
    (seen,) = run([photo("a.png")], out, preview_plan("both", config, predictors))
    assert len(seen.drawn.boxes) == 1


def test_frames_of_a_video_are_each_others_neighbours(predictors, photo, out):
    paths = [photo(f"clip_{number:04}.png") for number in (3, 1, 2)] + [photo("other.png")]
    run(paths, out, preview_plan("boxes", None, predictors))
    assert predictors.boxes.beside == {
        "clip_0001.png": (None, "clip_0002.png"),
        "clip_0002.png": ("clip_0001.png", "clip_0003.png"),
        "clip_0003.png": ("clip_0002.png", None),
        "other.png": (None, None),
    }


def test_a_bad_file_is_told_and_the_others_go_on_in_order(predictors, photo, out, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    paths = [photo("a.png"), text, tmp_path / "missing.png", photo("b.png")]
    seen = run(paths, out, preview_plan("both", None, predictors))
    assert [preview.image for preview in seen] == paths
    assert isinstance(seen[1].drawn, ImageUnreadable)
    assert isinstance(seen[2].drawn, ImageMissing)
    assert str(tmp_path / "missing.png") in str(seen[2].drawn)
    assert sorted(path.name for path in out.iterdir()) == ["a.jpg", "a.json", "b.jpg", "b.json"]


def test_a_folder_is_told_as_such(predictors, out, tmp_path):
    (seen,) = run([tmp_path], out, preview_plan("both", None, predictors))
    assert "it is a folder" in str(seen.drawn)


def test_names_with_blanks_and_signs_of_urls_are_read(predictors, photo, out):
    names = ["a b#1?.png", "100%41.png", "ü;x.png"]
    seen = run([photo(name) for name in names], out, preview_plan("both", None, predictors))
    assert not [preview for preview in seen if isinstance(preview.drawn, PrelabelError)]


def test_a_link_is_followed_and_a_file_given_twice_is_looked_at_once(
    predictors, photo, out, tmp_path
):
    link = tmp_path / "link.png"
    link.symlink_to(photo("a.png"))
    seen = run([link, link], out, preview_plan("both", None, predictors))
    assert [preview.overlay for preview in seen] == [out / "link.jpg"]


def test_files_of_one_name_do_not_overwrite_each_other(predictors, photo, out):
    paths = [photo("a.png"), photo("a.jpg"), photo("a.png", "more"), photo("a-2.png")]
    seen = run(paths, out, preview_plan("both", None, predictors))
    assert len({preview.overlay for preview in seen}) == 4


def test_the_folder_of_the_images_is_refused_so_that_none_is_overwritten(predictors, photo):
    path = photo("a.jpg")
    before = path.read_bytes()
    with pytest.raises(SettingsError, match="lie there"):
        run([path], path.parent, preview_plan("both", None, predictors))
    assert path.read_bytes() == before


def command(*arguments):
    """The command in a process of its own: it sets up logging for good."""
    pytest.importorskip("onnxruntime", reason="pip install 'prelabel[pose]'")
    lines = "import typer; from prelabel.cli.preview import preview; typer.run(preview)"
    chosen = {"BOXES_PREDICTOR": "opencv-fallback", "POSES_PREDICTOR": "embedded-pose"}
    return subprocess.run(
        [sys.executable, "-c", lines, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **chosen},
    )


def test_the_command_prints_a_line_for_each_image(photo, out):
    result = command(photo("a.png"), "--out", out)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(photo("a.png")))
    assert "nothing found" in result.stdout
    assert str(out / "a.jpg") in result.stdout


def test_the_command_ends_with_3_where_an_image_failed(photo, out, tmp_path):
    result = command(tmp_path / "missing.png", photo("a.png"), "--out", out, "--find", "boxes")
    assert result.returncode == 3
    assert "missing.png" in result.stderr
    assert (out / "a.jpg").is_file()


def test_the_person_in_a_photo_is_drawn(shared_data, out):
    image = shared_data / "images" / "astronaut.png"
    result = command(image, "--out", out, "--find", "poses")
    assert "1 person (" in result.stdout
    drawn, photo = cv2.imread(str(out / "astronaut.jpg")), cv2.imread(str(image))
    assert (np.abs(drawn.astype(int) - photo).max(axis=2) > 60).mean() > 0.01

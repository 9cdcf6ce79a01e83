import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from prelabel.benchmarks.artifacts import ROWS, auc, measure, read_clip
from prelabel.errors import MissingPackage, ModelError
from prelabel.geometry import pairwise_iou
from prelabel.predictors import artifacts
from prelabel.predictors.artifacts import (
    MAX_BOXES,
    MAX_SCORE,
    ArtifactDetector,
    build,
    damage_evidence,
)
from prelabel.types import Ask, Detections, Image, Phrase

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
DISTORTION = Ask((Phrase("distorted face", "body_distortion", "face"),))


class KnownParts:
    """A locator that knows where the parts are, or fails."""

    def __init__(self, box=(0, 0, 640, 480), part="face", error=None):
        self._box, self._part, self._error = box, part, error

    def locate(self, image):
        del image
        if self._error:
            raise self._error
        boxes = np.array([self._box], np.float32)
        return Detections(boxes, np.ones(1, np.float32), (self._part,), (self._part,), "known")


def read(path):
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def in_sequence(frames):
    lone = [Image(pixels) for pixels in frames]
    return [
        replace(image, before=before, after=after)
        for image, before, after in zip(lone, [None, *lone[:-1]], [*lone[1:], None], strict=True)
    ]


@pytest.fixture(scope="module")
def demo():
    paths = sorted((DEMO / "frames").glob("*.jpg"))
    planted = json.loads((DEMO / "planted.json").read_text(encoding="utf-8"))
    return [
        (image, np.array([p["box_xyxy"] for p in planted.get(path.name, [])], np.float32))
        for path, image in zip(paths, in_sequence([read(path) for path in paths]), strict=True)
    ]


@pytest.fixture(scope="module")
def damaged(demo):
    return next(image for image, planted in demo if len(planted))


def look(image, ask=DISTORTION, locator=None):
    (answer,) = ArtifactDetector(locator).predict([image], ask)
    assert isinstance(answer, Detections)
    return answer


def test_each_planted_distortion_of_the_demo_is_found_and_clean_frames_stay_nearly_empty(demo):
    false_boxes = 0
    for image, planted in demo:
        found = look(image)
        if len(planted):
            best = pairwise_iou(planted, found.boxes_xyxy).max(axis=1)
            assert best.min() >= 0.3
        else:
            false_boxes += len(found)
    assert sum(len(planted) for _, planted in demo) >= 4
    assert false_boxes <= 2


def test_boxes_are_few_and_modestly_scored(demo):
    for image, _ in demo:
        found = look(image)
        assert len(found) <= MAX_BOXES
        assert (found.scores <= np.float32(MAX_SCORE)).all()


def test_no_image_gives_no_answer():
    assert ArtifactDetector().predict([], DISTORTION) == []


@pytest.mark.parametrize("ask", [Ask(), Ask((Phrase("cat", "cat"), Phrase("hand", "person")))])
def test_what_does_not_ask_for_distortion_gets_nothing(damaged, ask):
    assert len(look(damaged, ask, KnownParts())) == 0


@pytest.mark.parametrize("text", ["melted hand", "visual glitch", "Deformed arm"])
def test_any_word_for_damage_is_answered_with_its_own_label(damaged, text):
    assert set(look(damaged, Ask((Phrase(text, "odd"),))).labels) == {"odd"}


def test_a_box_on_a_located_part_carries_the_part_and_its_phrases_label(damaged):
    ask = Ask((Phrase("distorted hand", "bad_hand", "hand"), Phrase("warped", "bad_face", "face")))
    found = look(damaged, ask, KnownParts())
    assert set(found.body_parts) == {"face"}
    assert set(found.labels) == {"bad_face"}


def test_a_box_on_no_located_part_is_called_other(damaged):
    assert set(look(damaged).body_parts) == {"other"}


def test_a_frame_without_neighbours_is_not_guessed_at(damaged):
    assert len(look(replace(damaged, before=None, after=None), locator=KnownParts())) == 0
    assert len(look(replace(damaged, after=None), locator=KnownParts())) == 0


def test_stronger_damage_has_a_higher_score(damaged):
    faint = damaged.before.pixels_rgb // 4 + damaged.pixels_rgb // 4 * 3
    weaker = replace(damaged, pixels_rgb=faint)
    assert look(weaker).scores.max(initial=0) < look(damaged).scores.max()


def test_findings_below_the_asked_score_are_dropped(damaged):
    assert len(look(damaged, replace(DISTORTION, min_score=0.56))) == 0


def test_a_locator_that_fails_costs_the_parts_name_and_not_the_box(damaged):
    error = ModelError("pose", "it failed", "Try again.")
    found = look(damaged, locator=KnownParts(error=error))
    assert set(found.body_parts) == {"other"}


def test_neighbours_from_another_scene_or_of_another_size_are_no_evidence(demo):
    image = demo[7][0]
    other_scene = Image(np.ascontiguousarray(255 - image.pixels_rgb[::-1]))
    smaller = Image(image.pixels_rgb[::2, ::2].copy())
    assert damage_evidence(replace(image, before=other_scene, after=other_scene)) is None
    assert damage_evidence(replace(image, after=smaller)) is None


def test_a_still_grey_sequence_has_nothing_in_it():
    grey = np.full((48, 64, 3), 128, np.uint8)
    assert len(look(in_sequence([grey] * 3)[1])) == 0


def test_boxes_of_a_large_frame_are_in_its_own_pixels(demo):
    small, planted = next((image, planted) for image, planted in demo[5:] if len(planted))

    def doubled(image):
        return Image(cv2.resize(image.pixels_rgb, None, fx=2, fy=2))

    large = replace(doubled(small), before=doubled(small.before), after=doubled(small.after))
    assert pairwise_iou(planted * 2, look(large).boxes_xyxy).max() >= 0.3


def test_several_threads_get_the_answer_of_one(demo):
    images = [image for image, _ in demo[1:7]]
    alone = [look(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(look, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_the_version_tells_whether_parts_can_be_named(monkeypatch):
    assert build({}).fingerprint == ""
    monkeypatch.setattr(artifacts, "find_spec", lambda name: None)
    assert build({}).fingerprint != ""


@pytest.mark.skipif(
    find_spec("onnxruntime") is None, reason="needs onnxruntime: pip install '.[pose]'"
)
def test_the_embedded_pose_names_the_parts_of_the_demo(demo):
    (detector,) = [build({})]
    named = {}
    for image, planted in demo:
        (found,) = detector.predict([image], DISTORTION)
        if len(planted):
            named[image] = set(found.body_parts)
    assert any("face" in parts for parts in named.values())
    assert set().union(*named.values()) - {"other"}


def clip(name):
    try:
        return read_clip(name)
    except MissingPackage as error:
        pytest.skip(str(error))


def test_a_clean_clip_recompressed_at_quality_60_keeps_the_budget_of_false_boxes():
    frames = []
    for pixels in clip("carphone_pristine.mp4")[:40]:
        _, coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
        frames.append(np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]))
    counts = [len(look(image)) for image in in_sequence(frames)[1:-1]]
    assert np.mean(counts) <= 1.5


def test_transient_damage_outranks_clean_patches_and_persistent_damage_does_not():
    frames = clip("carphone_pristine.mp4")
    ranks = {}
    for name in ("melt", "persistent"):
        damage, spread = ROWS[name]
        score = measure(frames, damage, spread, 20, np.random.default_rng(3))
        ranks[name] = auc(score.planted, score.elsewhere)
    assert ranks["melt"] >= 0.92
    assert ranks["persistent"] < 0.75

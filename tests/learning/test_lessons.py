"""Lessons: which annotation of which task teaches which frame."""

import pytest

from prelabel.labelstudio.config import parse
from prelabel.labelstudio.regions.marks import keep
from prelabel.labelstudio.regions.video import NOMINAL_HW
from prelabel.learning.frames import FrameKey
from prelabel.learning.lessons import lessons, newest_annotation, sequence_key, video_sequence

BOXES = '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels>'
CONFIG = parse(f'<View><Image name="image" value="$image"/>{BOXES}</View>')
PAGES = parse(f'<View><Image name="image" valueList="$pages"/>{BOXES}</View>')
STEREO = parse(
    '<View><Image name="left" value="$left"/><Image name="right" value="$right"/>'
    '<Image name="map" value="$map"/>'
    '<RectangleLabels name="l" toName="left"><Label value="cat"/></RectangleLabels>'
    '<RectangleLabels name="r" toName="right"><Label value="cat"/></RectangleLabels></View>'
)
VIDEO = parse(
    '<View><Labels name="what" toName="video"><Label value="car"/></Labels>'
    '<Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/></View>'
)


def box(x=10, *, control="box", image="image"):
    return {
        "id": f"{image}-{x}", "from_name": control, "to_name": image, "type": "rectanglelabels",
        "original_width": 400, "original_height": 200,
        "value": {"x": x, "y": 10, "width": 20, "height": 50, "rectanglelabels": ["cat"]},
    }  # fmt: skip


def annotation(*regions, identity=1, at="2026-01-02T10:00:00Z", cancelled=False):
    return {
        "id": identity, "result": list(regions), "was_cancelled": cancelled,
        "created_at": "2026-01-01T10:00:00Z", "updated_at": at,
    }  # fmt: skip


def task(number, *annotations, **data):
    data = data or {"image": f"/data/upload/3/0a1b2c3d-walk_{number:03}.jpg"}
    return {"id": 100 + number, "inner_id": number, "data": data, "annotations": list(annotations)}


def taught(*tasks, config=CONFIG):
    return lessons(tasks, config, (6.0, 10.0))


def test_a_project_without_annotations_teaches_nothing_and_says_nothing():
    for nothing in (taught(), taught(task(1)), taught({**task(1), "annotations": None})):
        assert (nothing.frames, nothing.annotated, nothing.warnings) == ((), 0, ())


def test_an_annotated_task_is_a_frame_with_its_marks_and_what_was_drawn():
    told = taught(task(7, annotation(box(10), box(50))))
    (frame,) = told.frames
    assert (frame.key.index, frame.image_hw) == (7, (200, 400))
    assert [mark.box_xyxy.tolist() for mark in frame.marks] == [
        [40, 20, 120, 120],
        [200, 20, 280, 120],
    ]
    assert frame.drawn == keep([box(10), box(50)])
    assert (told.annotated, told.warnings) == (1, ())


def test_frames_of_one_video_share_a_sequence_and_frames_of_another_do_not():
    first, second, other = taught(
        task(1, annotation()),
        task(2, annotation()),
        task(3, annotation(), image="/data/upload/3/0a1b2c3d-run_003.jpg"),
    ).frames
    assert first.key.sequence == second.key.sequence != other.key.sequence


def test_a_submitted_frame_without_regions_is_a_frame_without_marks():
    told = taught(task(1, annotation()))
    assert [(frame.marks, frame.drawn) for frame in told.frames] == [((), b"")]
    assert told.annotated == 1


@pytest.mark.parametrize(
    ("annotations", "identity"),
    [
        ([], None),
        ([annotation(identity=1, cancelled=True)], None),
        ([annotation(identity=1), annotation(identity=2, cancelled=True)], 1),
        ([annotation(identity=1, at="2026-01-03T10:00:00Z"), annotation(identity=2)], 1),
        ([annotation(identity=1), annotation(identity=2, at="2026-01-03T10:00:00Z")], 2),
        # a whole second is written without its fraction
        ([annotation(identity=1, at="2026-01-02T10:00:00.5Z"), annotation(identity=2)], 1),
        ([annotation(identity=5), annotation(identity=3)], 5),
        ([annotation(identity=1, at=None), annotation(identity=2, at=None)], 2),
        ([annotation(identity=1), annotation(identity=2, at="yesterday")], 1),
        ([annotation(identity=1), {"id": 2, "result": None}, "text", None], 1),
    ],
)
def test_the_newest_annotation_counts_that_was_not_cancelled(annotations, identity):
    found = newest_annotation({"annotations": annotations})
    assert (found and found["id"]) == identity


def test_a_draft_never_counts():
    assert taught({**task(1), "drafts": [{"id": 1, "result": [box()]}]}).frames == ()


def test_a_task_whose_place_cannot_be_told_gives_one_line_of_warning():
    unplaced = [task(n, annotation(box()), image="/data/cat.jpg") for n in range(3)]
    told = taught(*unplaced, task(9, annotation()))
    assert len(told.frames) == 1
    assert told.annotated == 4
    (warning,) = told.warnings
    assert "task 100 and 2 more" in warning
    assert "`frame`" in warning


@pytest.mark.parametrize(
    "broken",
    [
        {**task(1, annotation()), "data": None},
        {**task(1, annotation()), "data": {"image": 3}},
        task(1, annotation(), picture="/data/walk_1.jpg"),
        {"annotations": [annotation()]},
        "text",
        None,
    ],
)
def test_a_malformed_task_gives_a_warning_and_the_others_teach(broken):
    told = taught(broken, task(2, annotation(box())))
    assert [frame.key.index for frame in told.frames] == [2]
    assert len(told.warnings) == 1


def test_pages_of_a_list_are_no_frames():
    told = taught(task(1, annotation(box()), pages=["/a_1.jpg", "/a_2.jpg"]), config=PAGES)
    assert told.frames == ()
    assert "pages" in told.warnings[0]


def test_of_several_images_each_is_a_sequence_of_its_own_with_its_own_regions():
    views = {"left": "/l_1.jpg", "right": "/r_1.jpg", "map": "/m_1.jpg", "video": "walk"}
    told = taught(
        task(1, annotation(box(control="l", image="left")), **views),
        task(2, annotation(), **views, frame=2),
        config=STEREO,
    )
    assert [frame.key for frame in told.frames] == [
        FrameKey("left:walk", 1),
        FrameKey("right:walk", 1),
        FrameKey("left:walk", 2),
        FrameKey("right:walk", 2),
    ]
    assert [len(frame.marks) for frame in told.frames] == [1, 0, 0, 0]
    assert [bool(frame.drawn) for frame in told.frames] == [True, False, False, False]


def test_a_prediction_finds_the_key_under_which_a_frame_was_learnt():
    one = task(4, annotation(box()))
    (frame,) = taught(one).frames
    (tag,) = CONFIG.images
    key = sequence_key(one["data"], one["data"]["image"], tag, CONFIG, one["inner_id"], one["id"])
    assert key == frame.key


def track(identity, *keyframes):
    sequence = [
        {"frame": frame, "enabled": enabled, "x": 10, "y": 20, "width": 10, "height": 30}
        for frame, enabled in keyframes
    ]
    return {
        "id": identity, "from_name": "box", "to_name": "video", "type": "videorectangle",
        "value": {"labels": ["car"], "framesCount": 50, "duration": 2.0, "sequence": sequence},
    }  # fmt: skip


def test_each_track_of_a_video_is_a_sequence_in_which_others_are_not_missed():
    a, b = track("a", (1, True), (20, False)), track("b", (10, True))
    told = taught(task(1, annotation(a, b), video="/data/ride.mp4"), config=VIDEO)
    (tag,) = VIDEO.videos
    sequences = {name: video_sequence(tag, 101, name) for name in "ab"}
    assert [(frame.key, len(frame.marks)) for frame in told.frames] == [
        (FrameKey(sequences["a"], 1), 1),
        (FrameKey(sequences["a"], 20), 1),
        (FrameKey(sequences["a"], 21), 0),
        (FrameKey(sequences["b"], 9), 0),
        (FrameKey(sequences["b"], 10), 1),
    ]
    assert {frame.image_hw for frame in told.frames} == {NOMINAL_HW}
    assert [frame.drawn for frame in told.frames] == [keep([a]), b"", b"", keep([b]), b""]
    assert all(name.startswith(video_sequence(tag, 101)) for name in sequences.values())
    assert told.warnings == ()


def test_two_tasks_with_one_video_do_not_mix():
    same = [task(n, annotation(track("a", (1, True))), video="/data/ride.mp4") for n in (1, 2)]
    first, second = taught(*same, config=VIDEO).frames
    assert first.key.sequence != second.key.sequence


def test_a_turned_box_is_a_mark_with_its_angle():
    turned, upright = box(10), box(40)
    turned["value"]["rotation"], upright["value"]["rotation"] = 330, 0
    told = taught(task(1, annotation(turned)), task(2, annotation(turned, upright)))
    assert told.warnings == ()
    assert [[mark.turn for mark in frame.marks] for frame in told.frames] == [[-30], [-30, 0]]

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prelabel.learning.frames import FRAME_KEYS, SEQUENCE_KEYS, FrameKey, frame_key, neighbours


@pytest.mark.parametrize(
    ("uri", "index"),
    [
        ("", None),
        ("/clips/a/portrait.jpg", None),
        ("data:image/png;base64,AAAA1234", None),
        ("http://[broken/frame_1.jpg", None),
        ("/clips/a/frame_0007.jpg", 7),
        ("/clips/a/f00000123.jpg", 123),
        ("/clips/a/00012.png", 12),
        ("/clips/a/shot2-IMG 31.jpeg", 31),
        ("/clips/a/frame_12_v2.jpg", 12),
        ("/clips/a/walk_1920x1080_30fps_004.png", 4),
        ("/clips/a/frame_5_9f86d081884c7d65.png", 5),
        ("/clips/a/9f86d081-884c-4d65-9a2f-eaa0c55ad015.png", None),
        ("/data/upload/3/1a2b3c4d-walk_9.png", 9),
        ("/data/local-files/?d=clips%2Fa%2Fframe_0042.jpg", 42),
        ("https://host/a/frame%5F8.jpg?width=640&v=99", 8),
        ("s3://bucket/a/frame_3.jpg", 3),
        ("/clips/a/frame_" + "9" * 5000 + ".jpg", None),
        ("/clips/cam2_000123.jpg", 123),
        ("/clips/2024-05-01_frame_17.png", 17),
        ("/clips/clip10-5.jpg", 5),
        ("/clips/IMG_1234_0007.jpg", 7),
        ("/clips/IMG_1234.jpg", 1234),
        ("/clips/IMG_20240501_120000_017.jpg", 17),
        ("/clips/f1_0003.jpg", 3),
        ("/clips/frame_12_person_3.jpg", 12),
        ("/clips/walk0012_v2.jpg", 12),
        ("/clips/v0012.jpg", 12),
        ("/clips/0012_1080p.jpg", 12),
        ("/clips/1080p.jpg", 1080),
        ("/clips/12@2x.png", 12),
        ("/clips/walk_20240501.png", 20240501),
        ("/clips/cam2_20010203.jpg", 20010203),
        ("/data/local-files/?d=clips%2Fframe%25201.jpg", 1),
        ("/storage-data/uploaded/?filepath=upload/3/1a2b3c4d-walk_9.png", 9),
        ("/tasks/1/resolve/?fileuri=no-address", None),
        ("/tasks/1/resolve/?fileuri=", None),
    ],
)
def test_a_file_name_gives_the_frame_number(uri, index):
    key = frame_key({}, uri)
    assert (key and key.index) == index


@pytest.mark.parametrize("name", FRAME_KEYS)
@pytest.mark.parametrize("value", [17, 17.0, "17", " 0017 "])
def test_the_data_key_goes_before_the_file_name(name, value):
    key = frame_key({name: value}, "/a/frame_3.jpg")
    assert key is not None
    assert key.index == 17


@pytest.mark.parametrize(
    "value", [None, "", "seven", "-1", "²", "1.5", True, -1, 1.5, math.nan, math.inf, [3], "9" * 99,
              10**15, 1e300]
)  # fmt: skip
def test_a_data_value_that_is_no_frame_number_is_passed_over(value):
    assert frame_key({"frame": value}, "/a/frame_3.jpg") == frame_key({}, "/a/frame_3.jpg")


@pytest.mark.parametrize("name", SEQUENCE_KEYS)
def test_the_data_names_the_sequence(name):
    assert frame_key({name: "walk"}, "/a/frame_3.jpg") == FrameKey("walk", 3)


def test_without_a_sequence_in_the_data_folder_and_stem_name_it():
    first = frame_key({}, "/clips/a/walk_0001.jpg")
    second = frame_key({}, "/clips/a/walk_0002.jpg")
    other_folder = frame_key({}, "/clips/b/walk_0002.jpg")
    other_stem = frame_key({}, "/clips/a/run_0002.jpg")
    other_host = frame_key({}, "http://host/clips/a/walk_0002.jpg")
    names = [key and key.sequence for key in (second, other_folder, other_stem, other_host)]
    assert first is not None
    assert names.count(first.sequence) == 1
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    "pattern",
    ["cam2_{:06}", "2024-05-01_frame_{}", "clip10-{}", "IMG_1234_{:04}", "f1_{:04}", "{}@2x",
     "walk{:04}_v2", "{:04}_1080p", "IMG_20240501_120000_{:03}", "frame%2520{}", "0f8c2a11-{:05}"],
)  # fmt: skip
def test_all_frames_of_a_video_are_one_sequence_whatever_else_is_in_their_names(pattern):
    keys = [frame_key({}, f"/clips/{pattern.format(n)}.png") for n in (1, 8, 9, 10, 99, 100, 999)]
    assert [key and key.index for key in keys] == [1, 8, 9, 10, 99, 100, 999]
    assert len({key.sequence for key in keys}) == 1


def test_an_address_that_label_studio_resolves_is_the_one_inside_it():
    inside = "s3://bucket/shot/frame_0005.jpg"
    asked = base64.urlsafe_b64encode(inside.encode()).decode()
    plain = frame_key({}, inside)
    assert plain is not None
    assert frame_key({}, f"http://host/tasks/1/resolve/?fileuri={asked}") == plain
    assert frame_key({}, f"/tasks/1/presign/?fileuri={asked.rstrip('=')}") == plain


def test_a_bare_number_in_an_upload_folder_names_no_sequence():
    assert frame_key({}, "/data/upload/3/1a2b3c4d-00007.png") is None
    assert frame_key({"video": "v"}, "/data/upload/3/1a2b3c4d-00007.png") == FrameKey("v", 7)


def test_the_number_of_the_task_counts_only_in_a_named_sequence():
    assert frame_key({}, "/a/x.jpg", inner_id=4, task_id=90) is None
    assert frame_key({"video": "v"}, "/a/x.jpg", inner_id=4, task_id=90) == FrameKey("v", 4)
    assert frame_key({"video": "v"}, "/a/x.jpg", task_id=90) == FrameKey("v", 90)


def test_a_negative_index_is_refused():
    with pytest.raises(ValueError, match="index"):
        FrameKey("v", -1)


@pytest.mark.parametrize(
    ("keys", "beside"),
    [
        ([], []),
        ([None], [(None, None)]),
        ([FrameKey("a", 1)], [(None, None)]),
        ([FrameKey("a", 9), None, FrameKey("a", 2)], [(2, None), (None, None), (None, 0)]),
        ([FrameKey("a", 1), FrameKey("b", 2)], [(None, None)] * 2),
        ([FrameKey("a", 1), FrameKey("a", 1), FrameKey("a", 2)], [(None, None)] * 3),
    ],
)
def test_neighbours_are_the_nearest_frames_of_the_same_sequence(keys, beside):
    assert neighbours(keys) == beside


_KEYS = st.builds(FrameKey, st.sampled_from("abc"), st.integers(0, 50))


@given(st.lists(st.none() | _KEYS, unique_by=lambda key: key or object()))
def test_whose_before_is_whose_after_and_nothing_lies_between(keys):
    beside = neighbours(keys)
    for position, (before, after) in enumerate(beside):
        own = keys[position]
        if before is not None:
            assert beside[before][1] == position
            assert keys[before].sequence == own.sequence
            assert not any(
                key and key.sequence == own.sequence and keys[before].index < key.index < own.index
                for key in keys
            )
        if after is not None:
            assert beside[after][0] == position


@given(st.integers(0, 10**9), st.sampled_from(["frame_{}", "img{}", "clip-{:06d}", "f{:04d}"]))
def test_a_number_written_into_a_name_is_read_back(number, pattern):
    key = frame_key({}, f"/clips/a/{pattern.format(number)}.jpg")
    assert key is not None
    assert key.index == number

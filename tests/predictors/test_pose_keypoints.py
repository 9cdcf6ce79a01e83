"""The table of 133 keypoints."""

import json

from prelabel import keypoints


def mirrored(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    side, _, rest = name.partition("_")
    return f"{swap[side]}_{rest}" if side in swap else name


def test_there_are_133_names_each_once():
    assert len(keypoints.NAMES) == len(set(keypoints.NAMES)) == 133


def test_the_groups_are_all_keypoints_in_order():
    assert [index for group in keypoints.GROUPS.values() for index in group] == list(range(133))


def test_each_keypoint_has_a_sigma():
    assert len(keypoints.SIGMAS) == 133
    assert all(0 < sigma < 0.2 for sigma in keypoints.SIGMAS)


def test_a_swap_pair_is_a_left_and_a_right_of_the_same_name():
    named = [(a, b) for a, b in keypoints.SWAP_PAIRS if a not in keypoints.FACE]

    assert all(mirrored(keypoints.NAMES[a]) == keypoints.NAMES[b] for a, b in named)


def test_no_keypoint_is_swapped_twice():
    swapped = [index for pair in keypoints.SWAP_PAIRS for index in pair]

    assert len(swapped) == len(set(swapped)) == 2 * 61


def test_the_table_is_that_of_coco_wholebody(shared_data):
    published = json.loads((shared_data / "coco_wholebody.json").read_text())

    assert list(keypoints.NAMES) == published["names"]
    assert list(keypoints.SIGMAS) == published["sigmas"]
    assert [list(link) for link in keypoints.LINKS] == published["skeleton"]
    assert sorted(map(list, keypoints.SWAP_PAIRS)) == sorted(published["swap_pairs"])
    assert {
        name: [group.start, group.stop] for name, group in keypoints.GROUPS.items()
    } == published["groups"]

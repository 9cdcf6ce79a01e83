"""Filters and ids in words."""

import pytest

from prelabel.errors import SettingsError
from prelabel.labelstudio_api.listing import Conditions, _joined, parse_filter, parse_ids

ITEM = {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": 1}


@pytest.mark.parametrize(
    ("text", "column", "operator", "kind", "value"),
    [
        ("data.camera=left", "data.camera", "equal", "String", "left"),
        ("data.camera = 'left one'", "data.camera", "equal", "String", "left one"),
        ("data.camera!=left", "data.camera", "not_equal", "String", "left"),
        ("data.image~night", "data.image", "contains", "String", "night"),
        ("data.image!~night", "data.image", "not_contains", "String", "night"),
        ("data.shot=12", "data.shot", "equal", "String", "12"),
        ("data.quality>0.5", "data.quality", "greater", "Number", 0.5),
        ("total_annotations=0", "total_annotations", "equal", "Number", 0),
        ("id>=100", "id", "greater_or_equal", "Number", 100),
        ("filter:tasks:id<5", "id", "less", "Number", 5),
    ],
)
def test_the_short_form_of_a_filter(text, column, operator, kind, value):
    (item,) = parse_filter(text).items
    assert item == {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": kind,
        "value": value,
    }


WRITTEN = '{"filter":"filter:tasks:id","operator":"equal","type":"Number","value":1}'


@pytest.mark.parametrize(
    "text",
    [
        WRITTEN,
        f"[{WRITTEN}]",
        f'{{"conjunction":"and","items":[{WRITTEN}]}}',
        f'{{"filters":{{"conjunction":"and","items":[{WRITTEN}]}},"ordering":[]}}',
    ],
)
def test_label_studios_own_json_is_read_in_each_of_its_forms(text):
    assert parse_filter(text) == Conditions("and", (ITEM,))


@pytest.mark.parametrize("text", ["", "left", "=left", "{", "[1]", '{"items":[{"filter":"x"}]}'])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(SettingsError, match="no filter"):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("1", (1,)),
        ("1,5, 7", (1, 5, 7)),
        ("3-5,4", (3, 4, 5)),
        ("a", None),
        ("1-", (1,)),
        ("5-3", None),
        ("1,5-3", None),
    ],
)
def test_ids_in_words(text, expected):
    if expected is None:
        with pytest.raises(SettingsError, match="no task ids"):
            parse_ids(text)
    else:
        assert parse_ids(text) == expected


def test_conditions_joined_by_or_carry_one_more_with_each():
    either = Conditions("or", (ITEM, {**ITEM, "value": 2}))
    behind = {**ITEM, "operator": "greater"}
    joined = _joined([either, Conditions("and", (behind,))])
    assert joined["conjunction"] == "or"
    assert [item["child_filter"] for item in joined["items"]] == [behind, behind]


def test_a_slip_of_the_hand_does_not_fill_the_memory_with_ids():
    with pytest.raises(SettingsError, match="more than 1,000,000 tasks"):
        parse_ids("1-99999999999")
    with pytest.raises(SettingsError, match="more than 1,000,000 tasks"):
        parse_ids("1-99999999999999999999")

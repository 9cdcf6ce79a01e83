"""The label config: what is read from it."""

import pytest

from prelabel.errors import ImageMissing, InvalidRequest
from prelabel.labelstudio.config import ImageTag, normalised, parse

BOXES = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
    <Label value="body_distortion" alias="bd" background="red"/>
    <Label value="cat" predicted_values="cat, kitten ,"/>
  </RectangleLabels>
  <Choices name="body_part" toName="image" perRegion="true" whenTagName="label"
           whenLabelValue="bd, cat">
    <Choice value="face"/><Choice value="hand"/>
  </Choices>
</View>
"""


def test_an_empty_view_has_no_images_and_no_controls():
    config = parse("<View></View>")
    assert config.images == ()
    assert config.controls == ()


def test_controls_carry_their_labels_aliases_and_attributes():
    config = parse(BOXES)
    control = config.control("label")
    assert control is not None
    assert [label.stored for label in control.labels] == ["bd", "cat"]
    assert control.labels[1].predicted_values == ("cat", "kitten")
    assert control.result_type == "rectanglelabels"
    choices = config.control("body_part")
    assert choices is not None
    assert choices.per_region
    assert choices.only_for("whenLabelValue") == {"bd", "cat"}
    assert choices.only_for("whenTagName") == {"label"}


def test_labels_nested_in_views_are_found():
    config = parse(
        '<View><Image name="i" value="$i"/><RectangleLabels name="r" toName="i">'
        '<View><Label value="a"/></View></RectangleLabels></View>'
    )
    assert [label.value for label in config.controls[0].labels] == ["a"]


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "not xml",
        "<View>",
        '<!DOCTYPE lolz [<!ENTITY lol "lol">]><View>&lol;</View>',
        '<!DOCTYPE x SYSTEM "file:///etc/passwd"><View/>',
    ],
)
def test_what_is_not_plain_xml_is_refused(xml):
    with pytest.raises(InvalidRequest, match="label config"):
        parse(xml)


def test_an_image_tag_finds_its_uri_under_a_nested_key():
    tag = ImageTag("image", "$frames.first", is_list=False)
    assert tag.uris({"frames": {"first": "a.png"}}) == ("a.png",)


def test_an_image_tag_finds_its_uri_at_an_index():
    data = {"views": [{"url": "a.png"}, {"url": "b.png"}], "pages": [["c.png"], ["d.png"]]}
    assert ImageTag("right", "$views[1].url", is_list=False).uris(data) == ("b.png",)
    assert ImageTag("pages", "$pages[1]", is_list=True).uris(data) == ("d.png",)
    with pytest.raises(ImageMissing, match=r"\$views\[2\]\.url"):
        ImageTag("third", "$views[2].url", is_list=False).uris(data)


def test_a_value_list_gives_every_page_in_order():
    tag = ImageTag("image", "$pages", is_list=True)
    assert tag.uris({"pages": ["a.png", "b.png"]}) == ("a.png", "b.png")


@pytest.mark.parametrize("value", ["$image", "$frames.first", "$a.b.c", "$views[1].url"])
@pytest.mark.parametrize("is_list", [False, True])
def test_images_that_are_put_into_data_are_found_there(value, is_list):
    tag = ImageTag("image", value, is_list=is_list)
    pages = ("a.png", "b.png") if is_list else ("a.png",)
    for data in ({}, {"frames": {"second": "c.png"}, "a": "text", "views": [{}, {"url": "d.png"}]}):
        assert tag.uris(tag.with_uris(data, pages)) == pages


def test_images_that_are_put_into_data_leave_the_rest_of_it_alone():
    data = {"frames": {"second": "c.png"}, "name": "walk"}
    put = ImageTag("image", "$frames.first", is_list=False).with_uris(data, ["a.png"])
    assert put == {"frames": {"first": "a.png", "second": "c.png"}, "name": "walk"}
    assert data == {"frames": {"second": "c.png"}, "name": "walk"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"image": None},
        {"image": ""},
        {"image": 3},
        {"image": ["a", "b"]},
        {"image": []},
        {"other": "a"},
    ],
)
def test_a_task_without_an_image_says_which_key_is_read(data):
    with pytest.raises(ImageMissing, match=r"\$image"):
        ImageTag("image", "$image", is_list=False).uris(data)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", ""), ("Full Body", "full_body"), ("full-body", "full_body"), (" HAND ", "hand")],
)
def test_labels_are_compared_without_case_and_separators(text, expected):
    assert normalised(text) == expected

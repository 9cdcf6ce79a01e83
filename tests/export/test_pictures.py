import pytest

from prelabel.export.pictures import Schema, pictures_of, unmeasured

PAGES = """<View>
  <Image name="image" valueList="$image"/>
  <KeyPointLabels name="k" toName="image"><Label value="nose"/></KeyPointLabels>
</View>"""
VIEWS = """<View>
  <Image name="left" value="$left"/><Image name="right" value="$right"/>
  <KeyPointLabels name="k" toName="left"><Label value="nose"/></KeyPointLabels>
  <KeyPointLabels name="l" toName="right"><Label value="nose"/></KeyPointLabels>
</View>"""


def read(project):
    return pictures_of(project.tasks, Schema(project.config), unmeasured)


def noses(pictures):
    return [tuple(picture.people.keypoints_xy[:, 0].ravel().round()) for picture in pictures]


def nose(project, draw, x, **fields):
    return {"result": project.drawn(draw.people({0: (x, 9)}), with_box=False), **fields}


def test_no_tasks_are_no_pictures(draw):
    assert read(draw.pose_project()) == ([], [])


def test_the_newest_annotation_counts(draw):
    project = draw.pose_project()
    project.add(
        nose(project, draw, 1, updated_at="2026-01-01T00:00:00.000000Z"),
        nose(project, draw, 2, updated_at="2026-01-03T00:00:00Z"),
        nose(project, draw, 3, updated_at="2026-01-02T23:59:59.999999Z"),
    )
    assert noses(read(project)[0]) == [(2, 9)]


def test_a_ground_truth_goes_before_newer_annotations(draw):
    project = draw.pose_project()
    project.add(nose(project, draw, 1, ground_truth=True), nose(project, draw, 2))
    assert noses(read(project)[0]) == [(1, 9)]


def test_a_cancelled_annotation_does_not_count(draw):
    project = draw.pose_project()
    project.add(nose(project, draw, 1), nose(project, draw, 2, was_cancelled=True))
    assert noses(read(project)[0]) == [(1, 9)]


def test_tasks_without_an_annotation_that_counts_are_named_with_the_reason(draw):
    project = draw.pose_project()
    project.add()
    project.add(nose(project, draw, 1, was_cancelled=True, ground_truth=True))
    project.add(nose(project, draw, 1))
    project.tasks[2]["data"] = {"other": "x"}
    project.add([])
    pictures, skipped = read(project)
    assert pictures == []
    assert [one.task_id for one in skipped] == [1, 2, 3, 4]
    reasons = ("not annotated", "skipped by its annotators", "no image address", "its size")
    for one, reason in zip(skipped, reasons, strict=True):
        assert reason in one.reason


def test_an_image_with_nothing_on_it_takes_its_size_from_a_prediction(draw):
    project = draw.pose_project()
    guess = project.drawn(draw.people({0: (1, 1)}), (300, 200))
    project.add([], predictions=[17, {"result": guess}])  # exports may list ids alone
    [picture], skipped = read(project)
    assert (picture.image_hw, len(picture.people), skipped) == ((300, 200), 0, [])


def test_an_image_has_the_number_of_its_task(draw):
    project = draw.pose_project()
    project.add()
    project.add(nose(project, draw, 1))
    [picture], _ = read(project)
    assert (picture.id, picture.task_id, picture.page) == (2, 2, 0)


def test_each_page_of_a_task_is_an_image_of_its_own(draw):
    project = draw.project(PAGES)
    result = [
        region
        for page, x in enumerate((10, 20, 30))
        for region in project.drawn(draw.people({0: (x, 5)}), (100, 100 + page), page=page)
    ]
    project.add(result)
    project.tasks[0]["data"]["image"] = [f"s3://b/{page}.png" for page in range(3)]
    pictures, _ = read(project)
    assert noses(pictures) == [(10, 5), (20, 5), (30, 5)]
    assert [picture.image_hw for picture in pictures] == [(100, 100), (100, 101), (100, 102)]
    assert [picture.file_name for picture in pictures] == ["0.png", "1.png", "2.png"]
    assert len({picture.id for picture in pictures}) == 3
    assert [(picture.task_id, picture.page) for picture in pictures] == [(1, 0), (1, 1), (1, 2)]


def test_a_page_without_regions_is_left_out_by_itself(draw):
    project = draw.project(PAGES)
    project.add(project.drawn(draw.people({0: (10, 5)}), page=1))
    project.tasks[0]["data"]["image"] = ["s3://b/0.png", "s3://b/1.png"]
    pictures, [skipped] = read(project)
    assert [picture.page for picture in pictures] == [1]
    assert "on image 0, and its size is unknown" in skipped.reason


def test_each_image_of_a_task_gets_what_is_drawn_on_it(draw):
    project = draw.project(VIEWS)
    left = project.drawn(draw.people({0: (10, 5)}), (100, 200), with_box=False)
    right = project.drawn(draw.people({0: (20, 5)}), (300, 400), with_box=False)
    right = [{**region, "from_name": "l", "to_name": "right"} for region in right]
    project.add(right + left)
    project.tasks[0]["data"] = {"left": "/data/upload/1/a-l.png", "right": "/data/upload/1/b-r.png"}
    pictures, _ = read(project)
    assert noses(pictures) == [(10, 5), (20, 5)]
    assert [picture.image_hw for picture in pictures] == [(100, 200), (300, 400)]


def test_a_person_is_a_box_like_any_other_where_there_are_no_keypoints(draw):
    labels = '<Label value="person"/><Label value="dog"/>'
    image = '<Image name="image" value="$image"/>'
    rectangles = f'<RectangleLabels name="r" toName="image">{labels}</RectangleLabels>'
    schema = Schema(draw.project(f"<View>{image}{rectangles}</View>").config)
    assert (schema.person_labels, schema.box_labels) == ((), ("person", "dog"))


@pytest.mark.parametrize("value", ["person", "Person", "Human"])
def test_a_rectangle_for_persons_is_known_by_its_label(draw, value):
    xml = draw.pose_project().xml.replace('value="person"', f'value="{value}"')
    assert Schema(draw.project(xml).config).person_labels == (value,)


def test_keypoints_drawn_twice_on_one_person_are_told(draw):
    project = draw.pose_project()
    both = [
        region
        for x in (1, 2)
        for region in project.drawn(draw.people({0: (x, 9), 1: (x, 5)}), with_box=False)
    ]
    project.add(both)
    pictures, [told] = read(project)
    assert noses(pictures) == [(2, 9)]
    assert "keypoints drawn twice on one person" in told.reason


def test_regions_of_labels_that_the_config_lost_are_told(draw):
    project = draw.pose_project()
    regions = project.drawn(draw.people({0: (1, 9), 1: (1, 5)}), with_box=False)
    regions[1]["value"]["keypointlabels"] = ["Auge"]
    project.add(regions)
    [picture], [told] = read(project)
    assert (picture.people.keypoint_scores > 0).sum() == 1
    assert told.reason == (
        "regions that name the label 'Auge', which the label config does not have"
    )


def test_keypoints_that_are_none_of_a_persons_are_told(draw):
    labels = '<Label value="nose"/><Label value="neck"/>'
    project = draw.project(PAGES.replace('<Label value="nose"/>', labels))
    regions = project.drawn(draw.people({0: (1, 9)}))
    value = regions[0]["value"]
    broken = {**regions[0], "value": {**value, "keypointlabels": [["neck"]]}}
    others = [{**regions[0], "value": {**value, "keypointlabels": ["neck"]}}, broken]
    project.add(regions + others)
    [picture], told = read(project)
    assert (picture.people.keypoint_scores > 0).sum() == 1
    assert "keypoints that are none of the 133: 'neck'" in [one.reason for one in told]


@pytest.mark.parametrize(
    "label", ['value="Mensch" predicted_values="person"', 'value="Mensch" alias="Person"']
)
def test_a_person_in_another_language_is_a_person(draw, label):
    points = '<KeyPointLabels name="k" toName="image"><Label value="nose"/></KeyPointLabels>'
    project = draw.project(
        '<View><Image name="image" value="$image"/><RectangleLabels name="r" toName="image">'
        f"<Label {label}/></RectangleLabels>{points}</View>"
    )
    assert len(Schema(project.config).person_labels) == 1

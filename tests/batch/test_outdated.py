"""What a run says of predictions that were made for an earlier label config."""

import pytest

from prelabel.batch.outdated import outdated
from prelabel.labelstudio.config import parse

from .conftest import CONFIG, VERSION


def region(control="label", label="cat", kind="rectanglelabels"):
    return {"from_name": control, "type": kind, "value": {"x": 1, kind: [label]}}


@pytest.fixture
def held(fake):
    fake.add_tasks(3)
    return lambda *result, version=VERSION: fake.hold(2, version, result)


def test_where_nothing_is_predicted_nothing_is_said(target):
    assert outdated(target, parse(CONFIG)) == ()


def test_predictions_that_fit_are_passed_over(target, held):
    held()
    held(region(), region())
    assert outdated(target, parse(CONFIG)) == ()


@pytest.mark.parametrize(
    ("config", "gone"),
    [
        (CONFIG.replace('name="label"', 'name="boxes"'), "the control 'label'"),
        (CONFIG.replace('value="cat"', 'value="dog"'), "the label 'cat'"),
        (CONFIG.replace('value="cat"', 'value="cat" alias="c"'), "the label 'cat'"),
    ],
)
def test_what_was_renamed_is_named_with_what_to_do(target, held, config, gone):
    held()
    held(region())
    (told,) = outdated(target, parse(config))
    assert f"name {gone}, which the label config does not have any more" in told
    assert "--force" in told


def test_predictions_of_other_versions_and_relations_are_no_concern(target, held):
    held(region("gone"), version=f"{VERSION}.seq1")
    held(region(), {"type": "relation", "from_id": "a", "to_id": "b"})
    assert outdated(target, parse(CONFIG)) == ()


def test_a_label_studio_that_does_not_answer_is_told_by_the_run_itself(target, held, fake, faults):
    held(region("gone"))
    fake.faults = [("GET", "/tasks/", faults.status(403))]
    assert outdated(target, parse(CONFIG)) == ()

"""Plans of label configs of any size: each is made once, and they do not fill the memory."""

import pytest

from prelabel.errors import InvalidRequest
from prelabel.plan import NO_PREDICTOR, Predictors, make_plan
from prelabel.server import plans, projects
from prelabel.server.plans import Plans
from prelabel.server.projects import Projects

from .conftest import CONFIG


@pytest.fixture
def made(predictor, monkeypatch):
    """The label configs that plans were made of; room for two of 100 characters."""
    made = []

    def make(label_config, predictors):
        made.append(label_config)
        return make_plan(label_config, predictors)

    monkeypatch.setattr(plans, "make_plan", make)
    monkeypatch.setattr(plans, "LONGEST_CONFIG", 100)
    monkeypatch.setattr(plans, "_MOST_CHARACTERS", 200)
    return made


def test_a_plan_is_made_once_for_each_label_config(predictor, made):
    plan_for = Plans(Predictors(predictor, predictor))
    assert plan_for("<View/>") is plan_for("<View/>")
    assert made == ["<View/>"]


def test_plans_are_kept_as_long_as_their_label_configs_have_room(predictor, made):
    plan_for = Plans(Predictors(predictor, predictor))
    one, two, three = (f"<View><!-- {n}{'x' * 70} --></View>" for n in range(3))
    for config in (one, two, one, three, one, two):
        plan_for(config)
    assert made == [one, two, three, two]


def test_a_label_config_that_is_too_long_is_refused_before_it_is_read(predictor, made):
    plan_for = Plans(Predictors(predictor, predictor))
    with pytest.raises(InvalidRequest, match="101 characters, and at most 100 are read"):
        plan_for("x" * 101)
    assert made == []


def test_callers_are_told_that_a_label_config_is_too_long(client, monkeypatch):
    monkeypatch.setattr(plans, "LONGEST_CONFIG", 50)
    refused = client.post("/validate", json={"config": CONFIG})
    assert (refused.status_code, refused.json()["title"]) == (400, "InvalidRequest")
    assert client.post("/predict", json={"tasks": [], "label_config": CONFIG}).status_code == 400
    told = client.post("/setup", json={"schema": CONFIG, "project": 1})  # it shall connect
    assert (told.status_code, told.json()["model_version"]) == (200, NO_PREDICTOR)
    assert "at most 50 are read" in told.json()["warnings"][0]


def test_projects_are_forgotten_where_their_label_configs_are_too_many(predictor, monkeypatch):
    monkeypatch.setattr(projects, "_MOST_CHARACTERS", 100)
    plan = make_plan(CONFIG, Predictors(predictor, predictor))
    known = Projects()
    for key, characters in enumerate((60, 40, 50)):
        known.planned(known.get(key), plan, characters)
    assert [project.key for project in known.all()] == ["2", "1"]


def test_what_a_project_was_set_up_with_is_not_planned_again_to_be_listed(client, made):
    for n in range(3):
        client.post("/setup", json={"schema": f"<View><!--{n}{'x' * 70}--></View>", "project": n})
    made.clear()
    client.get("/versions")
    assert len(made) <= 1  # the default project's


def test_a_set_up_whose_words_are_endless_is_refused(client):
    for word in ("hostname", "access_token"):
        assert client.post("/setup", json={word: "x" * 20_000}).status_code == 400

"""What keeps a run from beginning, and what it is told."""

import httpx2
import pytest

from prelabel.batch.preflight import check_writing, prepare
from prelabel.errors import LabelStudioUnreachable, NotReady, WeightsUnavailable
from prelabel.plan import Predictors
from prelabel.predictors.fallback import Fallback

TEXT = (
    '<View><Text name="t" value="$t"/>'
    '<Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
)


class Model:
    fingerprint, wants_neighbours, batch_size = "", False, 1

    def __init__(self, name, error=None):
        self.name = name
        self.error = error

    def check(self): ...

    def load(self):
        if self.error:
            raise self.error

    def predict(self, images, ask): ...

    def health(self):
        return {"loaded": not self.error}


def project(fake, config=None):
    return {"id": 7, "label_config": config or fake.label_config}


def both(model):
    return Predictors(model, model)


AWAY = WeightsUnavailable("model.onnx", "is not here", "Fetch it.")


def test_a_project_that_can_be_predicted_gives_a_plan_with_loaded_models(fake):
    plan, warnings = prepare(project(fake), both(Model("one")))
    assert [step.control.name for step in plan.steps] == ["label"]
    assert warnings == ()


@pytest.mark.parametrize("config", [TEXT, "<View/>", "<View"])
def test_a_config_with_nothing_to_fill_is_refused(fake, config):
    with pytest.raises(NotReady):
        prepare(project(fake, config), both(Model("one")))


def test_a_project_of_videos_is_told_how_those_are_filled(fake):
    video = (
        '<View><Video name="v" value="$video"/><Labels name="l" toName="v"><Label value="a"/>'
        '</Labels><VideoRectangle name="b" toName="v"/></View>'
    )
    with pytest.raises(NotReady, match="Start Training"):
        prepare(project(fake, video), both(Model("one")))


def test_a_model_that_cannot_be_loaded_is_refused_with_its_reason(fake):
    with pytest.raises(NotReady, match=r"is not here. Fetch it."):
        prepare(project(fake), both(Model("one", AWAY)))


def test_a_model_that_stands_in_for_another_is_said(fake):
    fallback = Fallback(Model("one", AWAY), Model("two"))
    plan, warnings = prepare(project(fake), both(fallback))
    assert plan.model_version.startswith("two")
    assert "one cannot be used" in warnings[0]


@pytest.fixture
def check(studio, hasty):
    """Asks for leave to write; gives the pauses that were made."""

    def ask():
        pauses = []
        check_writing(studio, 7, hasty, pauses.append)
        return pauses

    return ask


def test_whether_the_token_may_write_is_found_out_without_writing(fake, check):
    fake.add_tasks(1)
    assert check() == []
    assert fake.predictions == []
    fake.forbidden = True
    with pytest.raises(NotReady):
        check()


def test_a_label_studio_that_is_busy_is_asked_again_as_late_as_it_wishes(fake, check, faults):
    fake.faults = [
        ("POST", "/import/predictions", faults.status(429, Retry_After="7")),
        ("POST", "/import/predictions", faults.cut_before),
    ]
    first, second = check()
    assert first == 7.0
    assert second < 7.0


def test_a_label_studio_that_is_away_is_no_refusal(fake, check, faults, hasty):
    away = ("POST", "/import/predictions", faults.no_connection)
    fake.faults = [away] * (hasty.max_retries + 1)
    with pytest.raises(LabelStudioUnreachable):
        check()
    assert fake.faults == []


def test_an_answer_from_elsewhere_is_no_leave_to_write(fake, check):
    fake.faults = [("POST", "/import/predictions", lambda *_: httpx2.Response(200, text="hello"))]
    with pytest.raises(LabelStudioUnreachable):
        check()

"""Label Studio before 1.13, which stores nothing of an answer that leaves a task out."""

import pytest

from prelabel.server.gaps import are_taken

from .conftest import CONFIG

URLS = {1: "frame-1", 2: "missing-2", 3: "frame-3", 4: "poison-4", 5: "frame-5"}


class OldLabelStudio:
    """Stores answers as 1.12.1 does, without a token for anybody to push more."""

    def __init__(self, client, user_agent="heartex/1.12.1"):
        self.client = client
        self.headers = {"User-Agent": user_agent}
        self.stored = {}
        self.asked = []

    def predict(self, ids, urls, **params):
        tasks = [{"id": one, "project": 7, "data": {"image": urls[one]}} for one in ids]
        asked = {"tasks": tasks, "project": "7.1700000000", "label_config": CONFIG}
        self.asked.append(list(ids))
        answer = self.client.post("/predict", json={**asked, **params}, headers=self.headers)
        assert answer.status_code == 200
        return answer.json()["results"]

    def retrieve(self, urls):
        results = self.predict(list(urls), urls)
        if len(results) == 1 and len(urls) != 1:
            for one in urls:
                self.retrieve({one: urls[one]})
            return
        found = {}
        for one, entry in zip(urls, results, strict=False):
            if "result" not in entry:
                return
            found[one] = entry["result"]
        self.stored |= found


@pytest.mark.parametrize("release", ["1.8.2.post1", "1.12.1"])
def test_tasks_that_fail_cost_the_others_nothing(serve, release):
    studio = OldLabelStudio(serve(), f"heartex/{release}")
    studio.retrieve(URLS)
    assert sorted(studio.stored) == [1, 3, 5]
    assert all(studio.stored.values())


def test_where_none_fails_all_are_stored_at_once(serve):
    studio = OldLabelStudio(serve())
    studio.retrieve({1: "frame-1", 2: "blank-2", 3: "frame-3"})
    assert studio.asked == [[1, 2, 3]]
    assert [len(result) for result in studio.stored.values()] == [2, 0, 2]


def test_where_all_fail_each_is_asked_for_once(serve):
    studio = OldLabelStudio(serve())
    studio.retrieve({1: "missing-1", 2: "missing-2"})
    assert studio.stored == {}
    assert studio.asked == [[1, 2]]


def test_a_task_that_fails_alone_is_answered_without_entries(serve):
    # Its `predict_one_task` would take any entry for an object.
    assert OldLabelStudio(serve()).predict([2], URLS) == []


def test_a_smart_tool_gets_an_object_all_the_same(serve):
    drawn = {"type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 5, "height": 5}}
    context = {"params": {"context": {"result": [drawn]}}}
    [entry] = OldLabelStudio(serve()).predict([2], URLS, **context)
    assert entry["result"] == []


def test_the_next_click_asks_again_for_what_failed(serve):
    studio = OldLabelStudio(serve())
    studio.retrieve({1: "frame-1", 2: "missing-2"})
    assert sorted(studio.stored) == [1]
    studio.retrieve({2: "frame-2"})
    assert sorted(studio.stored) == [1, 2]


@pytest.mark.parametrize(
    ("user_agent", "taken"),
    [
        ("", True),
        ("heartex/", True),
        ("heartex/0.9.1", False),
        ("heartex/1.8.2.post1", False),
        ("heartex/1.12.1", False),
        ("heartex/1.13.0", True),
        ("heartex/1.13.0.dev1", True),
        ("heartex/1.23.2", True),
        ("heartex/2.0.0", True),
        ("curl/1.2.3", True),
    ],
)
def test_who_takes_gaps_is_told_by_the_release(user_agent, taken):
    assert are_taken(user_agent) is taken

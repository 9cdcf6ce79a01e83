import threading

import pytest

from prelabel.errors import NoSuchVersion, StoreUnavailable
from prelabel.store.learned import KEPT, LISTED, Active, LearnedVersions, Scope

HERE = Scope("http://studio.test", 7, 1_699_999_999)
REPORT = {"figures": {"iou": 0.8}}


@pytest.fixture
def versions(engine, clock):
    return LearnedVersions(engine, clock)


def add(versions, model, scope=HERE, *, activate=True):
    return versions.add(scope, model, f"digest of {model!r}", REPORT, activate=activate)


def test_nothing_is_learnt_at_first(versions):
    assert versions.active(HERE) is None
    assert versions.active_numbers() == {}
    assert versions.history(HERE) == []
    for call in (
        lambda: versions.show(HERE, 1),
        lambda: versions.activate(HERE, 1),
        lambda: versions.scope("http://studio.test", 7),
    ):
        with pytest.raises(NoSuchVersion, match="project 7"):
            call()


def test_what_was_learnt_answers_until_the_next_does(versions):
    assert add(versions, b"first") == 1
    assert versions.active(HERE) == Active(1, "digest of b'first'", b"first", REPORT)
    assert add(versions, b"second") == 2
    assert versions.active(HERE).model == b"second"
    assert versions.active_numbers() == {HERE: 2}


def test_what_is_refused_is_kept_but_does_not_answer(versions):
    add(versions, b"first")
    assert add(versions, b"worse", activate=False) == 2
    assert versions.active_numbers() == {HERE: 1}
    versions.activate(HERE, 2)
    assert versions.active_numbers() == {HERE: 2}


def test_the_same_learnt_again_is_no_new_version(versions):
    assert [add(versions, b"first"), add(versions, b"first")] == [1, 1]
    assert add(versions, b"worse", activate=False) == 2
    assert add(versions, b"worse", activate=False) == 2
    assert len(versions.history(HERE)) == 2


def test_what_once_answered_is_a_new_version_when_it_is_learnt_again(versions):
    add(versions, b"first")
    add(versions, b"second")
    assert add(versions, b"first") == 3


def test_projects_do_not_meddle_with_each_other(versions):
    made_anew = Scope(HERE.url, HERE.project, HERE.created + 1)
    elsewhere = Scope("http://other.test", HERE.project, HERE.created + 2)
    for scope in (HERE, made_anew, elsewhere):
        assert add(versions, b"first", scope) == 1
    add(versions, b"second", made_anew)
    assert versions.active_numbers() == {HERE: 1, made_anew: 2, elsewhere: 1}
    assert versions.scope(HERE.url, HERE.project) == made_anew


def test_numbers_go_on_where_label_studio_moves_to_another_address(versions):
    add(versions, b"first")
    add(versions, b"second")
    moved = Scope("https://studio.example", HERE.project, HERE.created)
    assert versions.active(moved) is None
    assert add(versions, b"first", moved) == 3
    assert add(versions, b"more", moved) == 4
    assert versions.active_numbers() == {HERE: 2, moved: 4}


def test_projects_of_unknown_age_count_for_themselves(versions):
    for url in ("http://studio.test", "http://other.test"):
        assert add(versions, b"first", Scope(url, 7, 0)) == 1


def test_the_history_tells_when_and_what_newest_first(versions, clock):
    add(versions, b"first")
    clock.now += 60
    add(versions, b"second")
    newest, oldest = versions.history(HERE)
    assert (newest.version, newest.active, newest.kept, newest.report) == (2, True, True, REPORT)
    assert (newest.created - oldest.created).total_seconds() == 60
    assert versions.show(HERE, 1) == oldest


def test_an_earlier_version_can_answer_again(versions):
    add(versions, b"first")
    add(versions, b"second")
    versions.activate(HERE, 1)
    assert versions.active(HERE).model == b"first"
    assert [row.active for row in versions.history(HERE)] == [False, True]


def test_going_back_to_what_is_not_there_changes_nothing(versions):
    add(versions, b"first")
    with pytest.raises(NoSuchVersion, match="version 2 of project 7"):
        versions.activate(HERE, 2)
    assert versions.active_numbers() == {HERE: 1}


def test_the_models_of_the_last_versions_are_kept_and_what_answered_before_them(versions):
    for number in range(1, KEPT + 6):
        add(versions, str(number).encode())
        versions.activate(HERE, min(number, 3))
    add(versions, b"last")
    versions.activate(HERE, 3)
    kept = {row.version for row in versions.history(HERE) if row.kept}
    assert kept == {3, *range(7, KEPT + 7)}
    assert len(versions.history(HERE)) == KEPT + 6
    with pytest.raises(NoSuchVersion):
        versions.activate(HERE, 1)


def test_what_is_long_past_is_forgotten_but_not_what_answers(versions):
    add(versions, b"good")
    for number in range(2, LISTED + 11):
        add(versions, str(number).encode(), activate=False)
    listed = [row.version for row in versions.history(HERE)]
    assert listed == [*range(LISTED + 10, 10, -1), 1]
    assert [row.version for row in versions.history(HERE, 3)] == [*listed[:3], 1]
    assert versions.active(HERE).model == b"good"
    assert add(versions, b"better") == LISTED + 11
    with pytest.raises(NoSuchVersion):
        versions.show(HERE, 5)


def test_two_that_learn_at_once_get_two_numbers(versions):
    def learn(name):
        for number in range(10):
            add(versions, f"{name} {number}".encode())

    threads = [threading.Thread(target=learn, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = versions.history(HERE)
    assert [row.version for row in history] == list(range(20, 0, -1))
    assert sum(row.active for row in history) == 1


def test_two_that_go_back_at_once_leave_one_that_answers(versions):
    for number in (1, 2, 3):
        add(versions, str(number).encode())
    errors = []

    def go_back(version):
        for _ in range(30):
            try:
                versions.activate(HERE, version)
            except Exception as error:  # noqa: BLE001 - a thread's own would be lost
                errors.append(error)

    threads = [threading.Thread(target=go_back, args=(version,)) for version in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(row.active for row in versions.history(HERE)) == 1


@pytest.mark.parametrize(
    "scope", [Scope("", 1, 0), HERE, Scope("https://studio.test/label#studio", 12, 5)]
)
def test_a_scope_is_read_as_it_was_written(scope):
    assert Scope.read(str(scope)) == scope


def test_a_database_that_is_away_has_a_name_and_a_next_step(versions, take_away):
    take_away()
    for call in (
        lambda: versions.active(HERE),
        versions.active_numbers,
        lambda: add(versions, b"first"),
        lambda: versions.activate(HERE, 1),
        lambda: versions.history(HERE),
        lambda: versions.scope("", 1),
    ):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()

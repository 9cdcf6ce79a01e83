"""Which image is to blame where a model hung, over the ends of processes."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from prelabel.errors import ModelError, ModelHangs, NotReached
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher, hang
from prelabel.runtime.hanging import Hang, Watch
from prelabel.runtime.memory import Memory
from prelabel.runtime.noted import Noted
from prelabel.runtime.remembered import REFUSED_S, Remembered
from prelabel.store.database import open_database
from prelabel.store.finding_bytes import Break, pack, unpack
from prelabel.store.findings import Findings
from prelabel.types import Ask, Detections

from .tar_pit import CATS, LIMIT_S, Model, images, kinds, until


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def findings(tmp_path):
    engine = open_database("", tmp_path)
    yield Findings(engine, 2**20)
    engine.dispose()


@pytest.fixture
def process(findings, clock, pool):
    """Starts what a server process has in front of its model; the one before is killed."""
    models, memories = [], []

    def start(**how):
        if memories:
            assert memories[-1].flush()
        models.append(Model(**how))
        memories.append(Memory(findings, clock=lambda: 1e9 + clock.now))
        watch = Watch(LIMIT_S, clock=lambda: clock.now, looks_by_itself=False)
        queue = BatchQueue(Noted(models[-1], memories[-1]), watch=watch)

        def stick(*names):
            answer = pool.submit(remembered.predict, images(*names), CATS)
            until(lambda: any("tar" in name for name in models[-1].begun.get(timeout=5)))
            clock.now += LIMIT_S
            watch.look()
            return answer.result(60)

        remembered = Remembered(Batcher(queue), memories[-1])

        def come_back(error=None):
            models[-1].error = error
            models[-1].may_go_on.set()
            until(lambda: hang(remembered) is None)

        return SimpleNamespace(
            model=models[-1],
            ask=lambda asked: remembered.predict(asked, CATS),
            stick=stick,
            come_back=come_back,
        )

    yield start
    for model in models:
        model.may_go_on.set()
    for memory in memories:
        memory.close()


def test_an_image_on_which_a_model_hangs_alone_in_two_processes_is_left_out(process):
    for _ in range(2):
        assert kinds(process().stick("tar")) == [ModelHangs]
    third = process()
    left_out, other = third.ask(images("tar", "a"))
    assert "was left out because it broke model 2 times: hung on it for over 600 s" in str(left_out)
    assert kinds([left_out, other]) == [ModelError, Detections]
    assert third.model.batches() == [["a"]]


def test_after_a_batch_of_several_each_suspect_is_asked_for_by_itself(process):
    process().stick("a", "tar", "b")
    second = process()
    entries = second.stick("a", "fresh", "b", "tar")
    assert kinds(entries) == [Detections, Detections, Detections, ModelHangs]
    third = process()
    assert kinds(third.ask(images("a", "b", "tar"))) == [Detections, Detections, ModelError]
    assert third.model.batches() == []


def test_a_suspect_shares_no_batch_with_what_others_ask_for(process, pool):
    process().stick("a", "b", "tar")
    second = process(batch_size=8)
    blocked = pool.submit(second.ask, images("tar first"))
    assert second.model.begun.get(timeout=5) == ["tar first"]
    answers = [pool.submit(second.ask, images(*names)) for names in ("ab", "cd", "ef")]
    second.model.may_go_on.set()
    for answer in (blocked, *answers):
        answer.result(60)
    batches = second.model.batches()
    assert ["a"] in batches
    assert ["b"] in batches


def test_one_who_was_in_the_batch_and_is_not_to_blame_is_never_left_out(process):
    process().stick("a", "tar")
    process().stick("tar", "a")
    for _ in range(3):
        assert kinds(process().ask(images("a"))) == [Detections]


def test_after_an_hour_it_is_tried_again_by_itself(process, clock):
    for _ in range(2):
        process().stick("tar")
    clock.now += REFUSED_S
    assert kinds(process().stick("a", "tar")) == [Detections, ModelHangs]
    assert "3 times" in str(process().ask(images("tar"))[0])


def test_what_a_model_finds_after_it_hung_is_kept(process):
    first = process()
    first.stick("tar", "a")
    first.come_back()
    second = process()
    assert kinds(second.ask(images("tar", "a"))) == [Detections] * 2
    assert second.model.batches() == []


def test_what_was_noted_is_taken_back_when_the_model_comes_back_with_nothing(process):
    for _ in range(3):
        one = process()
        assert kinds(one.stick("tar")) == [ModelHangs]  # and not left out the third time
        one.come_back(NotReached("model", "was busy", "Wait."))


def test_hangs_of_which_it_did_not_come_back_still_count_when_it_comes_back_once(process):
    process().stick("tar")
    second = process()
    second.stick("tar")
    second.come_back(NotReached("model", "was busy", "Wait."))
    assert kinds(process().stick("tar")) == [ModelHangs]  # which is the second that counts
    assert kinds(process().ask(images("tar"))) == [ModelError]


def test_where_an_annotator_points_nothing_is_noted(findings):
    memory = Memory(findings)
    pointed = Ask(CATS.phrases, at_xy=((0.0, 0.0),))
    known = Hang("model", ("a",), None, LIMIT_S)
    Noted(Model(), memory).hangs(images("a"), pointed, known)()
    assert memory.flush()
    assert findings.size == 0
    memory.close()


def test_a_hang_is_stored_and_a_break_of_before_is_read_as_none():
    one = Break(2, "hung", 5.0, is_hang=True)
    assert unpack(pack(one)) == one
    assert not unpack(pack(Break(1, "broke", 5.0))).is_hang

"""The prediction store: what goes in comes out, it stays small, and rubbish in it hurts nobody."""

import threading
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, insert, select, update

from prelabel.errors import StoreUnavailable
from prelabel.store.database import open_database
from prelabel.store.finding_bytes import Break, pack, unpack
from prelabel.store.findings import Findings, _table, size_on_disk
from prelabel.types import BODY_PARTS, Detections, Poses

MB = 1024 * 1024
FOUND = Detections(
    np.array([[1, 2, 3, 4.5]], np.float32), np.array([0.25], np.float32), ("hand",), ("face",), "m"
)


def key(number):
    return number.to_bytes(32, "big")


def contents(finding):
    """A finding as plain values that can be compared; bit for bit."""
    names = type(finding).__dataclass_fields__
    values = {name: getattr(finding, name) for name in names}
    return type(finding), {
        name: (value.dtype, value.shape, value.tobytes()) if hasattr(value, "dtype") else value
        for name, value in values.items()
    }


texts = st.text(st.characters(), max_size=6)  # lone surrogates, too: task data has anything
attributes = st.dictionaries(texts, st.lists(texts, max_size=2).map(tuple), max_size=2)


@st.composite
def detections(draw):
    count = draw(st.integers(0, 4))
    rows = st.tuples(*[st.floats(0, 999, width=32)] * 2, *[st.floats(1, 999, width=32)] * 2)
    several = {"min_size": count, "max_size": count}
    boxes = np.array(draw(st.lists(rows, **several)), np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    scores = draw(st.lists(st.floats(0, 1, width=32), **several))
    parts = draw(st.lists(st.sampled_from([None, *BODY_PARTS]), **several))
    return Detections(
        boxes,
        np.array(scores, np.float32),
        tuple(draw(st.lists(texts, **several))),
        tuple(parts),
        draw(texts),
        tuple(draw(st.one_of(st.just([]), st.lists(texts, **several)))),
        tuple(draw(st.one_of(st.just([]), st.lists(attributes, **several)))),
        tuple(draw(st.one_of(st.just([]), st.lists(st.floats(-180, 180), **several)))),
    )


@st.composite
def poses(draw):
    count, points = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    random = np.random.default_rng(draw(st.integers(0, 99)))

    def some(*shape):
        return random.normal(0, 1e4, shape).astype(np.float32)

    arrays = some(count, 4), some(count), some(count, points, 2), some(count, points)
    return Poses(*arrays, draw(texts))


@given(
    st.one_of(detections(), poses(), st.builds(Break, st.integers(1, 9), texts, st.floats(0, 9e9)))
)
def test_a_finding_comes_back_to_the_last_bit(finding):
    assert contents(unpack(pack(finding))) == contents(finding)


def test_nothing_found_is_remembered_as_that():
    assert len(unpack(pack(Detections.none("m")))) == 0
    assert unpack(pack(Poses.none(133, "m"))).keypoints_xy.shape == (0, 133, 2)


def test_what_comes_back_may_be_written_to():
    unpack(pack(FOUND)).boxes_xyxy[0, 0] = 7


@given(st.binary(max_size=80))
def test_bytes_of_any_kind_are_no_finding_and_say_so(rubbish):
    with pytest.raises(ValueError, match="stored finding"):
        unpack(rubbish)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_finding_is_never_an_error_of_another_kind(place, change):
    blob = bytearray(pack(FOUND))
    blob[place % len(blob)] ^= change
    with suppress(ValueError):
        unpack(bytes(blob))


@pytest.mark.parametrize(
    "head", [b"[]", b"{}", b"null", b'{"count": -1}', b'{"count": 9, "source": "m"}', b"\xff"]
)
@pytest.mark.parametrize("kind", [b"D", b"P", b"B", b"?"])
def test_a_head_that_says_something_else_is_no_finding(kind, head):
    body = len(head).to_bytes(4, "little") + head
    with pytest.raises(ValueError, match=r"."):
        unpack(b"\x01" + kind + zlib.compress(body))


def test_a_row_that_unpacks_to_gigabytes_is_refused():
    with pytest.raises(ValueError, match="too large"):
        unpack(b"\x01D" + zlib.compress(bytes(100 * MB)))


@pytest.fixture
def findings(engine, clock):
    made = Findings(engine, MB, clock=clock)
    yield made
    made.close()


@pytest.fixture
def gone(findings, take_away):
    """Makes the database one that does not answer the store either."""

    def refuse(dialect, record, arguments, parameters):
        parameters["port"] = 1  # where nobody listens

    def begin():
        findings.close()
        take_away()
        if findings._engine.dialect.name == "postgresql":
            event.listen(findings._engine, "do_connect", refuse)

    return begin


def test_what_is_written_is_read_by_another_process(findings, open_again, clock):
    findings.write({key(1): FOUND, key(2): Break(1, "it is odd", 5.0)})
    other = Findings(open_again(), MB, clock=clock)
    found = other.read([key(1), key(2), key(3)])
    other.close()
    assert contents(found.findings[key(1)]) == contents(FOUND)
    assert found.findings[key(2)] == Break(1, "it is odd", 5.0)
    assert (set(found.findings), found.stale, found.broken) == ({key(1), key(2)}, [], [])


def test_what_is_written_again_takes_the_place_of_what_was_there(findings):
    findings.write({key(1): Break(1, "it is odd", 5.0)})
    findings.write({key(1): FOUND})
    assert contents(findings.read([key(1)]).findings[key(1)]) == contents(FOUND)


def test_nothing_asked_and_nothing_given_ask_nothing_of_the_database(findings, gone):
    gone()
    assert findings.read([]).findings == {}
    findings.write({})
    findings.forget([])
    findings.mark_used([])


@pytest.mark.parametrize("rubbish", [b"", b"\x01D", b"\x02D" + pack(FOUND)[2:], b"\x80\x04K\x01."])
def test_rows_of_another_version_or_damaged_ones_are_told_apart_and_forgotten(
    findings, engine, rubbish
):
    row = {"key": key(1), "content": rubbish, "size": 1, "made": 1.0, "used": 1.0}
    with engine.begin() as connection:
        connection.execute(insert(_table).values(row))
    found = findings.read([key(1)])
    assert (found.findings, found.broken) == ({}, [key(1)])
    findings.forget(found.broken)
    assert findings.read([key(1)]).broken == []


def test_a_use_is_written_down_once_in_an_hour(findings, clock):
    findings.write({key(1): FOUND})
    clock.now += 3000
    assert findings.read([key(1)]).stale == []
    clock.now += 1000
    assert findings.read([key(1)]).stale == [key(1)]
    findings.mark_used([key(1)])
    assert findings.read([key(1)]).stale == []


def rows_in(engine):
    with engine.connect() as connection:
        return {row.key: row.size for row in connection.execute(select(_table))}


def test_it_stays_below_its_limit_and_what_was_used_last_stays(findings, engine, clock):
    number = 0
    most = 2 * MB // size_on_disk(pack(FOUND))
    while number < most:
        clock.now += 1
        findings.write({key(n): FOUND for n in range(number, number + 100)})
        findings.mark_used([key(0)])
        number += 100
        if number % 1000 == 0:
            assert sum(rows_in(engine).values()) <= MB
    kept = rows_in(engine)
    assert sum(kept.values()) > 0.7 * MB
    assert {key(0), key(number - 1)} <= set(kept)
    assert key(1) not in kept
    assert findings.size >= sum(kept.values())


def test_it_stays_below_its_limit_however_many_processes_write(open_again, engine, clock):
    stores = [Findings(open_again(), MB, clock=clock) for _ in range(3)]
    failures = []

    def fill(place):
        try:
            for first in range(0, 3000, 100):
                numbers = range(10_000 * place + first, 10_000 * place + first + 100)
                stores[place].write({key(n): FOUND for n in numbers})
        except StoreUnavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=fill, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert failures == []
    assert 0.5 * MB < sum(rows_in(engine).values()) <= MB


def test_a_smaller_limit_holds_from_the_first_write_on(engine, open_again, clock):
    large = Findings(engine, 4 * MB, clock=clock)
    large.write({key(n): FOUND for n in range(8000)})
    large.close()
    small = Findings(open_again(), MB, clock=clock)
    small.write({key(9999): FOUND})
    small.close()
    assert sum(rows_in(engine).values()) <= MB


def test_what_would_take_all_the_room_is_not_kept(findings, engine):
    crowd = Poses(
        np.zeros((50, 4), np.float32),
        np.zeros(50, np.float32),
        np.random.default_rng(0).random((50, 133, 2), np.float32),
        np.zeros((50, 133), np.float32),
        "m",
    )
    findings.write({key(1): crowd, key(2): FOUND})
    assert set(rows_in(engine)) == {key(2)}


def test_rows_with_times_that_make_no_sense_are_used_and_mended(findings, engine, clock):
    findings.write({key(1): FOUND})
    with engine.begin() as connection:
        connection.execute(update(_table).values(used=clock.now + 9e9))
    assert findings.read([key(1)]).stale == [key(1)]


def test_a_database_that_is_away_is_one_that_does_not_answer(findings, gone):
    findings.write({key(1): FOUND})
    gone()
    for ask in (
        lambda: findings.read([key(1)]),
        lambda: findings.write({key(2): FOUND}),
        lambda: findings.mark_used([key(1)]),
        lambda: findings.forget([key(1)]),
    ):
        with pytest.raises(StoreUnavailable, match="go on without"):
            ask()


def test_its_size_on_disk_is_what_it_takes_for(tmp_path):
    engine = open_database("", tmp_path)
    findings = Findings(engine, 256 * MB)
    random = np.random.default_rng(0)
    for _ in range(20):
        poses = [random.random((2, 133, 2), np.float32) for _ in range(100)]
        people = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
        findings.write({random.bytes(32): Poses(*people, xy, xy[:, :, 0], "model") for xy in poses})
        findings.write({random.bytes(32): FOUND for _ in range(100)})
    findings.close()
    engine.dispose()
    assert (tmp_path / "prelabel.db").stat().st_size < 1.2 * findings.size

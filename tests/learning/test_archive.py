"""What was learnt as bytes, and back."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prelabel.learning.archive import dumps, loads
from prelabel.learning.frames import FrameKey
from prelabel.learning.marks import MarkedFrame
from prelabel.learning.packing import pack, unpack
from prelabel.learning.sequence import Learned, Options
from prelabel.types import Mark

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PIXELS = st.floats(0, 500, width=32)


@st.composite
def marks(draw):
    x, y = draw(PIXELS), draw(PIXELS)
    points = draw(st.lists(st.tuples(PIXELS, PIXELS, st.booleans()), max_size=3))
    return Mark(
        draw(WORDS), draw(WORDS), np.array([x, y, x + 5, y + 7], np.float32),
        draw(st.dictionaries(WORDS, st.lists(WORDS, max_size=2).map(tuple), max_size=2)),
        np.array([point[:2] for point in points], np.float32).reshape(-1, 2),
        np.array([point[2] for point in points], bool), draw(WORDS),
        draw(st.just(0.0) | st.floats(-180, 180)),
    )  # fmt: skip


FRAMES = st.lists(
    st.builds(
        MarkedFrame,
        st.builds(FrameKey, WORDS, st.integers(0, 10**15 - 1)),
        st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
        st.lists(marks(), max_size=3).map(tuple),
        st.binary(max_size=20),
    ),
    max_size=4,
)


def plain(frame):
    return (
        frame.key, frame.image_hw, frame.drawn,
        [(m.control, m.label, m.box_xyxy.tolist(), dict(m.attributes), m.points_xy.tolist(),
          m.points_seen.tolist(), m.track, m.turn) for m in frame.marks],
    )  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(FRAMES)
def test_what_is_packed_is_unpacked_exactly(frames):
    assert [plain(frame) for frame in unpack(pack(frames))] == [plain(frame) for frame in frames]


def test_angles_are_stored_only_where_a_box_is_turned(mark, frame):
    """A version of before there were any has the digest that it had."""
    assert "mark_turns" not in pack([frame(1, mark(10))])
    assert pack([frame(1, mark(10), mark(50, turn=8.0))])["mark_turns"].tolist() == [0, 8]


@pytest.fixture
def learned(mark, frame):
    frames = [frame(f, mark(100 + 3 * f, attributes={"body_part": ("hand",)}), mark(500))
              for f in range(0, 40, 4)]  # fmt: skip
    return Learned([*frames, frame(40)], Options("local_linear", 3, 5))


def test_what_was_stored_answers_as_before(learned):
    again = loads(dumps(learned))
    assert (again.digest, again.options) == (learned.digest, learned.options)
    for index in range(45):
        answers = [one.at(FrameKey("clip", index)) for one in (learned, again)]
        said = [
            answer
            and (
                answer.image_hw,
                answer.drawn,
                [
                    (c.confidence, c.mark.box_xyxy.tolist(), c.mark.attributes)
                    for c in answer.carried
                ],
            )
            for answer in answers
        ]
        assert said[0] == said[1]


def test_what_people_say_today_is_stored_too(learned, mark, frame):
    showing = learned.showing([replace(frame(8, mark(300)), task=5)])
    again = loads(dumps(showing))
    assert again.digest == showing.digest != learned.digest
    assert again.annotated_on(FrameKey("clip", 8)) == 5
    (drawn,) = again.at(FrameKey("clip", 8)).carried
    assert drawn.mark.box_xyxy[0] == 300


def test_equal_content_makes_equal_bytes(learned):
    assert dumps(learned) == dumps(loads(dumps(learned)))


def test_what_people_drew_is_compressed(mark, frame):
    drawn = b'{"type": "rectanglelabels"}' * 1000
    frames = [frame(f, mark(10), drawn=drawn) for f in range(10)]
    assert len(dumps(Learned(frames, Options()))) < len(drawn)


@pytest.mark.parametrize("blob", [b"", b"nonsense", b"PK\x03\x04 nonsense"])
def test_foreign_bytes_are_refused(blob):
    with pytest.raises(ValueError, match="not a stored sequence learner"):
        loads(blob)


def test_damaged_bytes_are_refused(learned):
    blob = dumps(learned)
    for damaged in (
        blob[:-30],
        blob[:200],
        blob[: len(blob) // 2] + b"\0" * 40 + blob[len(blob) // 2 + 40 :],
    ):
        with pytest.raises(ValueError, match="not a stored sequence learner"):
            loads(damaged)


def test_a_pickle_inside_is_never_opened():
    file = io.BytesIO()
    np.savez(file, about=np.array([{"format": 1}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        loads(file.getvalue())


def test_an_archive_of_another_kind_is_refused():
    file = io.BytesIO()
    np.savez(file, about=np.frombuffer(b'{"format": "weights"}', np.uint8))
    with pytest.raises(ValueError, match="weights"):
        loads(file.getvalue())

"""What was learnt of the frames that tasks show."""

from collections import Counter
from collections.abc import Mapping, Sequence

from prelabel.errors import TaskError
from prelabel.labelstudio.config import ImageTag
from prelabel.labelstudio.tasks import Task
from prelabel.learning.frames import FrameKey
from prelabel.learning.lessons import sequence_key
from prelabel.learning.marks import FrameAnswer
from prelabel.plan import Plan

Recalled = Mapping[str, FrameAnswer]
"""What was learnt of a task's frames, by the name of the image tag that shows them."""


class Recall:
    """Looks tasks up in what a plan was taught.

    Args:
        plan: The plan.
        known: All tasks of the request. A sequence of which one frame occurs twice among them
            holds two videos that are called the same, and nothing is recalled of it. The same
            goes for one of which a frame was annotated on another task than the one here.
    """

    def __init__(self, plan: Plan, known: Sequence[Task]) -> None:
        self._config = plan.config
        self._learned = plan.lesson.learned if plan.lesson else None
        self._images = {step.image for step in plan.steps}
        self._tags = {tag for tag in self._images if not tag.is_list}
        shown = [
            (key, task.number)
            for tag in self._tags
            for task in known
            if self._learned and (key := self._key(task, tag)) is not None
        ]
        counts = Counter(key for key, _ in shown)
        self._ambiguous = {key.sequence for key, count in counts.items() if count > 1} | {
            key.sequence for key, number in shown if self._is_of_another(key, number)
        }

    def of(self, task: Task) -> Recalled:
        """What was learnt of a task's frames; empty for a task in no learnt sequence."""
        recalled: dict[str, FrameAnswer] = {}
        if self._learned is not None:
            for tag in self._tags:
                key = self._key(task, tag)
                if (
                    key is not None
                    and key.sequence not in self._ambiguous
                    and not self._is_of_another(key, task.number)
                ):
                    answer = self._learned.at(key)
                    if answer is not None:
                        recalled[tag.name] = answer
        return recalled

    def drawn(self, recalled: Recalled) -> list[bytes] | None:
        """What people drew on a task themselves, by image; None where they did not annotate it.

        Of pages nothing is kept: a task that has some is looked at.
        """
        drawn = [answer.drawn for answer in recalled.values() if answer.drawn is not None]
        return drawn if drawn and len(drawn) == len(self._images) else None

    def _is_of_another(self, key: FrameKey, number: int | None) -> bool:
        """Whether a frame was annotated on another task than the one of this number."""
        annotated_on = self._learned.annotated_on(key) if self._learned else None
        return None not in (annotated_on, number) and annotated_on != number

    def _key(self, task: Task, tag: ImageTag) -> FrameKey | None:
        try:
            (uri,) = tag.uris(task.data)
        except TaskError:
            return None
        return sequence_key(task.data, uri, tag, self._config, task.inner_id, task.number)

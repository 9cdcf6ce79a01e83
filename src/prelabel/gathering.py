"""What a task's predictors look at: its images, with the frames beside them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol

import structlog

from prelabel.errors import NotReached, TaskError, consequence_of
from prelabel.labelstudio.config import ImageTag
from prelabel.labelstudio.tasks import Task
from prelabel.learning.frames import FrameKey, frame_key, neighbours
from prelabel.media.references import ImageReference, Origin
from prelabel.media.room import ImageRoom, Line
from prelabel.plan import Plan
from prelabel.runtime.clock import UNTIMED, Clock
from prelabel.runtime.deadline import Deadline
from prelabel.types import Image

log = structlog.get_logger(__name__)


class ImageSource(Protocol):
    """Where images come from."""

    def load(self, reference: ImageReference) -> Image:
        """The upright image at an address; TaskError where that is impossible."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """What a project's images may be fetched with."""

    login: str | None = None
    password: str | None = None
    label_studio: Origin | None = None

    def reference(self, uri: str, task_id: int | None) -> ImageReference:
        """The address of an image of a task, with what it may be fetched with."""
        return ImageReference(uri, task_id, self.login, self.password, self.label_studio)


@dataclass(frozen=True, slots=True)
class Studio:
    """The working parts that every run shares.

    Attributes:
        images: Where images come from.
        fetchers: Threads that fetch and decode.
        siblings: The tasks around a task in its project, for its neighbouring frames.
        ahead: How many tasks are fetched ahead of the predictor.
        clock: Times the stages of the way.
        room: Where images are counted, and no task is begun while it is full; None for no limit.
    """

    images: ImageSource
    fetchers: Executor
    siblings: Callable[[Task], Sequence[Task]]
    ahead: int = 8
    clock: Clock = UNTIMED
    room: ImageRoom | None = None


Pages = dict[str, list[tuple[int | None, Image]]]
"""The images of one task with their page, by the name of the image tag that shows them.

The page is None where the tag shows one image.
"""


class Gatherer:
    """Finds and loads what one task needs, with neighbouring frames where they help.

    Args:
        plan: What is to be found; its predictors are loaded.
        studio: The working parts.
        access: Credentials for the images.
        known: Tasks among which neighbouring frames are looked for first.
        deadline: No image is fetched after it.
    """

    def __init__(
        self,
        plan: Plan,
        studio: Studio,
        access: Access,
        known: Sequence[Task],
        deadline: Deadline,
    ) -> None:
        self._deadline = deadline
        self._plan = plan
        self._studio = studio
        self._access = access
        self._line = Line()
        wants_neighbours = any(step.predictor.wants_neighbours for step in plan.steps)
        self._beside = _Beside(known, studio.siblings) if wants_neighbours else None

    def hurry(self, *, is_empty_handed: bool) -> None:
        """Say whether none of the images that were loaded is left to look at."""
        if self._studio.room is not None and is_empty_handed:
            self._studio.room.hurry(self._line)

    def pages(self, index: int, task: Task) -> Pages:
        """The images of a task at which anything looks.

        Args:
            index: Its place in `known`, where that is not empty.
            task: The task.

        Raises:
            TaskError: One of them cannot be had.
        """
        if self._studio.room is not None:
            self._studio.room.wait(self._line, self._deadline.remaining_s())
        found: Pages = {}
        for tag in dict.fromkeys(step.image for step in self._plan.steps):
            uris = tag.uris(task.data)
            if tag.is_list:
                asked = {step.page for step in self._plan.steps if step.image == tag}
                found[tag.name] = [
                    (page, self._load(task, uri))
                    for page, uri in enumerate(uris)
                    if asked & {None, page}
                ]
                continue
            image = self._load(task, uris[0])
            if self._beside is not None:
                before, after = self._beside.frames(index, task, tag)
                image = replace(
                    image,
                    before=self._load_if_possible(before, tag),
                    after=self._load_if_possible(after, tag),
                )
            found[tag.name] = [(None, image)]
        return found

    def _load(self, task: Task, uri: str) -> Image:
        if self._deadline.passed:  # of a hundred pages, the rest need not be fetched any more
            raise not_reached(task, self._deadline)
        return self._studio.images.load(self._access.reference(uri, task.number))

    def _load_if_possible(self, task: Task | None, tag: ImageTag) -> Image | None:
        """A neighbouring frame; without it the image is still worth looking at.

        Raises:
            TaskError: It is there, but cannot be had just now: an answer without it would be
                stored for good.
        """
        if task is None:
            return None
        try:
            (uri,) = tag.uris(task.data)
            return self._load(task, uri)
        except TaskError as error:
            if consequence_of(error).retry:
                raise
            log.debug("neighbour not loaded", task=str(task), reason=str(error))
            return None


class _Beside:
    """Which tasks hold the frames before and after a task's own."""

    def __init__(self, known: Sequence[Task], siblings: Callable[[Task], Sequence[Task]]) -> None:
        self._known = known
        self._siblings = siblings
        self._of_tag: dict[ImageTag, list[tuple[int | None, int | None]]] = {}
        self._lock = Lock()

    def frames(self, index: int, task: Task, tag: ImageTag) -> tuple[Task | None, Task | None]:
        """The tasks before and after one: of those known, else of its project."""
        before, after = self._among_known(index, tag) if self._known else (None, None)
        if before is None or after is None:
            around = [task, *(other for other in self._siblings(task) if other.id != task.id)]
            far_before, far_after = neighbours([frame_of(other, tag) for other in around])[0]
            return before or _pick(around, far_before), after or _pick(around, far_after)
        return before, after

    def _among_known(self, index: int, tag: ImageTag) -> tuple[Task | None, Task | None]:
        with self._lock:
            if tag not in self._of_tag:
                self._of_tag[tag] = neighbours([frame_of(task, tag) for task in self._known])
            before, after = self._of_tag[tag][index]
        return _pick(self._known, before), _pick(self._known, after)


def _pick(tasks: Sequence[Task], index: int | None) -> Task | None:
    return None if index is None else tasks[index]


def frame_of(task: Task, tag: ImageTag) -> FrameKey | None:
    """The frame that a task shows under an image tag, or None where that cannot be told."""
    try:
        uri = tag.uris(task.data)[0]
    except TaskError:
        return None
    return frame_key(task.data, uri, inner_id=task.inner_id, task_id=task.number)


def not_reached(task: Task, deadline: Deadline) -> NotReached:
    """The outcome of a task whose turn did not come."""
    cause = f"the time budget of {deadline.budget_s:g} s ended before its turn"
    if not deadline.passed:
        cause = "the server stopped, or nobody waited for the answer any more, before its turn"
    return NotReached(
        str(task),
        cause,
        "Retrieve predictions again: tasks that are done are not asked for twice.",
    )

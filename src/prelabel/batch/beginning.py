"""The first tasks of a run: where all fail for one same reason, so would those behind them."""

from prelabel.errors import (
    ImageMissing,
    ImageRefused,
    ImageUnreachable,
    OperatorError,
    PrelabelError,
    consequence_of,
)
from prelabel.labelstudio.tasks import Task
from prelabel.pipeline import Outcome

ALIKE = 50
"""After so many failures alike, and nothing else, a run ends."""

_OF_THE_WHOLE = (ImageMissing, ImageRefused, ImageUnreachable)
"""What an address, a login or a setting that all tasks share can be to blame for. An image that is
damaged, or too large, is so by itself; what may pass is tried again, and no reason to end."""


class Beginning:
    """Holds outcomes back for as long as a run has seen but one and the same failure.

    Args:
        is_over: Whether nothing is held back.
    """

    def __init__(self, *, is_over: bool) -> None:
        self._is_over = is_over
        self._held: list[tuple[Task, PrelabelError]] = []

    def after(self, task: Task, outcome: Outcome) -> list[tuple[Task, Outcome]]:
        """What is certain now that this outcome is known: nothing, or it and all before it.

        Raises:
            OperatorError: It is the failure of the first `ALIKE` tasks, which are still held.
        """
        if self._is_over:
            return [(task, outcome)]
        if not (isinstance(outcome, _OF_THE_WHOLE) and self._may_be_of_all(outcome)):
            return [*self.end(), (task, outcome)]
        self._held.append((task, outcome))
        if len(self._held) == ALIKE:
            raise OperatorError(
                f"the first {ALIKE} tasks",
                f"all failed in the same way: {outcome.cause}",
                f"{outcome.next_step} Then run the same command again. "
                "With --max-failures a run goes on in spite of this.",
            )
        return []

    def end(self) -> list[tuple[Task, Outcome]]:
        """Hold nothing back any more; gives what was held."""
        self._is_over = True
        held, self._held = self._held, []
        return [*held]

    def _may_be_of_all(self, error: PrelabelError) -> bool:
        lasts = not consequence_of(error).retry
        return lasts and all(_meaning(error) == _meaning(first) for _, first in self._held[:1])


def _meaning(error: PrelabelError) -> tuple[type, str, str]:
    return type(error), error.cause, error.next_step

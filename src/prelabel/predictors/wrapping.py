"""What every wrapper of a predictor says of the one behind it."""

from prelabel.predictors.base import Predictor, calls_at_once, why_blind
from prelabel.types import Ask


class Wrapping:
    """All of a `Predictor` but `predict`, as the one behind it has it.

    Args:
        predictor: What is wrapped.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def name(self) -> str:
        """Its name."""
        return self._predictor.name

    @property
    def fingerprint(self) -> str:
        """Its fingerprint."""
        return self._predictor.fingerprint

    @property
    def wants_neighbours(self) -> bool:
        """Whether it looks at neighbouring frames."""
        return self._predictor.wants_neighbours

    @property
    def batch_size(self) -> int:
        """How many images pay off in one batch."""
        return self._predictor.batch_size

    @property
    def calls_at_once(self) -> int:
        """How many calls at the same time pay off."""
        return calls_at_once(self._predictor)

    def why_blind(self, ask: Ask) -> str:
        """Why it can find nothing of what is asked."""
        return why_blind(self._predictor, ask)

    def check(self) -> None:
        """Check it."""
        self._predictor.check()

    def load(self) -> None:
        """Load it."""
        self._predictor.load()

    def health(self) -> dict[str, object]:
        """Its health."""
        return self._predictor.health()

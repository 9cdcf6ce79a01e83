"""Values of labels that callers could choose: only so many of them become series."""

OTHER = "other"
MOST_LABELS = 50
"""Labels of regions that have series of their own; of Prometheus' memory each takes its part."""
LONGEST = 100
"""Characters of a value."""


class Bounded:
    """The first values seen keep their names; all later ones share one.

    Threads may share it: in a race one value too many gets in, and no more.
    """

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._known: set[str] = set()

    def name(self, value: str) -> str:
        """The value, cut where it is too long, or `OTHER` where there are too many already."""
        value = value[:LONGEST]
        if value in self._known:
            return value
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value

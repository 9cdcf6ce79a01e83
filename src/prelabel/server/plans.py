"""The plans of the label configs that came last; a caller may send configs of any size."""

from collections import OrderedDict
from threading import Lock

from prelabel.errors import InvalidRequest
from prelabel.plan import Plan, Predictors, make_plan

LONGEST_CONFIG = 2_000_000
"""Characters; 20,000 labels are half of it. It is read in seconds in which nobody is answered."""

_MOST_PLANS = 256
_MOST_CHARACTERS = 2 * LONGEST_CONFIG
"""Of the configs whose plans are kept; a plan may take twenty times as many bytes."""


class Plans:
    """Makes plans, and keeps the latest. Threads may share it.

    Args:
        predictors: What the plans ask.
    """

    def __init__(self, predictors: Predictors) -> None:
        self._predictors = predictors
        self._kept: OrderedDict[str, Plan] = OrderedDict()
        self._lock = Lock()

    def __call__(self, label_config: str) -> Plan:
        """The plan of a label config.

        Raises:
            InvalidRequest: The label config cannot be read, or is longer than `LONGEST_CONFIG`.
        """
        if len(label_config) > LONGEST_CONFIG:
            raise InvalidRequest(
                "label config",
                f"has {len(label_config):,} characters, and at most {LONGEST_CONFIG:,} are read",
                'Shorten it; long lists of choices can come with the tasks (value="$choices").',
            )
        with self._lock:
            if (kept := self._kept.get(label_config)) is not None:
                self._kept.move_to_end(label_config)
                return kept
        plan = make_plan(label_config, self._predictors)
        with self._lock:
            self._kept[label_config] = plan
            while len(self._kept) > _MOST_PLANS or sum(map(len, self._kept)) > _MOST_CHARACTERS:
                self._kept.popitem(last=False)
        return plan

"""Whether the models of this process come back, as probes and people are told."""

from collections.abc import Mapping

from prelabel.predictors.base import Predictor
from prelabel.runtime.batcher import hang
from prelabel.runtime.hanging import Hang


def hang_of(predictors: Mapping[str, Predictor]) -> Hang | None:
    """The call from which one of these does not come back, if there is one; never waits."""
    return next((found for one in predictors.values() if (found := hang(one))), None)


def standing(predictors: Mapping[str, Predictor]) -> dict[str, object]:
    """What `/health` says first: `status`, and the `reason` where it is not `ok`."""
    found = hang_of(predictors)
    return {"status": "degraded", "reason": str(found)} if found else {"status": "ok"}

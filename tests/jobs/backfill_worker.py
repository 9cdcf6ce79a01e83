"""A process that does backfills and their ranges, with a model that sleeps, until it is ended."""

import sys
import time
from pathlib import Path

from tests.batch.conftest import LEGACY
from tests.jobs.backfilling import Finder, means_with

from prelabel.jobs.backfill import Backfill
from prelabel.jobs.backfill_range import KIND as RANGE
from prelabel.jobs.backfill_range import RangePrediction
from prelabel.jobs.local import LocalRunner
from prelabel.jobs.retrieves import KIND
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.runtime.batch_queue import BatchQueue
from prelabel.runtime.batcher import Batcher
from prelabel.store.database import open_database

_POLL_S = 0.05


def main():
    """Take where everything is from the command line, and work."""
    database_url, redis_url, studio_url, shared, own, model_s, lease_s = sys.argv[1:]
    looked_at = (Path(own) / "looked-at").open("a", buffering=1)

    def look(image):
        looked_at.write(f"{image.name}\n")
        time.sleep(float(model_s))

    studio = LabelStudio(studio_url, token=LEGACY)
    queued = Batcher(BatchQueue(Finder(before=look)))
    engine = open_database(database_url, Path(shared))
    means = means_with(engine, studio, queued, Path(own), chunk=50)

    def runner(kind, work, threads):
        how = {"threads": threads, "poll_s": _POLL_S, "lease_s": float(lease_s)}
        if not redis_url:
            return LocalRunner(means.jobs, {kind: work}, **how)
        from prelabel.jobs.distributed import (  # noqa: PLC0415 - without Redis none is needed
            DistributedRunner,
            open_queue,
        )

        return DistributedRunner(means.jobs, {kind: work}, open_queue(redis_url, kind), **how)

    ranges = runner(RANGE, RangePrediction(means), 1)
    ranges.start()
    runner(KIND, Backfill(means, ranges.wake), 1).start()
    time.sleep(600)


if __name__ == "__main__":
    main()

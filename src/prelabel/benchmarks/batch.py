"""The batch run against a Label Studio of its own: upload, pipeline and memory."""

import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from prelabel.benchmarks import paced
from prelabel.benchmarks.batch_pipeline import Site, memory, pipeline
from prelabel.benchmarks.batch_upload import upload
from prelabel.benchmarks.own_studio import own_studio
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.logs import configure
from prelabel.predictors.sessions import require_known

PARTS = ("upload", "pipeline", "memory")


def batch(
    parts: Sequence[str], executable: Path | None, runs: int, uploads: int, tasks: int, many: int
) -> None:
    """Measure parts of a batch run, beside what people do without prelabel.

    Args:
        parts: Of `PARTS`; empty for all.
        executable: The label-studio program.
        runs: Timed runs of each row.
        uploads: Predictions of one upload.
        tasks: Of one run through the pipeline.
        many: Tasks of the longer run whose memory is measured.
    """
    for part in parts:
        require_known("--part", part, PARTS)
    configure("WARNING", "console")
    with tempfile.TemporaryDirectory() as folder, _site(Path(folder), executable) as site:
        print(_method(site.studio))
        if not parts or "upload" in parts:
            upload(site.studio, uploads, runs)
        if not parts or "pipeline" in parts:
            pipeline(site, tasks, runs)
        if not parts or "memory" in parts:
            memory(site, many)


@contextmanager
def _site(folder: Path, executable: Path | None) -> Iterator[Site]:
    """A new Label Studio on SQLite, and the models that runs are made with."""
    with (
        own_studio(folder, executable) as (url, token),
        LabelStudio(url, token=token, timeout_s=300) as studio,
        paced.offered_in(folder) as settings,
    ):
        yield Site(studio, token, folder, settings)


def _method(studio: LabelStudio) -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"machine: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {load}; "
        f"Python {platform.python_version()}, numpy {version('numpy')}, "
        f"opencv {version('opencv-python-headless')}"
        f"\nLabel Studio {studio.version()} on SQLite, of its own, on loopback, on the same cores"
        "\nrates are medians over runs; in brackets the slowest and the fastest"
    )

"""`prelabel bench`: measurements on this machine; each prints its method with its figures."""

from pathlib import Path
from typing import Annotated

import typer

from prelabel.cli.options import Executable

bench = typer.Typer(help="Measure on this machine.", no_args_is_help=True)


@bench.command()
def server(
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of each measurement.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1, help="For the throughput.")] = 8,
    model: Annotated[
        str | None,
        typer.Option(help="Grounding DINO hub id or folder; without it, random weights."),
    ] = None,
) -> None:
    """How fast the server answers, idle and while a model works."""
    from prelabel.benchmarks.server import server as measure

    measure(seconds, connections, model)


@bench.command()
def detect(
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each row.")] = 3,
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or folder; without it, random weights of grounding-dino-tiny."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image file; without it, noise of 1920 x 1080.", exists=True, dir_okay=False
        ),
    ] = None,
) -> None:
    """Grounding DINO at 480 and 800 pixels, against transformers' own pipeline."""
    from prelabel.benchmarks.detect import detect as measure

    measure(runs, model, device, image)


@bench.command()
def artifacts(
    draws: Annotated[int, typer.Option(min=1, help="Frames drawn for each row.")] = 40,
    seed: Annotated[int, typer.Option(help="Of the draws and the damage.")] = 0,
) -> None:
    """What the OpenCV detector makes of damage planted in real clips."""
    from prelabel.benchmarks.artifacts import artifacts as measure

    measure(draws, seed)


@bench.command()
def pose(
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each row.")] = 5,
    models: Annotated[
        list[str] | None, typer.Option("--models", help="embedded, balanced, lightweight.")
    ] = None,
    people: Annotated[
        list[int] | None, typer.Option("--people", min=1, help="Persons per image.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or mps.")] = "cpu",
    busy: Annotated[
        bool, typer.Option(help="Keep one core busy with another process meanwhile.")
    ] = False,
) -> None:
    """Detector and pose per image, against plain rtmlib on the same weights."""
    from prelabel.benchmarks.pose import pose as measure

    measure(runs, models or [], people or [], device, busy=busy)


@bench.command()
def sequence(
    speed: Annotated[
        bool, typer.Option(help="Also time training and answers on made-up tracks.")
    ] = True,
) -> None:
    """The sequence learner on real tracks, against copying, interpolation and plain KNN."""
    from prelabel.benchmarks.sequence import sequence as measure

    measure(speed=speed)


@bench.command()
def load(
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 8.0,
    clients: Annotated[int, typer.Option(min=1, help="Clients that come at once.")] = 1000,
    replicas: Annotated[int, typer.Option(min=2, help="Servers, against one.")] = 3,
) -> None:
    """How the server stands up to more work than it can do, with a model that sleeps."""
    from prelabel.benchmarks.load import load as measure
    from prelabel.logs import configure

    configure("WARNING", "console")  # a line for each server started would stand between figures
    measure(seconds, clients, replicas)


@bench.command()
def memory(
    images: Annotated[int, typer.Option(min=100, help="How many; none of them twice.")] = 10_000,
    model: Annotated[
        str, typer.Option(help="Predictor of boxes; paced-instant takes no time.")
    ] = "opencv-fallback",
) -> None:
    """Whether a server's memory grows with the images that it has seen; exit code 1 if so."""
    from prelabel.benchmarks.memory import memory as measure
    from prelabel.logs import configure

    configure("WARNING", "console")
    if not measure(images, model):
        raise typer.Exit(1)


@bench.command()
def batch(
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", help="upload, pipeline or memory; may be given several times."),
    ] = None,
    label_studio: Executable = None,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of each row.")] = 3,
    uploads: Annotated[int, typer.Option(min=1, help="Predictions of one upload.")] = 2000,
    tasks: Annotated[int, typer.Option(min=4, help="Tasks of one run of the pipeline.")] = 600,
    many: Annotated[int, typer.Option(min=1, help="Tasks of the run for memory.")] = 10_000,
) -> None:
    """Upload, pipeline and memory of a batch run, beside the plain way and a plain bulk import."""
    from prelabel.benchmarks.batch import batch as measure

    measure(parts or [], label_studio, runs, uploads, tasks, many)

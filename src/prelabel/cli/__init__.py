"""The `prelabel` command. Each command has a file of its own and imports what it needs inside."""

import errno
import sys
from typing import Annotated, NoReturn

import typer

from prelabel import __version__
from prelabel.cli.bench import bench
from prelabel.cli.config import config
from prelabel.cli.connect import connect
from prelabel.cli.demo import demo
from prelabel.cli.doctor import doctor
from prelabel.cli.evaluate import evaluate
from prelabel.cli.export import export
from prelabel.cli.learned import learned
from prelabel.cli.models import models
from prelabel.cli.predictions import predictions
from prelabel.cli.preview import preview
from prelabel.cli.run import run
from prelabel.cli.serve import serve
from prelabel.cli.studio import studio
from prelabel.cli.train import train
from prelabel.cli.warmup import warmup
from prelabel.cli.worker import worker
from prelabel.errors import MissingPackage, OperatorError, PrelabelError, consequence_of

app = typer.Typer(
    help="Pre-annotation for Label Studio.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are brackets
)
app.command()(serve)
app.command()(worker)
app.command()(warmup)
app.command()(connect)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(studio)
app.command()(demo)
app.command()(doctor)
app.command()(preview)
app.command()(run)
app.command()(train)
app.command()(export)

app.add_typer(evaluate, name="evaluate")
app.add_typer(learned, name="learned")
app.add_typer(config, name="config")
app.add_typer(models, name="models")
app.add_typer(predictions, name="predictions")
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"prelabel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Pre-annotation for Label Studio: boxes and whole-body keypoints before anyone draws."""
    del version


def main() -> None:
    """Run a command; a failure that has a name ends in one line and its own exit code."""
    try:
        app()
    except PrelabelError as error:
        _end(error)
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "prelabel":
            raise  # a defect of ours
        step = "Install it; `prelabel doctor` names the extras of prelabel that bring more."
        _end(MissingPackage(error.name, "it is not installed", step))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise  # a defect of ours
        place = error.filename or "what the command writes"
        _end(OperatorError(str(place), "the disk is full", "Make room there, and run it again."))


def _end(error: PrelabelError) -> NoReturn:
    print(f"prelabel: {error}", file=sys.stderr)
    sys.exit(consequence_of(error).exit_code)

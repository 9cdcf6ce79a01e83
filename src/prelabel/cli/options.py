"""Options that several commands have, each written once."""

from pathlib import Path
from typing import Annotated

import typer

LabelStudioUrl = Annotated[
    str | None,
    typer.Option("--url", help="Label Studio (default: LABEL_STUDIO_URL, else localhost:8080)."),
]
ServedUrl = Annotated[
    str | None,
    typer.Option(
        "--url", help="Label Studio, as the server is told it (default: LABEL_STUDIO_URL)."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", help="A token of any kind (default: LABEL_STUDIO_API_KEY)."),
]
ProjectId = Annotated[
    int | None, typer.Option("--project", help="Id of a project in Label Studio.")
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--label-config", help="The label config of that file.", exists=True, dir_okay=False
    ),
]

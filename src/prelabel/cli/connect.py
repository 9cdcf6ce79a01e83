"""`prelabel connect`: finds or makes a project in Label Studio and attaches the backend."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prelabel.cli.options import AsJson, LabelStudioUrl, Token, label_config_of, ready

if TYPE_CHECKING:
    from prelabel.labelstudio_api.backends import Connection, Trial
    from prelabel.settings import Settings


def connect(
    *,
    url: LabelStudioUrl = None,
    token: Token = None,
    username: Annotated[
        str | None,
        typer.Option(help="Login where there is no token. (default: LABEL_STUDIO_USERNAME)"),
    ] = None,
    password: Annotated[
        str | None, typer.Option(help="Its password. (default: LABEL_STUDIO_PASSWORD)")
    ] = None,
    project_title: Annotated[
        str, typer.Option(help="The project to find by its title, or to make.")
    ] = "Body distortion",
    project_id: Annotated[
        int | None, typer.Option(help="The project itself; goes before the title.")
    ] = None,
    label_config: Annotated[
        Path | None,
        typer.Option(
            help="Label config of a project that is made. (default: the shipped one)",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    backend_url: Annotated[
        str | None,
        typer.Option(
            help="The backend's address as Label Studio sees it. "
            "(default: http://localhost:9090, https where SSL_CERTFILE is set)"
        ),
    ] = None,
    basic_auth_user: Annotated[
        str | None, typer.Option(help="User of the backend. (default: BASIC_AUTH_USER)")
    ] = None,
    basic_auth_pass: Annotated[
        str | None, typer.Option(help="Its password. (default: BASIC_AUTH_PASS)")
    ] = None,
    test_predict: Annotated[
        bool,
        typer.Option("--test-predict", help="Have Label Studio ask the backend about one task."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Attach the backend to a project in Label Studio; doing it again changes nothing."""
    from prelabel.labelstudio_api.backends import connect_project, try_prediction
    from prelabel.labelstudio_api.client import LabelStudio
    from prelabel.launch.backend import own_url

    settings = ready(
        label_studio_url=url,
        label_studio_api_key=token,
        label_studio_username=username,
        label_studio_password=password,
        basic_auth_user=basic_auth_user,
        basic_auth_pass=basic_auth_pass,
    )
    # A login that was typed in goes before a token that merely lies in the environment.
    use_login = token is None and username is not None
    with LabelStudio(
        settings.label_studio_url or "http://localhost:8080",
        token=None if use_login else settings.label_studio_api_key.get_secret_value(),
        username=settings.label_studio_username,
        password=settings.label_studio_password.get_secret_value(),
        verify=settings.verify_ssl,
    ) as studio:
        connection = connect_project(
            studio,
            backend_url or own_url(settings).replace("127.0.0.1", "localhost"),
            project_title=project_title,
            project_id=project_id,
            label_config=label_config_of(label_config) if label_config else None,
            basic_auth=_basic_auth(settings),
        )
        if not as_json:
            print("\n".join(_account(connection)))
        trial = try_prediction(studio, connection.backend_id) if test_predict else None
    if as_json:
        print(json.dumps({**asdict(connection), "trial": asdict(trial) if trial else None}))
    elif trial:
        print(_verdict(trial))


def _basic_auth(settings: "Settings") -> tuple[str, str] | None:
    secret = settings.basic_auth_pass.get_secret_value()
    if not settings.basic_auth_user or not secret:
        return None
    return settings.basic_auth_user, secret


def _account(connection: "Connection") -> list[str]:
    """What was done, for people: one line for each thing."""
    project = f"{connection.project_title} (id {connection.project_id})"
    version = f", model version {connection.model_version}" if connection.model_version else ""
    return [
        f"project  {connection.project_action}: {project}",
        f"backend  {connection.backend_action}: {connection.backend_url}{version}",
        f"webhook  {connection.webhook_action}",
        *(f"note     {warning}" for warning in connection.warnings),
        f"open     {connection.project_url}",
    ]


def _verdict(trial: "Trial") -> str:
    if not trial.answered:
        return (
            f"test     task {trial.task_id}: no prediction; the backend's log and its status page "
            "say why"
        )
    found = f"{trial.regions} regions" if trial.regions else "an answer with nothing found"
    return f"test     task {trial.task_id}: {found}, model version {trial.model_version}"

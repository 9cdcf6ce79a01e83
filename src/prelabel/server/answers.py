"""The answers that people and machines who watch the server get, for its OpenAPI description."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """What all share: more may stand in an answer than its description says."""

    model_config = ConfigDict(extra="allow")


class HealthAnswer(Answer):
    """Answer of `GET /health`; `predictors` says of each what answers, and why no other does.

    `degraded` is a server in which a model hangs, with the reason. `label_studio_trouble` says why
    the login of the settings does not work.
    """

    status: Literal["ok", "degraded"]
    reason: str = ""
    model_loaded: bool
    version: str
    uptime_s: float = Field(ge=0)
    predictors: dict[str, dict[str, Any]]
    label_studio_trouble: str = ""


class StateAnswer(Answer):
    """Answer of `GET /live` and `GET /ready`."""

    status: Literal["starting", "ok", "hanging", "stopping"]


class ProjectReport(Answer):
    """How it went with one project since the server started; counts are of tasks."""

    project: str
    asked: int = Field(ge=0)
    predicted: int = Field(ge=0)
    empty: int = Field(ge=0)
    failed: int = Field(ge=0)
    not_reached: int = Field(ge=0)
    reasons: list[dict[str, Any]]
    last_failures: list[dict[str, Any]]


class JobReport(Answer):
    """One job of the background; `reasons` are why its first failed tasks did."""

    job: str
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    kind: str
    project: str
    progress: float = Field(ge=0, le=1)
    message: str
    reasons: list[str]
    can_cancel: bool


class StatusAnswer(HealthAnswer):
    """Answer of `GET /status`: what the page at `/` shows."""

    versions: list[str]
    label_studio: str
    database_trouble: str
    projects: list[ProjectReport]
    jobs: list[JobReport]
    learnt: list[dict[str, Any]]
    failures: list[dict[str, Any]]


class CancelAnswer(Answer):
    """Answer of `POST /jobs/{job_id}/cancel`."""

    job: str
    job_status: Literal["cancelled"]

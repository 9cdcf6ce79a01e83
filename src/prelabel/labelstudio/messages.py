"""The requests that Label Studio sends to an ML backend, and the answers it expects.

Shapes were checked against Label Studio 1.23.2. Every request may carry more fields than these;
they are ignored. Fields that Label Studio sends as null are null here too.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from prelabel.errors import InvalidRequest
from prelabel.labelstudio.tasks import Task

_PROJECTS_END = 2**31
_MOST_DIGITS = 18
_LONGEST_NAME = 100
_LONGEST_WORD = 10_000

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][\da-fA-F]{2})|.)", re.DOTALL
)
"""An escape in JSON; the group is half a character, which Python writes and others refuse."""

_MEMBERS_OF_UNIONS = ("list[Task]", "Task", "function-after[_as_list()]")


def project_number(project: int | str | None) -> int | None:
    """A project's number where it is one that Label Studio gives, which is none of over 32 bits.

    Other callers may call their projects what they like.
    """
    number = _whole_number(str(project))
    return number if number is not None and number < _PROJECTS_END else None


def _whole_number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None


def _project_name(value: object) -> object:
    """Project 7 is `7` in webhooks, `"7.1699999999"` elsewhere, an object in events; 0 is none."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, str):
        value = value.partition(".")[0][:_LONGEST_NAME]
    return value if value not in ("", None, 0, "0") else None


def _project_created(value: object) -> object:
    """When project `"7.1699999999"` was made; its number alone is used again in a new database.

    Events have it as an object, with the time in words.
    """
    if isinstance(value, dict):
        try:
            made = datetime.fromisoformat(str(value.get("created_at")))
        except ValueError:
            return None
        return int(made.timestamp()) if made.tzinfo else None
    return _whole_number(value.partition(".")[2]) if isinstance(value, str) else None


_AS_SENT = WithJsonSchema(
    {"anyOf": [{"type": kind} for kind in ("integer", "string", "object", "null")]}
)
Project = Annotated[int | str | None, BeforeValidator(_project_name), _AS_SENT]
ProjectCreated = Annotated[
    int | None, Field(validation_alias="project"), BeforeValidator(_project_created)
]


class Request(BaseModel):
    """What all requests share: unknown fields are ignored, an empty body is an empty object."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Parse a request body; half a character in one task's words does not cost the others.

        Raises:
            InvalidRequest: It is not JSON of this shape; the message names the first wrong field.
        """
        try:
            return cls.model_validate_json(body or b"{}")
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] == "json_invalid" and (whole := _ESCAPE.sub(_whole, body)) != body:
                return cls.read(whole)
            steps = [str(step) for step in first["loc"] if step not in _MEMBERS_OF_UNIONS]
            field = ".".join(steps) or "request body"
            next_step = "Send JSON as /openapi.json describes it."
            raise InvalidRequest(field, first["msg"], next_step) from error


def _whole(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape[1] else escape[0]


class PredictParams(BaseModel):
    """Project credentials for media, and what an annotator just drew, where they did."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    login: str | None = None
    password: str | None = None
    context: dict[str, Any] | None = None


class PredictRequest(Request):
    """Body of `POST /predict`."""

    # No BeforeValidator makes this one shape: each annotation would become a Python object first.
    tasks: Annotated[list[Task] | Task, Field(union_mode="left_to_right")]
    project: Project = None
    project_created: ProjectCreated = None
    label_config: str | None = None
    params: PredictParams | None = None

    @property
    def each_task(self) -> list[Task]:
        """The tasks, be they one or many."""
        return [self.tasks] if isinstance(self.tasks, Task) else self.tasks

    @property
    def context(self) -> dict[str, Any]:
        """What the annotator drew in an interactive call; empty otherwise."""
        return (self.params.context if self.params else None) or {}


class SetupRequest(Request):
    """Body of `POST /setup`."""

    project: Project = None
    project_created: ProjectCreated = None
    label_config: str | None = Field(default=None, alias="schema")
    hostname: str | None = Field(default=None, max_length=_LONGEST_WORD)
    access_token: str | None = Field(default=None, repr=False, max_length=_LONGEST_WORD)


class EventRequest(Request):
    """Body of `POST /webhook`."""

    action: str
    project: Project = None
    project_created: ProjectCreated = None
    annotation: Any = None


class FitRequest(Request):
    """Body of `POST /fit`; `data` is what a webhook would carry."""

    event: str
    data: dict[str, Any] = Field(default_factory=dict)


class TrainRequest(Request):
    """Body of `POST /train`. Without tasks, they are fetched from Label Studio.

    Label Studio before 1.7 calls the tasks `annotations`; each holds its annotations either way.
    """

    project: Project = None
    project_created: ProjectCreated = None
    label_config: str | None = None
    tasks: list[dict[str, Any]] | None = Field(
        default=None, validation_alias=AliasChoices("tasks", "annotations")
    )


class ValidateRequest(Request):
    """Body of `POST /validate`."""

    config: str


class JobStatusRequest(Request):
    """Body of `POST /job_status`."""

    job: str | int


class PredictionMessage(BaseModel):
    """One prediction of one task."""

    result: list[dict[str, Any]]
    score: float = Field(ge=0, le=1)
    model_version: str


class PredictAnswer(BaseModel):
    """Answer of `POST /predict`: one entry per task, in order.

    An empty list stands for a task that failed or was not reached: Label Studio stores nothing
    and asks again. A prediction with an empty result means "looked, found nothing" and is stored.
    """

    results: list[PredictionMessage | list[PredictionMessage]]


class SetupAnswer(BaseModel):
    """Answer of `POST /setup`."""

    model_version: str
    warnings: list[str] = []


class VersionsAnswer(BaseModel):
    """Answer of `GET /versions`."""

    versions: list[str]


class ValidateAnswer(BaseModel):
    """Answer of `POST /validate`."""

    valid: bool
    model_version: str
    warnings: list[str]


class EventAnswer(BaseModel):
    """Answer of `POST /webhook`, `/fit` and `/train`.

    `status` is "queued" where a training was asked for (`job` tells which), "insufficient-data"
    where the tasks in the body are too few (with `sample_count` and `required_samples`), else
    "ok": the event was taken and starts nothing, or not before the database answers.
    """

    status: str
    job: str | None = None
    message: str = ""
    sample_count: int | None = None
    required_samples: int | None = None


class JobStatusAnswer(BaseModel):
    """Answer of `POST /job_status`.

    `job_status` is "queued", "running", "done", "failed" or "cancelled". A training that is done
    adds what came of it: its `status`, `version`, `sample_count`, `figures` and so on.
    """

    model_config = ConfigDict(extra="allow")

    job: str
    job_status: str
    progress: float = Field(ge=0, le=1)
    message: str = ""


BODIES: tuple[type[Request], ...] = (
    PredictRequest,
    SetupRequest,
    EventRequest,
    FitRequest,
    TrainRequest,
    ValidateRequest,
    JobStatusRequest,
)
"""All request bodies, for the OpenAPI description."""

"""The endpoints of an ML backend, as Label Studio 1.x calls them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic_core import to_json

from prelabel.errors import InvalidRequest
from prelabel.labelstudio import messages
from prelabel.plan import NO_PREDICTOR, Plan
from prelabel.server import answers, gaps, metrics, status
from prelabel.server.admission import Stay
from prelabel.server.foreign import refuse_foreign_pages
from prelabel.server.introduction import Introduction
from prelabel.server.learning import no_such_job, taken
from prelabel.server.page import document
from prelabel.server.problems import MEDIA_TYPE, request_id_of
from prelabel.server.processes import Processes
from prelabel.server.service import Service

OFF = taken("The sequence learner is off (SEQUENCE_LEARNING_ENABLED): nothing is trained.")

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in {
        400: "The request does not parse.",
        401: "Credentials are missing or wrong.",
        403: "A page of another site made a browser send this.",
        413: "The body is too large.",
        429: "Too many requests; `Retry-After` says when to come again.",
        503: "More waits than the server holds; `Retry-After` says when to come again.",
    }.items()
}


_NO_JOB: dict[int | str, dict[str, Any]] = {
    410: _PROBLEMS[400] | {"description": "Nothing is known of this job."}
}
_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "The server starts or ends, or a model hangs.",
        "model": answers.StateAnswer,
    }
}
_NOT_ALIVE: dict[int | str, dict[str, Any]] = {
    503: {"description": "A model hangs: start the process anew.", "model": answers.StateAnswer}
}
_SERIES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Series in Prometheus' text format.",
        "content": {metrics.CONTENT_TYPE.partition(";")[0]: {"schema": {"type": "string"}}},
    }
}


async def _counted(request: Request) -> AsyncIterator[bytes]:
    """The body of a request without tasks, which counts as memory until that is answered."""
    admission = request.app.state.service.admission
    with admission.enter_without_tasks(_size(request)) as stay:
        yield await _read(request, stay)


Body = Annotated[bytes, Depends(_counted)]


def body_of(model: type[messages.Request]) -> dict[str, Any]:
    """The OpenAPI description of a body that the route itself parses, fast and only once."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    required = any(field.is_required() for field in model.model_fields.values())
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}
    }


def routes(service: Service, processes: Processes) -> APIRouter:
    """All endpoints of the server.

    Args:
        service: What answers.
        processes: What other server processes on the same port tell of themselves.
    """
    router = APIRouter(responses=_PROBLEMS)
    _add_predicting(router, service)
    _add_events(router, service)
    _add_job_status(router, service)
    _add_watching(router, service)
    _add_figures(router, service, processes)
    _add_cancelling(router, service)
    return router


def _add_predicting(router: APIRouter, service: Service) -> None:
    @router.post(
        "/predict",
        response_model=messages.PredictAnswer,
        openapi_extra=body_of(messages.PredictRequest),
    )
    async def predict(request: Request) -> Response:
        """Predict tasks: one entry per task, in order; `[]` for a task that failed."""
        # Label Studio gives a click up over an error but never over `[]`.
        with service.admission.enter(_size(request), asks_again=_is_label_studio(request)) as stay:
            message = messages.PredictRequest.read(await _read(request, stay))
            results = await service.predict(
                message,
                request_id_of(request),
                request.is_disconnected,
                stay,
                takes_gaps=gaps.are_taken(_user_agent(request)),
            )
        return _json({"results": results})

    @router.post(
        "/setup",
        response_model=messages.SetupAnswer,
        openapi_extra=body_of(messages.SetupRequest),
    )
    async def setup(request: Request, body: Body) -> Response:
        """Tell which model version will answer this project. Never loads a model."""
        message = messages.SetupRequest.read(body)
        caller = request.client.host if request.client else ""
        introduced = (
            Introduction(message.hostname, message.access_token or "", caller)
            if message.hostname
            else None
        )
        try:
            plan = service.set_up(message, introduced)
        except InvalidRequest as error:  # a 400 here would keep the project from connecting
            return _json({"model_version": NO_PREDICTOR, "warnings": [str(error)]})
        return _json(_about(plan))

    @router.post(
        "/validate",
        response_model=messages.ValidateAnswer,
        openapi_extra=body_of(messages.ValidateRequest),
    )
    async def validate(body: Body) -> Response:
        """Say whether a label config has something that prelabel fills."""
        message = messages.ValidateRequest.read(body)
        plan = service.plan_for(message.config)
        return _json({"valid": plan.fills, **_about(plan)})


def _add_events(router: APIRouter, service: Service) -> None:
    learning = service.learning

    @router.post(
        "/webhook",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.EventRequest),
    )
    async def webhook(body: Body) -> Response:
        """Take any event of Label Studio; `START_TRAINING` starts a training."""
        message = messages.EventRequest.read(body)
        service.metrics.received(message.action, message.annotation)
        event = message.action, message.project, message.project_created
        return _json(await learning.event(*event) if learning else OFF, 201)

    @router.post(
        "/fit",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.FitRequest),
    )
    async def fit(body: Body) -> Response:
        """Take an event in the words of older backends."""
        message = messages.FitRequest.read(body)
        service.metrics.received(message.event)
        return _json(await learning.fit(message) if learning else OFF, 201)

    @router.post(
        "/train",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.TrainRequest),
    )
    async def train(request: Request, body: Body) -> Response:
        """Start a training, on the tasks in the body or on those in Label Studio."""
        message = messages.TrainRequest.read(body)
        service.metrics.received("TRAIN")
        # Label Studio before 1.12 sends its tasks here, and shows nobody what comes back.
        is_read = not _is_label_studio(request)
        return _json(await learning.train(message, is_read=is_read) if learning else OFF, 201)


def _add_job_status(router: APIRouter, service: Service) -> None:
    @router.post(
        "/job_status",
        response_model=messages.JobStatusAnswer,
        responses=_NO_JOB,
        openapi_extra=body_of(messages.JobStatusRequest),
    )
    async def job_status(body: Body) -> Response:
        """Say how a job is getting on."""
        message = messages.JobStatusRequest.read(body)
        if service.learning is None:
            raise no_such_job(str(message.job))
        return _json(await service.learning.job(str(message.job)))


def _add_watching(router: APIRouter, service: Service) -> None:
    @router.get("/versions", response_model=messages.VersionsAnswer)
    async def versions() -> Response:
        """The model versions that answer now."""
        return _json({"versions": service.versions()})

    # Uptime monitors and load balancers ask with HEAD.
    @router.head("/health", include_in_schema=False)
    @router.get("/health", response_model=answers.HealthAnswer)
    async def health() -> Response:
        """Alive, and what answers; in milliseconds, whatever else is going on."""
        return _json(service.health())

    @router.head("/live", include_in_schema=False)
    @router.get("/live", response_model=answers.StateAnswer, responses=_NOT_ALIVE)
    async def live() -> Response:
        """For orchestrators: the process answers, and no model hangs in it. Needs no password."""
        return _json({"status": "hanging"}, 503) if service.hangs else _json({"status": "ok"})

    @router.head("/ready", include_in_schema=False)
    @router.get("/ready", response_model=answers.StateAnswer, responses=_NOT_READY)
    async def ready() -> Response:
        """For orchestrators: requests may be sent here. Needs no password."""
        return _json({"status": service.state}, 200 if service.state == "ok" else 503)


def _add_figures(router: APIRouter, service: Service, processes: Processes) -> None:
    def series() -> bytes:
        told = {name: one.series for name, one in processes.all().items()}
        return service.metrics.exposition(told)

    def report() -> dict[str, Any]:
        return status.report(service, [one.status for one in processes.all().values()])

    @router.get("/metrics", response_class=Response, responses=_SERIES)
    async def prometheus() -> Response:
        """Prometheus metrics."""
        return Response(await asyncio.to_thread(series), media_type=metrics.CONTENT_TYPE)

    @router.get("/status", response_model=answers.StatusAnswer)
    async def status_json() -> Response:
        """What the status page shows, for machines."""
        return _json(await asyncio.to_thread(report))

    @router.head("/", include_in_schema=False)
    @router.get("/", response_class=HTMLResponse)
    async def status_page(request: Request) -> Response:
        """What was asked, done and failed, and why, for people."""
        told = await asyncio.to_thread(report)
        api = request.app.docs_url or request.app.openapi_url
        return HTMLResponse(document.document(told, api), headers=document.headers())


def _add_cancelling(router: APIRouter, service: Service) -> None:
    async def cancel(request: Request, job_id: str) -> None:
        refuse_foreign_pages(request)
        if not await service.cancel(job_id):
            raise no_such_job(job_id)
        service.records.forget()

    @router.post(
        "/jobs/{job_id}/cancel",
        response_model=answers.CancelAnswer,
        responses=_NO_JOB,
    )
    async def cancel_job(request: Request, job_id: str) -> Response:
        """End a job that waits or runs."""
        await cancel(request, job_id)
        return _json({"job": job_id, "job_status": "cancelled"})

    @router.post("/", status_code=303, response_class=Response, responses=_NO_JOB)
    async def cancel_on_page(
        request: Request, cancel_: Annotated[str, Query(alias="cancel")]
    ) -> Response:
        """The same for the status page where it has no JavaScript."""
        await cancel(request, cancel_)
        return Response(status_code=303, headers={"Location": "?"})


def describe_bodies(app: FastAPI) -> None:
    """Add the schemas of the bodies that routes parse themselves, and of problems."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        _leave_out_422(schema)
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.setdefault("Problem", _PROBLEM_SCHEMA)
        for model in messages.BODIES:
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(described.pop("$defs", {}))
            components[model.__name__] = described
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _leave_out_422(schema: dict[str, Any]) -> None:
    """Take away what FastAPI says of wrong parameters: here they are answered with 400."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema.get("components", {}).get("schemas", {}).pop(name, None)


_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


async def _read(request: Request, stay: Stay) -> bytes:
    """The body of a request, counted while it comes."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        stay.has_come(size)
        chunks.append(chunk)
    return b"".join(chunks)


def _size(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _is_label_studio(request: Request) -> bool:
    return _user_agent(request).startswith(gaps.LABEL_STUDIO)


def _user_agent(request: Request) -> str:
    return request.headers.get("user-agent", "")


def _json(content: Any, status_code: int = 200) -> Response:
    return Response(to_json(content), status_code, media_type="application/json")


def _about(plan: Plan) -> dict[str, object]:
    return {"model_version": plan.model_version, "warnings": list(plan.warnings)}

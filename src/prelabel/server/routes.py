"""The endpoints of an ML backend, as Label Studio 1.x calls them."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from pydantic_core import to_json

from prelabel.errors import InvalidRequest, NoSuchJob
from prelabel.labelstudio import messages
from prelabel.plan import NO_PREDICTOR, Plan
from prelabel.server import metrics, status
from prelabel.server.introduction import Introduction
from prelabel.server.problems import MEDIA_TYPE, request_id_of
from prelabel.server.service import Service

NO_LEARNER = "This prelabel has no learner: the event was taken, nothing is trained."

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in {
        400: "The request does not parse.",
        401: "Credentials are missing or wrong.",
        413: "The body is too large.",
        429: "Too many requests; `Retry-After` says when to come again.",
    }.items()
}


def body_of(model: type[messages.Request]) -> dict[str, Any]:
    """The OpenAPI description of a body that the route itself parses, fast and only once."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def routes(service: Service) -> APIRouter:
    """All endpoints of the server."""
    router = APIRouter(responses=_PROBLEMS)
    _add_predicting(router, service)
    _add_events(router, service)
    _add_watching(router, service)
    return router


def _add_predicting(router: APIRouter, service: Service) -> None:
    @router.post(
        "/predict",
        response_model=messages.PredictAnswer,
        openapi_extra=body_of(messages.PredictRequest),
    )
    async def predict(request: Request) -> Response:
        """Predict tasks: one entry per task, in order; `[]` for a task that failed."""
        message = messages.PredictRequest.read(await request.body())
        results = await service.predict(message, request_id_of(request), request.is_disconnected)
        return _json({"results": results})

    @router.post(
        "/setup",
        response_model=messages.SetupAnswer,
        openapi_extra=body_of(messages.SetupRequest),
    )
    async def setup(request: Request) -> Response:
        """Tell which model version will answer this project. Never loads a model."""
        message = messages.SetupRequest.read(await request.body())
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
    async def validate(request: Request) -> Response:
        """Say whether a label config has something that prelabel fills."""
        message = messages.ValidateRequest.read(await request.body())
        plan: Plan = service.plan_for(message.config)
        return _json({"valid": bool(plan.steps), **_about(plan)})

    @router.get("/versions", response_model=messages.VersionsAnswer)
    async def versions() -> Response:
        """The model versions that answer now."""
        return _json({"versions": service.versions()})


def _add_events(router: APIRouter, service: Service) -> None:
    @router.post(
        "/webhook",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.EventRequest),
    )
    async def webhook(request: Request) -> Response:
        """Take any event of Label Studio, `START_TRAINING` among them."""
        message = messages.EventRequest.read(await request.body())
        return _taken(service, message.action)

    @router.post(
        "/fit",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.FitRequest),
    )
    async def fit(request: Request) -> Response:
        """Take an event in the words of older backends."""
        message = messages.FitRequest.read(await request.body())
        return _taken(service, message.event)

    @router.post(
        "/train",
        status_code=201,
        response_model=messages.EventAnswer,
        openapi_extra=body_of(messages.TrainRequest),
    )
    async def train(request: Request) -> Response:
        """Take a request to train, in the words of Label Studio before 1.7."""
        messages.TrainRequest.read(await request.body())
        return _taken(service, "TRAIN")

    @router.post(
        "/job_status",
        response_model=messages.JobStatusAnswer,
        responses={410: _PROBLEMS[400] | {"description": "Nothing is known of this job."}},
        openapi_extra=body_of(messages.JobStatusRequest),
    )
    async def job_status(request: Request) -> Response:
        """Say how a job is getting on."""
        message = messages.JobStatusRequest.read(await request.body())
        raise NoSuchJob(
            f"job {message.job!r}", "is not known here", "Start the training again, if it matters."
        )


def _add_watching(router: APIRouter, service: Service) -> None:
    @router.get("/health")
    async def health() -> Response:
        """Alive, and what answers; in milliseconds, whatever else is going on."""
        return _json(service.health())

    @router.get("/live")
    async def live() -> Response:
        """For orchestrators: the process answers. Needs no password."""
        return _json({"status": "ok"})

    @router.get("/ready")
    async def ready() -> Response:
        """For orchestrators: requests may be sent here. Needs no password."""
        return _json({"status": "ok"})

    @router.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Prometheus metrics."""
        return Response(service.metrics.exposition(), media_type=metrics.CONTENT_TYPE)

    @router.get("/status")
    async def status_json() -> Response:
        """What the status page shows, for machines."""
        return _json(status.report(service))

    @router.get("/", response_class=HTMLResponse)
    async def status_page() -> Response:
        """What was asked, done and failed, and why, for people."""
        return HTMLResponse(status.page(status.report(service)))


def describe_bodies(app: FastAPI) -> None:
    """Add the schemas of the bodies that routes parse themselves, and of problems."""
    original = app.openapi

    def openapi() -> dict[str, Any]:
        schema = original()
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.setdefault("Problem", _PROBLEM_SCHEMA)
        for model in messages.BODIES:
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            components.update(described.pop("$defs", {}))
            components[model.__name__] = described
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


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


def _json(content: Any, status_code: int = 200) -> Response:
    return Response(to_json(content), status_code, media_type="application/json")


def _about(plan: Plan) -> dict[str, object]:
    return {"model_version": plan.model_version, "warnings": list(plan.warnings)}


def _taken(service: Service, action: str) -> Response:
    service.metrics.received(action)
    return _json({"status": "ok", "job": None, "message": NO_LEARNER}, 201)

"""The ASGI application: routes, guard, CORS and errors put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from prelabel import __version__
from prelabel.errors import PrelabelError
from prelabel.server import status
from prelabel.server.guard import Credentials, Guard
from prelabel.server.problems import http_problem, problem, request_id_of, unusable
from prelabel.server.processes import Processes, Told
from prelabel.server.routes import describe_bodies, routes
from prelabel.server.service import Service
from prelabel.server.stopping import noticing_sigterm
from prelabel.settings import Settings

SETTLING_S = 3.0
"""How long the start may wait to know which predictors can answer: a hub that does not answer at
all must not keep the server from coming up."""


def make_app(service: Service, settings: Settings, processes: Processes | None = None) -> FastAPI:
    """The application that serves a service.

    Args:
        service: What answers.
        settings: Who may ask, and how much.
        processes: The others that serve on the same port; None where there are none.
    """
    processes = processes or Processes()

    app = FastAPI(
        title="prelabel",
        version=__version__,
        description="ML backend for Label Studio.",
        lifespan=partial(_begun_and_ended, service, processes),
        # These pages have a browser fetch their scripts from elsewhere.
        docs_url=None if settings.local_data_only else "/docs",
        redoc_url=None if settings.local_data_only else "/redoc",
        redirect_slashes=False,
    )
    app.state.service = service
    app.include_router(routes(service, processes))
    describe_bodies(app)
    app.add_exception_handler(PrelabelError, _named)
    app.add_exception_handler(RequestValidationError, _unusable)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(
        Guard,
        credentials=Credentials(
            user=settings.basic_auth_user,
            password=settings.basic_auth_pass.get_secret_value(),
            token=settings.api_token.get_secret_value(),
            path=settings.secret_path.get_secret_value().strip("/"),
        ),
        rate_limit=settings.rate_limit,
        max_body_mb=settings.max_body_mb,
        answered=service.metrics.answered,
        began=service.metrics.began,
        refused=partial(_refused, service),
        origins=settings.cors_origins,
        hosts=settings.allowed_hosts if settings.for_this_machine else None,
        proxied="*" in settings.forwarded_allow_ips,
    )
    if settings.cors_origins:  # outermost, because a preflight request carries no password
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app


@asynccontextmanager
async def _begun_and_ended(
    service: Service, processes: Processes, _: FastAPI
) -> AsyncIterator[None]:
    """From the first request that can be answered to the last."""
    await asyncio.to_thread(service.begin)
    processes.begin(lambda: Told(service.metrics.of_process(), status.of_process(service)))
    settling = asyncio.create_task(asyncio.to_thread(service.settle))
    await asyncio.wait({settling}, timeout=SETTLING_S)
    with noticing_sigterm(service.stop_intake):
        yield
    processes.close()
    await asyncio.to_thread(service.close)


async def _named(request: Request, error: Exception) -> Response:
    assert isinstance(error, PrelabelError)
    _refused(request.app.state.service, request.scope["path"], error, request_id_of(request))
    return problem(error, request_id_of(request))


def _refused(service: Service, path: str, error: PrelabelError, request_id: str) -> None:
    """Tell why a whole retrieve came to nothing: Label Studio shows it to nobody."""
    if path == "/predict":
        service.projects.refused(error, request_id)


async def _unusable(request: Request, error: Exception) -> Response:
    """For what FastAPI reads itself, which is what stands in an address."""
    assert isinstance(error, RequestValidationError)
    return problem(unusable(error.errors()), request_id_of(request))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return http_problem(error, request_id_of(request))

"""A prelabel server elsewhere, as a batch run talks to it."""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2

from prelabel.batch.push import backoff_s
from prelabel.errors import (
    BodyTooLarge,
    NotAuthenticated,
    NotReached,
    NotReady,
    OperatorError,
    PrelabelError,
)
from prelabel.labelstudio.config import parse
from prelabel.labelstudio_api.refusals import NOT_TRUSTED, base_address, is_about_certificates
from prelabel.labelstudio_api.session import trusted
from prelabel.overload import OVERLOADED, retry_after_s

ANSWER_TIMEOUT_S = 300.0
_LOADING_S = 900.0
_ASK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What the server made of one task: the regions and their score, or why there are none."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class Backend:
    """Asks a prelabel server. Threads may share one.

    Args:
        url: Its address, with the secret path where it has one.
        auth: What it asks for.
        label_config: What is to be found.
        project: The project's id, under which the server counts.
        max_retries: How often a request is made again that may succeed later.
        max_backoff_s: Longest pause before that.
        verify: Whether its certificate is checked, or a file or folder of authorities to trust.
        pause: Waits; seconds.
        transport: What carries the requests; by default the network.

    Raises:
        SettingsError: `url` is no address, or `verify` names no certificates.
    """

    def __init__(
        self,
        url: str,
        auth: httpx2.Auth | None,
        label_config: str,
        project: int,
        *,
        max_retries: int,
        max_backoff_s: float,
        verify: bool | str = True,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = base_address(url)
        self._config = label_config
        self._project = project
        self._max_retries = max_retries
        self._max_backoff_s = max_backoff_s
        self._pause = pause
        self._http = httpx2.Client(
            base_url=self.url,
            auth=auth,
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=5.0),
            verify=trusted(verify),
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def prepare(self, picture: str) -> tuple[str, tuple[str, ...]]:
        """Have the server load its models, with a picture as a data: URI.

        Returns:
            Its model version, and why it uses another predictor than was wanted.

        Raises:
            NotReady: It fills nothing of this label config, or could not predict the picture.
            OperatorError: It does not answer.
        """
        about = self._ask("POST", "/validate", "valid", {"config": self._config})
        if not about["valid"]:
            raise NotReady(
                f"backend at {self.url}",
                "has nothing to fill in the label config",
                "Add RectangleLabels or KeyPointLabels on an Image to the project's label config.",
            )
        until = time.monotonic() + _LOADING_S
        data: dict[str, Any] = {}
        for tag in parse(self._config).images:
            data = tag.with_uris(data, [picture])
        while True:
            (answer,) = self.predict([{"id": 0, "data": data}])
            if isinstance(answer, Answered):
                version = answer.model_version
                return version, (*about["warnings"], *self._fallbacks(version))
            is_loaded = self._ask("GET", "/health", "model_loaded")["model_loaded"]
            if is_loaded or time.monotonic() > until:
                raise NotReady(answer.thing, answer.cause, "Look into the backend's log.")
            self._pause(_ASK_AGAIN_S)

    def predict(self, tasks: Sequence[dict[str, Any]]) -> list[Answered | NotReached]:
        """One answer per task, in order.

        Raises:
            OperatorError: The server does not answer, or not as a prelabel server does.
            NotAuthenticated: It wants other credentials.
            BodyTooLarge: The tasks are too large together.
        """
        body = {"tasks": list(tasks), "label_config": self._config, "project": self._project}
        request_id = uuid.uuid4().hex
        answer = self._ask("POST", "/predict", "results", body, request_id)
        found: list[Answered | NotReached] = []
        for task, entry in zip(tasks, answer["results"], strict=True):
            if isinstance(entry, dict):
                version = str(entry["model_version"])
                found.append(Answered(entry["result"], float(entry["score"]), version))
            else:
                found.append(self._reason(f"task {task['id']}", request_id))
        return found

    def _ask(
        self, method: str, path: str, key: str, body: object = None, request_id: str = ""
    ) -> dict[str, Any]:
        """A successful answer, asked for again where that may help: nothing is changed by it.

        Args:
            method: Of HTTP.
            path: Below the server's address.
            key: What the answer of a prelabel server holds.
            body: What is sent, as JSON.
            request_id: Under which the server records failures.
        """
        failures = 0
        headers = {"X-Request-ID": request_id} if request_id else {}
        while True:
            wish_s = None
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx2.RequestError as error:
                if is_about_certificates(error):
                    raise OperatorError(f"backend at {self.url}", *NOT_TRUSTED) from error
                reason = f"does not answer ({str(error) or type(error).__name__})"
            else:
                if answer.is_success:
                    return self._told(answer, key)
                if answer.status_code not in OVERLOADED:
                    raise self._refused(answer)
                reason = f"answered {answer.status_code}"
                wish_s = retry_after_s(answer.headers.get("Retry-After"))
            failures += 1
            if failures > self._max_retries:
                raise OperatorError(
                    f"backend at {self.url}",
                    reason,
                    "Check that `prelabel serve` runs there and that the address is right.",
                )
            self._pause(backoff_s(failures, self._max_backoff_s, wish_s))

    def _told(self, answer: httpx2.Response, key: str) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if isinstance(found, dict) and key in found:
            return found
        raise OperatorError(
            f"backend at {self.url}",
            "answers, but not as a prelabel server does",
            "Check the address: another program may be there, or a proxy with a login page.",
        )

    def _refused(self, answer: httpx2.Response) -> PrelabelError:
        thing = f"backend at {self.url}"
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return NotAuthenticated(
                thing,
                "wants other credentials",
                "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, or API_TOKEN, as it has them.",
            )
        if answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return BodyTooLarge(
                thing,
                "takes no request of this size",
                "Raise its MAX_BODY_MB, or lower REMOTE_LONGEST_SIDE.",
            )
        return OperatorError(
            thing, f"answered {answer.status_code}", "Check the address, and read its log."
        )

    def _reason(self, task: str, request_id: str) -> NotReached:
        """Why a task has no prediction, as the server's status page has it.

        Whether it may have one the next time is not said there; it costs little to try.
        """
        cause = "the backend did not get to it"
        for project in self._ask("GET", "/status", "projects")["projects"]:
            for failure in project["last_failures"]:
                if failure["request_id"] == request_id and failure["task"] == task:
                    cause = str(failure["reason"]).rstrip(".")
        return NotReached(task, cause, f"See the status page of the backend at {self.url}.")

    def _fallbacks(self, version: str) -> tuple[str, ...]:
        """Why predictors of a model version answer that were not wanted."""
        parts = self._ask("GET", "/health", "predictors")["predictors"].values()
        asked = [part for part in parts if str(part["name"]) in version]
        return tuple(str(part["reason"]) for part in asked if part.get("reason"))

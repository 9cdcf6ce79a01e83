"""Every failure prelabel can name, divided by who must act.

PrelabelError
├── OperatorError            whoever runs prelabel
│   ├── SettingsError            a setting cannot be used
│   ├── MissingPackage           an optional package is not installed
│   ├── WeightsUnavailable       model files are not here and cannot be had
│   ├── StoreUnavailable         the database does not answer just now
│   └── NotReady                 a check before the start of a run says no
├── CallerError              whoever sent the request
│   ├── InvalidRequest           the body or the label config does not parse
│   ├── NotAuthenticated         no or wrong credentials
│   ├── ForeignPage              a page of another site sent a browser here
│   ├── BodyTooLarge             over MAX_BODY_MB
│   ├── TooManyRequests          over RATE_LIMIT
│   │   └── Overloaded               over MAX_QUEUED_TASKS or MAX_QUEUED_MB
│   ├── NoSuchJob                nothing is known under this job id
│   └── NoSuchVersion            nothing was learnt under this number, or it is not kept
├── TaskError                this one task; the others go on
│   ├── ImageMissing             the task names no image
│   ├── ImageRefused             the address or the path is not allowed
│   ├── ImageUnreachable         the image could not be fetched
│   │   └── ImageUnavailable         not just now, but perhaps in a moment
│   ├── ImageTooLarge            over a limit in bytes, pixels or time
│   ├── ImageUnreadable          what came is not an image that can be decoded
│   └── NotReached               its turn did not come
│       └── ModelHangs               the model does not come back from it
├── ModelError               the model failed on this input
│   └── OutOfMemory              the device has no room, even for one image
└── LabelStudioError         Label Studio
    ├── LabelStudioUnreachable   no connection, or no answer
    ├── LoginRefused             token or password refused
    └── RequestRefused           it answered, and said no
"""

from dataclasses import dataclass
from typing import Self

_LONGEST_LINE = 200


class PrelabelError(Exception):
    """A failure that says what it is about, why it happened and what to do next.

    Args:
        thing: What the failure is about: a file, a URI, a setting, a task.
        cause: Why it failed, in one clause.
        next_step: What the reader can do, as an instruction.
    """

    def __init__(self, thing: str, cause: str, next_step: str) -> None:
        super().__init__(thing, cause, next_step)
        self.thing = thing
        self.cause = cause
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.thing}: {self.cause}. {self.next_step}"


class OperatorError(PrelabelError):
    """Whoever runs prelabel must change something."""


class SettingsError(OperatorError):
    """A setting cannot be used as it is."""


class MissingPackage(OperatorError):
    """An optional package is not installed."""


class WeightsUnavailable(OperatorError):
    """Model files are not on this machine and cannot be fetched."""


class StoreUnavailable(OperatorError):
    """The database of jobs, learnt versions and runs does not answer just now."""


class NotReady(OperatorError):
    """A check before the start of a run says no; nothing was done."""


class CallerError(PrelabelError):
    """Whoever sent the request must change it."""


class InvalidRequest(CallerError):
    """The request or its label config does not parse."""


class NotAuthenticated(CallerError):
    """The request carries no credentials, or wrong ones."""


class ForeignPage(CallerError):
    """A page of another site makes somebody's browser send this."""


class BodyTooLarge(CallerError):
    """The request body is over the limit."""


class TooManyRequests(CallerError):
    """The caller is over the rate limit."""

    retry_after_s = 1

    def after(self, retry_after_s: int) -> Self:
        """The same error, saying after how many whole seconds to come again."""
        self.retry_after_s = retry_after_s
        return self


class Overloaded(TooManyRequests):
    """More waits already than the server holds."""


class NoSuchJob(CallerError):
    """Nothing is known under this job id."""


class NoSuchVersion(CallerError):
    """Nothing was learnt under this number, or it is not kept any more."""


class TaskError(PrelabelError):
    """This one task cannot be done; the others go on."""


class ImageMissing(TaskError):
    """The task names no image under the key that the label config reads."""


class ImageRefused(TaskError):
    """The image's address or path is not one that prelabel may open."""


class ImageUnreachable(TaskError):
    """The image could not be fetched."""


class ImageUnavailable(ImageUnreachable):
    """The image could not be fetched just now; in a moment it may be."""


class ImageTooLarge(TaskError):
    """The image is over a limit in bytes, pixels or time."""


class ImageUnreadable(TaskError):
    """The fetched bytes are not an image that can be decoded."""


class NotReached(TaskError):
    """The time budget, or the server, ended before this task's turn came."""


class ModelHangs(NotReached):
    """The model does not come back from this task's image, after `MODEL_HANG_SECONDS`."""


class ModelError(PrelabelError):
    """The model failed on this input."""


class OutOfMemory(ModelError):
    """The device has no room, even for one image."""


class LabelStudioError(PrelabelError):
    """Label Studio, or the way to it, failed."""


class LabelStudioUnreachable(LabelStudioError):
    """Label Studio cannot be connected to, or does not answer in time."""


class LoginRefused(LabelStudioError):
    """Label Studio refused the token or the password."""


class RequestRefused(LabelStudioError):
    """Label Studio understood the request and refused it."""


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a failure means at the edges of the program.

    Attributes:
        http_status: The status of the server's answer when this reaches the caller.
        exit_code: The exit code of a command that ends with it.
        retry: Whether the same attempt may succeed later without anyone acting.
    """

    http_status: int
    exit_code: int
    retry: bool


CONSEQUENCES: dict[type[PrelabelError], Consequence] = {
    OperatorError: Consequence(http_status=500, exit_code=1, retry=False),
    SettingsError: Consequence(http_status=500, exit_code=2, retry=False),
    MissingPackage: Consequence(http_status=500, exit_code=1, retry=False),
    WeightsUnavailable: Consequence(http_status=503, exit_code=1, retry=False),
    StoreUnavailable: Consequence(http_status=503, exit_code=1, retry=True),
    NotReady: Consequence(http_status=503, exit_code=5, retry=False),
    CallerError: Consequence(http_status=400, exit_code=2, retry=False),
    InvalidRequest: Consequence(http_status=400, exit_code=2, retry=False),
    NotAuthenticated: Consequence(http_status=401, exit_code=4, retry=False),
    ForeignPage: Consequence(http_status=403, exit_code=2, retry=False),
    BodyTooLarge: Consequence(http_status=413, exit_code=2, retry=False),
    TooManyRequests: Consequence(http_status=429, exit_code=1, retry=True),
    Overloaded: Consequence(http_status=503, exit_code=1, retry=True),
    NoSuchJob: Consequence(http_status=410, exit_code=1, retry=False),
    NoSuchVersion: Consequence(http_status=404, exit_code=2, retry=False),
    TaskError: Consequence(http_status=422, exit_code=3, retry=False),
    ImageMissing: Consequence(http_status=422, exit_code=3, retry=False),
    ImageRefused: Consequence(http_status=422, exit_code=3, retry=False),
    ImageUnreachable: Consequence(http_status=502, exit_code=3, retry=False),
    ImageUnavailable: Consequence(http_status=503, exit_code=3, retry=True),
    ImageTooLarge: Consequence(http_status=422, exit_code=3, retry=False),
    ImageUnreadable: Consequence(http_status=422, exit_code=3, retry=False),
    NotReached: Consequence(http_status=503, exit_code=3, retry=True),
    ModelHangs: Consequence(http_status=503, exit_code=3, retry=True),
    ModelError: Consequence(http_status=500, exit_code=1, retry=False),
    OutOfMemory: Consequence(http_status=503, exit_code=1, retry=True),
    LabelStudioError: Consequence(http_status=502, exit_code=4, retry=False),
    LabelStudioUnreachable: Consequence(http_status=502, exit_code=4, retry=True),
    LoginRefused: Consequence(http_status=502, exit_code=4, retry=False),
    RequestRefused: Consequence(http_status=502, exit_code=5, retry=False),
}


def consequence_of(error: PrelabelError) -> Consequence:
    """The row of `CONSEQUENCES` for an error: its own class's, else its nearest parent's."""
    for kind in type(error).__mro__:
        if kind in CONSEQUENCES:
            return CONSEQUENCES[kind]
    raise AssertionError(f"{type(error).__name__} has no row in CONSEQUENCES")


def first_line(error: BaseException) -> str:
    """What an error of another library says in its first line, to be the cause of one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0][:_LONGEST_LINE].rstrip(".") if lines else type(error).__name__

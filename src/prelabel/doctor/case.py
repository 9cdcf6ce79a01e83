"""What is examined: this machine, its settings, and the Label Studio that they name."""

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property

from prelabel.assembly import parts
from prelabel.doctor.machine import Machine
from prelabel.labelstudio_api.client import LabelStudio
from prelabel.labelstudio_api.refusals import not_json
from prelabel.labelstudio_api.session import Json
from prelabel.launch.backend import own_certificate
from prelabel.launch.processes import Trust
from prelabel.plan import Plan, make_plan
from prelabel.settings import Settings

_TIMEOUT_S = 10.0
_NEVER_SENT = "no-token"
_THIS_MACHINE = ("localhost", "0.0.0.0", "::", "::1")  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, slots=True)
class Greeting:
    """What Label Studio says to anybody.

    Attributes:
        release: Its version, for example "1.23.2".
        edition: For example "Community"; "" where it does not say.
        ahead_s: By how much its clock is ahead of ours, to a second; None where it has none.
    """

    release: str
    edition: str
    ahead_s: float | None


@dataclass(frozen=True)
class Case:
    """What the checks look at. What they learn from Label Studio is asked for once.

    Attributes:
        machine: Where prelabel runs.
        settings: What it was told.
        given_backend_url: Where the backend is, where somebody said so; else "".
    """

    machine: Machine
    settings: Settings
    given_backend_url: str = ""

    @property
    def host(self) -> str:
        """Where a backend with these settings is reached on this machine."""
        address = self.settings.bind_address
        return "127.0.0.1" if address in _THIS_MACHINE else address

    @property
    def backend_url(self) -> str:
        """Where the backend is: as given, else as the settings have it."""
        return self.given_backend_url.rstrip("/") or self.own_url

    @property
    def own_url(self) -> str:
        """Where a backend with these settings answers on this machine."""
        scheme = "https" if self.settings.ssl_certfile else "http"
        return f"{scheme}://{self.host}:{self.settings.port}"

    @property
    def backend_trust(self) -> Trust:
        """Which certificates of the backend are trusted."""
        given = self.given_backend_url
        return self.settings.verify_ssl if given else own_certificate(self.settings)

    @cached_property
    def studio(self) -> LabelStudio:
        """The client, which asks once and does not wait long."""
        return parts.label_studio(self.settings, timeout_s=_TIMEOUT_S, attempts=1)

    @cached_property
    def greeting(self) -> Greeting:
        """What Label Studio says before anyone signs in, so that a wrong token does not matter."""
        with LabelStudio(
            self.settings.label_studio_url,
            token=_NEVER_SENT,
            timeout_s=_TIMEOUT_S,
            attempts=1,
            verify=self.settings.verify_ssl,
        ) as anonymous:
            begin = time.time()
            answer = anonymous.send("GET", "/api/version/", auth=None)
            ours = (begin + time.time()) / 2
        date = answer.headers.get("Date")
        ahead = parsedate_to_datetime(date).timestamp() + 0.5 - ours if date else None
        try:
            about = answer.json()
            return Greeting(str(about["release"]), str(about.get("edition", "")), ahead)
        except (ValueError, KeyError, TypeError) as error:
            raise not_json(answer) from error

    @cached_property
    def user(self) -> Json:
        """Who is signed in."""
        return self.studio.whoami()

    @cached_property
    def project(self) -> Json:
        """The project of PROJECT_ID, which must be set."""
        assert self.settings.project_id is not None
        return self.studio.project(self.settings.project_id)

    @cached_property
    def plan(self) -> Plan:
        """How the tasks of the project would be answered."""
        return make_plan(self.project["label_config"], parts.predictors(self.settings))

    @cached_property
    def attached(self) -> list[Json]:
        """The backends of the project; Label Studio calls each before it answers."""
        return self.studio.ml_backends(int(self.project["id"]))

    def close(self) -> None:
        """Close the connections, if any were opened."""
        if "studio" in vars(self):
            self.studio.close()

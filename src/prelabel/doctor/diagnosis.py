"""What one check says."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "failure", "skipped"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one check says. The fields are those of the JSON answer, in its order.

    Attributes:
        name: What was checked; the table of checks fills it in.
        status: "failure" where prelabel does not work, or not with what it was told to use;
            "warning" where it works, but otherwise than was asked, or at a risk; "skipped" where
            it cannot be judged, or there is nothing to judge.
        finding: What is there, in one clause. Never a secret.
        why: Why it matters; "" where all is well.
        mend: What to do, with the exact command where there is one; "" where all is well.

    Raises:
        ValueError: It asks for action, and does not say why it matters and what to do.
    """

    name: str
    status: Status
    finding: str
    why: str = ""
    mend: str = ""

    def __post_init__(self) -> None:
        if self.status in ("warning", "failure") and not (self.why and self.mend):
            raise ValueError(f"why, mend: expected texts, as {self.finding!r} is a {self.status}")


def ok(finding: str) -> Diagnosis:
    """All is well."""
    return Diagnosis("", "ok", finding)


def warning(finding: str, why: str, mend: str) -> Diagnosis:
    """It works, but otherwise than was asked, or at a risk."""
    return Diagnosis("", "warning", finding, why, mend)


def failure(finding: str, why: str, mend: str) -> Diagnosis:
    """It does not work."""
    return Diagnosis("", "failure", finding, why, mend)


def skipped(reason: str) -> Diagnosis:
    """It cannot be judged, or there is nothing to judge."""
    return Diagnosis("", "skipped", reason)

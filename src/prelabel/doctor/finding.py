"""What one check says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says.

    Attributes:
        state: "failed" where prelabel does not work, or not with what it was told to use;
            "warning" where it works, but otherwise than was asked, or at a risk.
        found: What is there, in one clause. Never a secret.
        why: Why it matters; "" where all is well.
        mend: What to do, with the exact command where there is one; "" where all is well.
        name: What was checked; the table of checks fills it in.

    Raises:
        ValueError: It is not "ok", and does not say why it matters and what to do.
    """

    state: State
    found: str
    why: str = ""
    mend: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.state != "ok" and not (self.why and self.mend):
            raise ValueError(f"why, mend: expected texts, as {self.found!r} is {self.state}")


def ok(found: str) -> Finding:
    """All is well."""
    return Finding("ok", found)


def warning(found: str, why: str, mend: str) -> Finding:
    """It works, but otherwise than was asked, or at a risk."""
    return Finding("warning", found, why, mend)


def failed(found: str, why: str, mend: str) -> Finding:
    """It does not work."""
    return Finding("failed", found, why, mend)

"""A task as Label Studio sends it, less all that prelabel does not need."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Task(BaseModel):
    """One task. Its `data` is raw: image addresses are not resolved yet.

    A request carries each task with all its annotations and predictions; they are dropped while
    the body is parsed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: int | str | None = None
    inner_id: int | None = None
    project: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def number(self) -> int | None:
        """The id where it is one of Label Studio's own."""
        return self.id if isinstance(self.id, int) else None

    def __str__(self) -> str:
        return f"task {self.id}" if self.id is not None else "a task without id"

"""A task as Label Studio sends it, less all that prelabel does not need."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_IDS_END = 2**63
"""Label Studio's ids of tasks are of 64 bits with a sign."""


@dataclass(frozen=True, slots=True)
class OnError:
    """What stands for a field whose value is of the wrong type."""

    instead: object

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The field's own schema, with a default for what does not fit it."""
        return core_schema.with_default_schema(
            handler(source), default=self.instead, on_error="default"
        )


class Task(BaseModel):
    """One task. Its `data` is raw: image addresses are not resolved yet.

    A request carries each task with all its annotations and predictions; they are dropped while
    the body is parsed. A field of the wrong type counts as not given: the task then fails alone,
    for want of an image, and the others of its request do not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[int | str | None, OnError(None)] = None
    inner_id: Annotated[int | None, OnError(None)] = None
    project: Annotated[int | None, OnError(None)] = None
    data: Annotated[dict[str, Any], OnError({})] = {}
    updated_at: Annotated[str | None, OnError(None)] = None

    @property
    def number(self) -> int | None:
        """The id where it is one of Label Studio's own."""
        return self.id if isinstance(self.id, int) and 0 <= self.id < _IDS_END else None

    def __str__(self) -> str:
        return f"task {self.id}" if self.id is not None else "a task without id"

"""Clients by the thousand: asyncio, one connection for each request."""

import asyncio
import json
import re
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from prelabel.benchmarks.server import CONFIG


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got.

    Attributes:
        status: Of HTTP.
        seconds: From connecting to the last byte.
        retry_after: What the header said, or "".
        body: The answer, parsed.
    """

    status: int
    seconds: float
    retry_after: str
    body: Any

    @property
    def is_well_formed(self) -> bool:
        """Whether it is an answer to a prediction, or a refusal that says when to come again."""
        if self.status == 200:  # noqa: PLR2004 - HTTP's number for all is well
            return isinstance(self.body, dict) and "results" in self.body
        return bool(self.retry_after)

    @property
    def predicted(self) -> int:
        """How many tasks got a prediction."""
        results = self.body.get("results", []) if isinstance(self.body, dict) else []
        return sum(1 for one in results if one)


async def predict(port: int, uris: list[str], agent: str = "bench") -> Answer:
    """Ask for the predictions of some images."""
    tasks = [{"id": number, "data": {"image": uri}} for number, uri in enumerate(uris, 1)]
    body = json.dumps({"tasks": tasks, "label_config": CONFIG, "project": 1}).encode()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: bench\r\nUser-Agent: {agent}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return await _exchange(port, head.encode() + body)


async def metric(port: int, name: str) -> float:
    """The value of a metric without labels."""
    request = b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    text = str((await _exchange(port, request)).body)
    found = re.search(rf"^{name} (\S+)", text, re.MULTILINE)
    return float(found.group(1)) if found else float("nan")


async def _exchange(port: int, request: bytes) -> Answer:
    started = perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        received = await reader.read()
    finally:
        writer.close()
    seconds = perf_counter() - started
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    retry_after = re.search(rb"(?im)^retry-after: (\S+)", head)
    is_json = re.search(rb"(?im)^content-type: application/\S*json", head)
    return Answer(
        status,
        seconds,
        retry_after.group(1).decode() if retry_after else "",
        json.loads(body) if is_json else body.decode(),
    )

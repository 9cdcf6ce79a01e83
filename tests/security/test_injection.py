"""Text from outside stays text: in logs, in headers, on pages."""

import json
import re
import socket
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from prelabel.errors import LoginRefused, SettingsError
from prelabel.labelstudio_api.login import TokenAuth
from prelabel.labelstudio_api.session import Session
from prelabel.settings import load

FORGED = "2026-01-01T00:00:00Z [info     ] all is well"
HARMFUL = [
    f"a\n{FORGED}",
    f"a\r{FORGED}",
    f"a\r\n\r\n{FORGED}",
    f"a\u2028{FORGED}",
    f"a\x85{FORGED}",
    f"a\x0b{FORGED}",
    "a\x1b[2J\x1b[1;1H\x1b[31mred",
    "a\x1b]0;title\x07",
    "a\x9b31m",
    "a\x08\x08\x08b",
    "a\x00b",
    "\u202egnp.exe",
    "a\ud800b",
]
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_LOG = """
import json, logging, sys, structlog, warnings
from prelabel import logs
style, texts = sys.argv[1], json.loads(sys.argv[2])
logs.configure("DEBUG", style)
log, library = structlog.get_logger("prelabel"), logging.getLogger("uvicorn.error")
for text in texts:
    log.info(text, reason=text, listed=[text], keyed={text: text}, error=ValueError(text))
    library.warning("said %s", text)
    warnings.warn(text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("crashed")
        library.exception("crashed")
"""


def logged(style, texts):
    command = [sys.executable, "-c", _LOG, style, json.dumps(texts)]
    ended = subprocess.run(command, capture_output=True, check=True)
    return ended.stderr.decode("utf-8", "surrogatepass").split("\n")[:-1]


def test_on_the_console_each_line_is_an_event_or_stands_behind_a_margin():
    lines = logged("console", HARMFUL)
    assert not [line for line in lines if UNSAFE.search(line)]
    events = [line for line in lines if not line.startswith("    | ")]
    assert len(events) == 5 * len(HARMFUL)
    assert not [line for line in events if line.startswith(FORGED)]
    assert all(re.match(r"20\d\d-\d\d-\d\dT[0-9:.]+Z \[\w+ *\] ", line) for line in events)


def test_as_json_each_line_is_one_event_of_libraries_too():
    lines = logged("json", HARMFUL)
    assert not [line for line in lines if UNSAFE.search(line)]
    events = [json.loads(line) for line in lines]
    assert len(events) == 5 * len(HARMFUL)
    assert events[0]["reason"] == HARMFUL[0]
    assert {event.get("logger") for event in events} == {None, "uvicorn.error", "py.warnings"}
    assert all(event["timestamp"] and event["level"] for event in events)


@pytest.mark.parametrize("style", ["console", "json"])
def test_what_callers_send_begins_no_line_in_the_log_of_a_server(start, style):
    port, child = start(LOG_LEVEL="DEBUG", LOG_FORMAT=style)
    texts = [text for text in HARMFUL if "\ud800" not in text]
    bodies = [
        {
            "tasks": [{"id": 1, "data": {"image": text}}, {"id": 2, "data": {"image": text[::-1]}}],
            "project": text,
            "label_config": f'<View><Image name="image" value="$image"/>{text}</View>',
            "params": {"login": text, "password": text},
        }
        for text in texts
    ] + [
        {
            "tasks": [{"id": n, "data": {"image": f"http://{n}.invalid/{text}"}}]
        }
        for n, text in enumerate(texts)
    ]  # fmt: skip
    for body in bodies:
        content = json.dumps(body).encode()
        for path in (b"/predict", b"/setup", b"/webhook"):
            exchange(port, b"POST", path, content, b"User-Agent: heartex/1 \x1b[31m\xff\r\n")
    exchange(port, b"GET", b"/%0a2026%1b[31m", b"", b"Host: \x1b[31m\r\n")
    exchange(port, b"G\nT", b"/", b"")
    log = child.log_path.read_bytes().decode("utf-8", "replace")
    assert log
    for line in log.split("\n")[:-1]:
        assert not UNSAFE.search(line), ascii(line)
        assert not line.startswith(FORGED)
        assert line.startswith(("    | ", "{") if style == "json" else ("    | ", "20")), line


def exchange(port, method, path, content, headers=b""):
    """The answer to a request written byte by byte, as no client library would."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as caller:
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(content)
        caller.sendall(method + b" " + path + b" HTTP/1.1\r\n" + headers + length + content)
        parts = []
        while part := caller.recv(65536):
            parts.append(part)
        return b"".join(parts)


@pytest.mark.parametrize(
    "given",
    [
        b"a\x0bSet-Cookie: a=b",
        b"a\nSet-Cookie: a=b",
        b"a b",
        b"\xc4\x8d\xc4\x8aSet-Cookie: a=b",  # line breaks to who cuts off the upper byte
        b"a%0d%0aSet-Cookie:%20a=b",
        b"a" * 65,
        b"<script>",
        b"\xff",
        b"",
    ],
)
def test_no_request_id_but_a_harmless_one_is_sent_back(quiet, given):
    answer = exchange(quiet, b"GET", b"/live", b"", b"X-Request-ID: " + given + b"\r\n")
    head = answer.partition(b"\r\n\r\n")[0]
    assert b"set-cookie" not in head.lower()
    sent = re.findall(rb"x-request-id: ([0-9a-f]{32})\r?\n", head + b"\r\n")
    assert len(sent) == 1 or head.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", [b"/x%0d%0aSet-Cookie:%20a=b", b"//evil.example/%0d%0aX:%20y/"])
def test_no_path_becomes_a_header_or_leads_to_another_host(quiet, path):
    head = exchange(quiet, b"GET", path, b"").partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    assert b"location" not in head


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9."


@pytest.mark.parametrize(
    "token", [JWT + "s3cret\r\nX-Evil: 1", JWT + "s3\ncret", "s3cret\nX: y", JWT + "s3cr\xe9t"]
)
def test_a_token_with_a_line_break_is_refused_and_not_quoted(token):
    with pytest.raises(LoginRefused) as caught:
        TokenAuth("http://studio.test", token)
    assert "cret" not in str(caught.value).replace("secret", "")
    with pytest.raises(LoginRefused):
        Session("http://studio.test", token=token)


@pytest.mark.parametrize("token", ["s3cret\n", "s3cret\r\nX: y", "s3cr\xe9t"])
def test_a_token_of_the_backend_with_a_line_break_is_refused_and_not_quoted(token):
    with pytest.raises(SettingsError, match="API_TOKEN") as caught:
        load(api_token=token)
    assert "s3cr" not in str(caught.value)


class Elements(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]


TAGS = [
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'><iframe src=javascript:alert(1)>",
    "</script><script>alert(1)</script>",
    "</style><base href=//evil.example>",
    "<!--",
    "&lt;b&gt;<b>",
    "javascript:alert(1)",
]  # fmt: skip


def test_no_text_of_a_task_becomes_an_element_of_the_status_page(app_server):
    client = app_server()
    for number, text in enumerate(TAGS):
        body = {"tasks": [{"id": number, "data": {"image": f"missing {text}"}}], "project": text}
        assert client.post("/predict", json=body).status_code == 200
        client.post("/setup", json={"project": text, "schema": f"<View>{text}</View>"})
    page = Elements(client.get("/").text)
    assert not {"img", "svg", "iframe", "base", "b", "object", "embed"} & set(page.tags)
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not [one for one in page.attributes if one[1].startswith("on")]
    followed = [text for _, name, text in page.attributes if name in ("href", "src", "action")]
    assert not [text for text in followed if "javascript:" in str(text).lower()]

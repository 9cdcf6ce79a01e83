"""The server for `gunicorn --bind 127.0.0.1:9090 --threads 64 --timeout 0 _wsgi:app`."""

import atexit
import signal
from threading import Thread
from types import FrameType

from a2wsgi import ASGIMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from prelabel.assembly.server import app as make_app
from prelabel.settings import load

STOPPING_S = 5.0
"""How long a job may take to notice; then it is handed back as it is."""

server = make_app()
service = server.state.service
# A WSGI server tells an application neither that it begins nor that it ends.
service.begin()
Thread(target=service.settle, name="settle", daemon=True).start()
atexit.register(service.close)
# gunicorn leaves it to the application who has called through a proxy; RATE_LIMIT counts callers.
app = ASGIMiddleware(ProxyHeadersMiddleware(server, load().proxies))


def _end(number: int, frame: FrameType | None) -> None:
    # Now: once Python itself ends, no pool takes anything, and 3.12 begins no thread: jobs fail.
    for each in _gunicorns:
        signal.signal(each, signal.SIG_IGN)
    service.stop_intake()
    for holder in (service.backfilling, service.learning):
        if holder:
            holder.runner.stop(STOPPING_S)
    _gunicorns[number](number, frame)


_gunicorns = {
    number: signal.signal(number, _end)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
}

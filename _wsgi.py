"""The server under gunicorn: `gunicorn --bind :9090 --threads 64 --timeout 0 _wsgi:app`."""

import atexit
from threading import Thread

from a2wsgi import ASGIMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from prelabel.assembly.server import app as make_app
from prelabel.settings import load

server = make_app()
service = server.state.service
# A WSGI server tells an application neither that it begins nor that it ends.
service.begin()
Thread(target=service.settle, name="settle", daemon=True).start()
atexit.register(service.close)
# gunicorn leaves it to the application who has called through a proxy; RATE_LIMIT counts callers.
app = ASGIMiddleware(ProxyHeadersMiddleware(server, load().proxies))

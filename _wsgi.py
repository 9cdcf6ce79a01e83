"""The server under gunicorn: `gunicorn --bind :9090 --threads 64 --timeout 0 _wsgi:app`."""

import atexit
from threading import Thread

from a2wsgi import ASGIMiddleware

from prelabel.assembly.server import app as make_app

server = make_app()
# A WSGI server tells an application neither that it begins nor that it ends.
Thread(target=server.state.service.settle, name="settle", daemon=True).start()
atexit.register(server.state.service.close)
app = ASGIMiddleware(server)

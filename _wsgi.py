"""The server under gunicorn: `gunicorn --bind :9090 --threads 64 --timeout 0 _wsgi:app`."""

from a2wsgi import ASGIMiddleware

from prelabel.assembly import app as make_app

app = ASGIMiddleware(make_app())

"""The HTTP client of Label Studio: signing in, asking, and attaching the backend."""

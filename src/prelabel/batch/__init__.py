"""Pre-annotating a whole project through the API."""

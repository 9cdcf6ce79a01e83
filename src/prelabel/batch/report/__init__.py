"""The report of a batch run: one HTML file that needs nothing beside it."""

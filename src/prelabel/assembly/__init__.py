"""The one place that builds everything: settings in, working parts out."""

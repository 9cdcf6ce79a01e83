"""HTTP: the ML backend that Label Studio talks to."""

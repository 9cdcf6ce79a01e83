"""What `prelabel bench` measures; each prints its method with its figures."""

"""Frame sequences: which frame a task is, and which frames stand beside it."""

"""What may keep prelabel from working on this machine, and the command that mends it."""

"""What runs in the background, and who runs it."""

"""Models: images in, findings in pixels out. Nothing here knows of Label Studio."""

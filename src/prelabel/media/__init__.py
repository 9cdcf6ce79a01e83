"""From the address of an image to its pixels, within limits that hold."""

"""What prelabel finds in image files, drawn over them for people to look at."""

"""A predictor for prelabel: boxes what has the colour that a label names."""

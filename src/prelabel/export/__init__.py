"""From a project's annotations to a dataset that training programs read."""

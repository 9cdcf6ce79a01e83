"""Starting things and stopping them: the backend, Label Studio, and the demo that uses both."""

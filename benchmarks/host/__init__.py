"""The Django project that our own queue is measured in: the demo's, with another processor."""

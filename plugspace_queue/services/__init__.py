"""What callers may ask for: the verbs of the manager, the same for Python and REST."""

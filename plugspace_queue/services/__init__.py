"""What callers may ask for: each verb of the manager, told once for Python and REST."""

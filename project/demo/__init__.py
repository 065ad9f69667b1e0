"""The parts of `manage.py queue_demo`: environment, processes, scenario, progress."""

"""What `manage.py queue_demo` is made of: ground, children, story, board."""

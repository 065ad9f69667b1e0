"""The chaos package is run, not collected: its app would register its processors here."""

collect_ignore = ["app", "settings.py", "__main__.py"]

"""The app of a chaos run's workers: processors, and the commands that load and judge."""

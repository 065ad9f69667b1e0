"""Workflows: expands kinds into chains of tasks and plans the inputs of their steps."""

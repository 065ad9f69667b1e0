"""Compares rows with Redis in both directions, and repairs differences."""

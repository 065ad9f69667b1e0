"""Compares rows with Redis, both ways, and repairs what differs."""

"""Writes rows to Redis: publishes tasks to their queues, and copies of rows."""

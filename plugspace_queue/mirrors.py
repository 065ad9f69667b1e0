"""Copies of rows in Redis: tiers of organizations, settings of queues."""

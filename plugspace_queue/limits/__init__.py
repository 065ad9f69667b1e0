"""Limits of organizations and queues: policies in force, monthly quotas, request windows."""

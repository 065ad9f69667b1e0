"""Chains of tasks: kinds become steps, results flow, failures do not leave anybody hanging."""

"""Paths of RQ's classes in settings of before 0.2; to go with the next release."""

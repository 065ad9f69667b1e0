"""Processors that fail, in all places where processors run."""

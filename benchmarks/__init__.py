"""Measures the queue against its budget, beside its peers, on servers of its own: `make bench`."""

"""What is too big or too slow for CI: `make prove` runs it."""

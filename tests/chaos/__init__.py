"""The chaos run: workers under load while processes and servers are killed, then a verdict."""

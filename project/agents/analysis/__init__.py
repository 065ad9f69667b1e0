"""From an address of the web to a report: what it is made of, how it looks, what it weighs."""

"""The operations behind the manager's methods, shared by Python and REST."""

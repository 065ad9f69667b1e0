"""The schemas of requests, of task inputs and outputs, and of tasks on the wire."""

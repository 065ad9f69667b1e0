"""The reference agents of the six queues: pure functions, no network but ANALYZE's, no clock."""

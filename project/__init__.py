"""The demo project: a small host of plugspace_queue, and the settings of its tests."""

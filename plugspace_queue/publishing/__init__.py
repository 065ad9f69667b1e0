"""From rows to Redis: tasks into their lines, and copies of rows."""

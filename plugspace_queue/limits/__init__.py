"""What organizations and queues may have: policies in force, monthly quotas, request windows."""

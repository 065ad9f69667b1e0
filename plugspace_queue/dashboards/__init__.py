"""What operators look at: queues, workers, workflows and organizations, ready to show."""

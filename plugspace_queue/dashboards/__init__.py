"""The data of the admin's pages: queues, workers, tasks, workflows and organizations."""

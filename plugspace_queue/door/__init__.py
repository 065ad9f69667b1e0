"""The front door: from an ask to stored rows, and every verb that changes them from outside."""

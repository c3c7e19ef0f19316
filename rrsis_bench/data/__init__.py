"""The way of a sample from a file on disk to a batch."""

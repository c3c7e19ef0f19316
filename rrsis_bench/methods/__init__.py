"""What a method is, and the checks every method must pass."""

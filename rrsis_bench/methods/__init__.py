"""The base class of all methods, and the checks that every method must pass."""

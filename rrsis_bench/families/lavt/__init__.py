"""The network of LAVT and of the methods built on it."""

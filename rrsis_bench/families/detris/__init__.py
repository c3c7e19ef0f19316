"""The network of DETRIS and of the methods built on it."""

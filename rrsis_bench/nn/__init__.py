"""Blocks that two or more methods use."""

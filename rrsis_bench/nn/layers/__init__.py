"""Blocks and losses that several methods are made of."""

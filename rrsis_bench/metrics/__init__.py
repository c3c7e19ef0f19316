"""Integers from masks, and every metric from those integers."""

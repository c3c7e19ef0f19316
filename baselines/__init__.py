"""Baseline methods. Each folder is a method of its own; none knows another, none knows the suite's engine."""

RRSIS_BENCH = "0.1.0"
"""The version of the suite these methods belong to, which tells them from other packages of this name."""

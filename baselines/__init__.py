"""Baseline methods. Each folder is a method of its own; none knows another, none knows the suite's engine."""

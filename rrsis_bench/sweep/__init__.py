"""Sweeps: the cells of a sweep's file, their states, and the launchers that run them."""

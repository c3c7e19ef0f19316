"""rrsis_bench: train, score and compare referring remote sensing image segmentation methods under one protocol."""

__version__ = "0.1.0"

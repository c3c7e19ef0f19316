"""Layers, pretrained encoders and weight files, for any method."""

"""Pretrained image and text encoders; `build.py` makes one from its name."""

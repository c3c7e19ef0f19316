"""Measurements of cost, and the pre-training of the tiny encoders."""

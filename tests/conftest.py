"""Makes this folder importable, so that a test says `from helpers.golden import official_tensor`."""

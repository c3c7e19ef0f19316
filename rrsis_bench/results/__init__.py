"""The files of one run: code that makes, checks, rescores, exports and compares them. No torch."""

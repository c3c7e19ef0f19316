"""Drawn scenes and the expressions that refer to things in them."""

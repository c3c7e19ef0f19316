"""One file per data set: how its folder becomes a manifest."""

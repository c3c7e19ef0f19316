"""Statistics of the integers of scored samples."""

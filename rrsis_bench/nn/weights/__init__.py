"""Weight files: where they come from, how they are read, which names they use."""

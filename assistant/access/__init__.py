"""Who may ask, how much, and in which order: keys, limits, usage, and a fair queue."""

"""A trainer's forward and backward pass, made quick on a CPU; each seam says what it replaces."""

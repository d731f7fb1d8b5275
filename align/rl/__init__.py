"""Learning from a reward: where it comes from, how answers are drawn, and what watches over it."""

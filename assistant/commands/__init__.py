"""Commands of `assistant …` that have parts of their own."""

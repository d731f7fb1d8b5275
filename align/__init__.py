"""Everything that makes a new version of the model. May import `assistant`, never the reverse."""

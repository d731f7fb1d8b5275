"""From what people said, and from files, to rows and tokens; whatever is left out is counted."""

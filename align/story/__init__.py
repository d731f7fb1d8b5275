"""The whole road on a base of one's own: from raw text to an assistant, each step to be seen."""

"""What people said: conversations, judgements, consent; kept so that a model can learn from it."""

"""What can say of an answer, by rule, whether it is right."""

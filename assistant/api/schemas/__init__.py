"""What clients may send, field by field; anything else is refused with a sentence."""

"""Less harm and no less help: refuse what asks for harm, answer what only sounds like it."""

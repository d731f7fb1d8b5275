"""What ends a command from outside, in words: its user, its memory, its disk."""

LACKED = ("out of memory", "can't allocate")  # as PyTorch says it, of a GPU and of a CPU


def why_stopped(error: BaseException) -> str:
    """What to say after "Stopped"; nothing for an error that is nobody's but ours."""
    if isinstance(error, KeyboardInterrupt):
        return "; run the same command again to go on."
    if isinstance(error, MemoryError) or any(words in str(error) for words in LACKED):
        return (
            ", since there was not memory enough: give a smaller --micro-batch or --longest and "
            "run the command again."
        )
    if isinstance(error, OSError):
        return (
            f" ({error.strerror or error}): free some space or make the home writable, then run "
            "the same command again; what was finished is kept."
        )
    return ""

"""What the commands share about the terminal they print to."""

import os
import sys


def nobody_reads() -> int:
    """The exit code where the reader of our output left, as `head` does; nothing went wrong."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be flushed
    return 141  # what a shell reports for a command ended by SIGPIPE

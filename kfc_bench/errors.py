"""What ends a command in one line."""


class UserError(Exception):
    """A mistake that is the user's to mend: what is wrong, where, and what would be right; exit code 2."""


class UserInterrupt(Exception):
    """Ctrl-C, with one line that says what was kept."""

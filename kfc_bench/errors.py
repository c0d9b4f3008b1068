"""How a command ends early: by a mistake that is the user's to mend, or by Ctrl-C."""


class UserError(Exception):
    """One line that says what is wrong, where, and what would be right; the command exits with code 2."""


class UserInterrupt(Exception):
    """Ctrl-C, with one line that says what was kept; the command exits with code 130."""

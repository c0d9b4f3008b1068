"""Mistakes that are the user's to mend."""


class UserError(Exception):
    """One line that says what is wrong, where, and what would be right; the command exits with code 2."""

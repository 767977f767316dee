"""The one error that is a person's to mend; the command line prints it without a traceback."""


class InputError(ValueError):
    """Something a person gave cannot be used. The message gives the value, the rule and the way out."""

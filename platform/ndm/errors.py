"""The one exception that is meant for the person at the keyboard."""


class UserError(ValueError):
    """A mistake or a circumstance the user can mend.

    The message is one sentence or two: what is wrong, by name, and the remedy. The command line prints it without
    a traceback and exits with status 2.
    """


class TrainingDiverged(UserError):
    """A training came to a loss that is no number, or too large: the same experiment would come to it again."""

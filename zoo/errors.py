"""What a user of the zoo can get wrong."""


class ZooError(ValueError):
    """A request the zoo cannot serve; the message says what would have been accepted."""

"""DemoError: the demo cannot go on. A claim that does not hold is no error: it is part of the story."""


class DemoError(Exception):
    """Something the demo needs is not there or does not work; the message says what."""

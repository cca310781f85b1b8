"""What a benchmark can fail with.

BenchError    something that is measured or needed for it is missing or answers wrongly; there is no figure then
"""


class BenchError(Exception):
    """A measurement that cannot be made, and why."""

"""Hypothesis without a deadline for an example: a busy machine makes none of them wrong."""

from hypothesis import settings

settings.register_profile("pyinit", deadline=None)
settings.load_profile("pyinit")

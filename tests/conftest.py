"""Settings that hold for all tests."""

from hypothesis import settings

settings.register_profile("stable", derandomize=True, database=None, deadline=None)
settings.load_profile("stable")

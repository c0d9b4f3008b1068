from tests.contestants.test_conventions import double

__all__ = ["double"]

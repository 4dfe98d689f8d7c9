"""Apply, take back, inspect and check the exact-resume patch series for the transformers Trainer."""

__version__ = "0.1.0"

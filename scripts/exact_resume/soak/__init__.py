"""The kill soak: runs that are killed at any moment, resumed, and compared with the run that was not."""

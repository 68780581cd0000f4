"""Evergreen beside the servers that people use instead, measured in one run: `python -m loadtests.compare`."""

"""Faults, hostile clients and long loads against services of its own, with every answer held against what is right."""

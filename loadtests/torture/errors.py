"""What can end a scenario before its end."""


class Missed(Exception):
    """What was asked for did not come; the sentence stands in the report."""


class Skipped(Exception):
    """This machine cannot do the scenario, and why."""

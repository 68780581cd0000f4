"""What can go wrong with an input, a bundle or a registry, told apart by whose fault it is.

EvergreenError
├── InputError          the caller's data cannot be what the model takes
│   ├── Malformed       ... because it is not even what it says it is (JSON that is not JSON)
│   ├── TooLarge        ... because it is more than a stated limit
│   ├── Undecodable     ... because it is damaged, or in a format that nobody reads here
│   └── NotFinite       ... because it holds numbers that are none
├── BundleError         a model's files are missing, damaged or contradict each other
├── DataError           a data set cannot be had, or is not the one that was meant
├── Conflict            somebody else changed the state first
└── RegistryUnavailable the registry cannot be reached, or cannot be one
"""


class EvergreenError(Exception):
    """Root of everything this project raises on purpose; the message is a sentence for a person."""


class InputError(EvergreenError):
    """The caller's data cannot be what the model takes; the message names the field."""


class Malformed(InputError):
    """The caller's data is not even what it says it is: JSON that is not JSON, an empty body."""


class TooLarge(InputError):
    """The caller's data exceeds a limit; the message names the limit and the size."""


class Undecodable(InputError):
    """The caller's data is damaged, or in a format that is not read here."""


class NotFinite(InputError):
    """The caller's data holds NaN or an infinity, as a broken sensor's does; the message says where."""


class BundleError(EvergreenError):
    """A model's files are missing, damaged or contradict each other."""


class DataError(EvergreenError):
    """A data set cannot be had, or is not the one that was meant; the message says what to do."""


class Conflict(EvergreenError):
    """Somebody else changed the state first; read it again and decide anew."""


class RegistryUnavailable(EvergreenError):
    """The registry cannot be reached or used; the message names it. Trying again later may help."""

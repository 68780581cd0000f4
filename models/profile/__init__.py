"""How a model's traffic is told from the rows that it was judged on: signals, a reference of them, and a test with a known false-alarm rate.

    panel(manifest, directory, reference) -> Panel.values(inputs, outputs) -> Profile.bins -> Profile.counts -> compare(profile, counts, n)

numpy alone: training builds with it, front ends compute signals with it, control compares with it. It must know none of them.
"""

from pathlib import Path

from models.bundle import Manifest
from models.errors import BundleError
from models.profile.answers import Projection as Projection
from models.profile.build import About as About
from models.profile.build import Batch as Batch
from models.profile.build import build as build
from models.profile.calibration import SIZES as SIZES
from models.profile.calibration import admitted as admitted
from models.profile.comparison import Comparison as Comparison
from models.profile.comparison import SignalReport as SignalReport
from models.profile.comparison import compare as compare
from models.profile.estimate import Estimate as Estimate
from models.profile.profile import FILE as FILE
from models.profile.profile import Null as Null
from models.profile.profile import Profile as Profile
from models.profile.profile import Signal as Signal
from models.profile.profile import read as read
from models.profile.profile import write as write
from models.profile.signals import Panel as Panel


def panel(manifest: Manifest, directory: Path, reference: Profile | None) -> Panel:
    """What computes the signals of the version in `directory`: those of its profile, in its order; without one, all that need none.

    BundleError where the profile has a signal that is not known here.
    """
    if reference is None:
        return Panel(manifest, directory, None)
    try:
        return Panel(manifest, directory, reference.projection, reference.names)
    except KeyError as error:
        raise BundleError(f"{directory / FILE}: the signal {error} is not known") from error

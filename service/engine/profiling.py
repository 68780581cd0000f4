"""python -m service.engine.profiling: a version's answers to given rows, and the profile that both make. A program with an end.

It runs the version as an engine does, so whoever wants a profile need not know ONNX Runtime, and nothing that serves is asked.
"""

import sys
from pathlib import Path

import msgspec

from models import bundle, profile
from models.errors import EvergreenError
from models.profile import Batch
from service.engine.config import Options
from service.engine.profiling_request import Request, read_rows
from service.engine.session import Session


def build(request: Request) -> profile.Profile:
    """The profile. BundleError where the version cannot be run, InputError where the rows are too few."""
    directory = Path(request.directory)
    options = Options(provider=request.provider, variant=request.variant)
    session = Session.load(directory, options)
    batches = []
    for inputs, labels in read_rows(Path(request.rows)):
        session.check(inputs)
        (outputs,) = session.run([inputs])
        batches.append(Batch(inputs, outputs, labels))
    about = msgspec.structs.replace(request.about, variant=session.report["variant"])
    return profile.build(bundle.read(directory), directory, batches, about)


def main() -> None:
    """Build what the request on the command line asks for; exit code 1 with a sentence on stderr where it cannot be."""
    request = msgspec.json.decode(sys.argv[1], type=Request)
    try:
        found = build(request)
    except EvergreenError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    Path(request.output).write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()

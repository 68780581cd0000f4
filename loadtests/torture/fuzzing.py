"""Coverage-guided fuzzing of the parser of /v2's bodies, and the word that it has to keep whatever it is given:

.venv/bin/python -m loadtests.torture.fuzzing -max_total_time=600
.venv/bin/python -m loadtests.torture.fuzzing -runs=20000 a-folder/corpus

A body is refused in a sentence, or read as Python's own JSON reads it. Options are libFuzzer's; an input that breaks the word is written
to a file, and named. Needs atheris.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.torture import asking
from models.errors import InputError

WATCHED = ["service.api.tensors", "service.api.values", "service.engine.wire"]
CORPUS = Path(".evergreen") / "fuzzing" / "corpus"
"""What one run has found interesting, the next begins with."""
LONGEST_SENTENCE = 2_000
LONGEST_INPUT = 4_096
X = np.array([[1, -2.5, 3e-9], [0, 7, 1e30]], np.float32)
EDGES = (
    b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"BYTES","data":["a","\\u00e9\\n"]}]}',
    b'{"inputs":[{"name":"x","shape":[2],"datatype":"BOOL","data":[true,false]}]}',
    b'{"inputs":[{"name":"x","shape":[2],"datatype":"INT64","data":[9223372036854775807,-1]}]}',
    b'{"inputs":[{"name":"x","shape":[2],"datatype":"UINT8","data":[[255],[0]]}],"id":"7"}',
    b'{"inputs":[{"name":"x","shape":[0],"datatype":"FP64","data":[]}],"outputs":[{"name":"y"}]}',
    b'{"parameters":{"timeout":1,"priority":2},"inputs":[]}',
)


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's options say that it is enough. It ends the process itself."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=WATCHED):
        from service.api import tensors  # noqa: F401
    given = [one for one in arguments if not one.startswith("-")]
    corpus = Path(given[0]) if given else CORPUS
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={corpus.parent}/"]
    options += [one for one in arguments if one.startswith("-")]
    atheris.Setup([sys.argv[0], *options, str(corpus)], keeps)
    atheris.Fuzz()


def seeds() -> Iterator[bytes]:
    """Bodies that are taken, as `keeps` reads them: the length of the header, a line's end, the body."""
    for message in (asking.as_json("m", {"x": X}), asking.as_binary("m", {"x": X}, "y")):
        head, _, body = message.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
        yield fields.get(b"Inference-Header-Content-Length", b"") + b"\n" + body
    for body in EDGES:
        yield b"\n" + body


def keeps(data: bytes) -> None:
    """The parser keeps its word on one input; AssertionError, or what it raised, where it does not."""
    length, _, body = data.partition(b"\n")
    taken(body, length.decode("latin-1") or None)


def taken(body: bytes, header_length: str | None) -> bool:
    """Whether a body is read; AssertionError where it is neither refused in a sentence nor read rightly."""
    from service.api import tensors  # not before `main` instruments it

    try:
        asked, found = tensors.parse(body, header_length)
    except InputError as error:
        if not 0 < len(str(error)) < LONGEST_SENTENCE:
            raise AssertionError(f"a sentence of {len(str(error))} characters") from error
        return False
    assert [slot.name for slot in asked.inputs] == list(found), "other inputs than were named"
    for slot in asked.inputs:
        array = found[slot.name]
        assert array.shape == tuple(slot.shape), f"shape {array.shape} of {slot.shape}"
    size = int(header_length) if header_length else len(body)
    for name, values in told(body[:size]).items():
        array = found[name]
        assert array.size == len(values), f"{array.size} values of {len(values)}"
        assert same(array, values), f"{name}: {array.ravel()[:8]} of {values[:8]}"
    return True


def told(head: bytes) -> dict[str, list[Any]]:
    """The numbers of every input as Python's JSON reads them; nothing where a name is said twice, which readers take differently."""
    twice = False

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice |= len(dict(pairs)) < len(pairs)
        return dict(pairs)

    try:
        read = json.loads(head.decode(errors="replace"), object_pairs_hook=once)
    except (RecursionError, json.JSONDecodeError):  # in fields that the protocol does not know
        return {}
    inputs = [] if twice else read["inputs"]
    return {one["name"]: list(flat(one["data"])) for one in inputs if "data" in one}


def flat(values: Any) -> Iterator[Any]:
    """The values of nested lists, in their order."""
    if isinstance(values, list):
        for one in values:
            yield from flat(one)
    else:
        yield values


def same(array: np.ndarray, values: list[Any]) -> bool:
    """Whether an array holds what was told, as its type can hold it."""
    if array.dtype == object:
        return [one.decode(errors="surrogatepass") for one in array.ravel()] == values
    with np.errstate(over="ignore"):
        wide = np.array(values, array.dtype if array.dtype.kind in "iub" else np.float64)
        expected = wide.astype(array.dtype)
    return np.array_equal(array.ravel(), expected, equal_nan=array.dtype.kind == "f")


if __name__ == "__main__":
    main(sys.argv[1:])

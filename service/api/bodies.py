"""JSON bodies as what they should be. It must not know what is done with them."""

from typing import Any

import msgspec

from models.errors import InputError, Malformed


def read_json(body: bytes, kind: type[Any]) -> Any:
    """`body` as `kind`. Malformed when it is no JSON, InputError says where it is something else."""
    if not body:
        raise Malformed("the body is empty")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise InputError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Malformed("the body is not JSON: it is nested too deeply") from error

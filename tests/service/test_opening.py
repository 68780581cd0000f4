"""A version is read once, and observed by the profile of the variant that runs."""

from pathlib import Path

import msgspec
import profiled
import pytest
import toys

from models import bundle, profile
from models.errors import BundleError
from service.opening import open_version


def test_what_an_engine_says_later_opens_nothing_anew(tmp_path: Path):
    directory = profiled.image(tmp_path)
    first = open_version(directory, {}, None)
    again = open_version(directory, {}, first)
    assert again is first
    ready = open_version(directory, {"variant": "fp32"}, first)
    assert (ready.processor, ready.signature) == (first.processor, first.signature)
    assert open_version(directory, {"variant": "fp32"}, ready) is ready
    assert open_version(directory, {}, ready) is ready  # its engine is being started again


def test_a_variant_with_a_profile_of_its_own_is_observed_by_that(tmp_path: Path):
    directory = profiled.image(tmp_path)
    own = msgspec.structs.replace(profiled.reference(), source="answers of int8")
    profile.write(directory, own, "int8")
    found = {
        variant: open_version(directory, {"variant": variant}, None).watch
        for variant in ("fp32", "int8")
    }
    assert found["fp32"] is not None
    assert found["int8"] is not None
    assert found["fp32"].profile == profiled.reference().sha256
    assert found["int8"].profile == own.sha256


def test_a_damaged_profile_keeps_no_version_from_answering(tmp_path: Path):
    directory = toys.image(tmp_path)
    (directory / profile.FILE).write_bytes(b"no profile")
    found = open_version(directory, {}, None).watch
    assert found is not None
    assert found.profile == ""


def test_a_version_without_files_is_what_its_engine_found_out(tmp_path: Path):
    told = msgspec.to_builtins(bundle.read(toys.image(tmp_path)))
    first = open_version(Path(), {"manifest": told}, None)
    assert open_version(Path(), {"manifest": told}, first) is first
    told["description"] = "another"
    assert open_version(Path(), {"manifest": told}, first) is not first


def test_a_version_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(BundleError):
        open_version(tmp_path, {}, None)

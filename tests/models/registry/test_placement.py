"""What a Triton configuration beside a model's versions says of them: which file is one, and which of them are served."""

from pathlib import Path

import pytest

from models.errors import BundleError
from models.registry import Registry

POLICY = 'default_model_filename: "trees.onnx" version_policy {{ {} }}'


def placed(root: Path, text: str, file: str = "trees.onnx") -> Registry:
    """A registry with versions 1 to 3 of `m`, each one bare file."""
    for version in (1, 2, 3):
        directory = root / "seed" / "m" / str(version)
        directory.mkdir(parents=True)
        (directory / file).write_bytes(b"a graph")
    (root / "seed" / "m" / "config.pbtxt").write_text(text)
    return Registry([root / "seed"], root / "overlay", root / "copies")


@pytest.mark.parametrize(
    ("policy", "served", "champion"),
    [
        ("all { }", (1, 2, 3), 3),
        ("latest { num_versions: 2 }", (2, 3), 3),
        ("specific { versions: [ 1, 2 ] }", (1, 2), 2),
    ],
)
def test_the_newest_version_that_a_policy_has_served_answers(
    policy: str, served: tuple[int, ...], champion: int, tmp_path: Path
):
    registry = placed(tmp_path, POLICY.format(policy))
    state = registry.state("m")
    assert (list(state.versions), state.policy) == ([1, 2, 3], served)
    assert registry.resolve("m")[0] == state.unwritten == champion


def test_who_was_promoted_answers_whatever_the_policy_says(tmp_path: Path):
    registry = placed(tmp_path, POLICY.format("specific { versions: 1 }"))
    registry.promote("m", 3, who="test")
    assert registry.resolve("m")[0] == 3


def test_a_policy_that_chooses_nothing_leaves_nobody_until_somebody_is_promoted(tmp_path: Path):
    registry = placed(tmp_path, POLICY.format("specific { versions: 9 }"))
    with pytest.raises(BundleError, match="chooses none of its versions, which are 1, 2, 3"):
        registry.resolve("m")
    registry.promote("m", 2, who="test")
    assert registry.state("m").aliases == {"champion": 2}


def test_without_a_policy_the_newest_answers_and_no_other_is_served(tmp_path: Path):
    registry = placed(tmp_path, "", "model.onnx")
    assert registry.state("m").policy is None
    assert registry.resolve("m")[0] == 3


def test_a_file_of_another_name_is_no_version(tmp_path: Path):
    assert placed(tmp_path, 'default_model_filename: "a.onnx"').models() == []

"""A recipe in a file of one's own: found by its path, told apart from a file that holds none."""

import re
from pathlib import Path

import jobs
import pytest

from models.errors import DataError
from models.recipes import from_file, recipe

ROOT = jobs.ROOT


def test_a_path_names_the_recipe_in_the_file() -> None:
    found = recipe(str(jobs.RECIPE))
    assert found.name == "shapes-cnn"
    assert (found.licence, found.padding, found.folds(found.hyper)) == ("not told", None, ())


def test_a_name_names_a_recipe_of_this_project() -> None:
    assert recipe("fashion-cnn").name == "fashion-cnn"
    with pytest.raises(DataError, match=r"no recipe 'other'; known: .*activity-lstm"):
        recipe("other")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("x = (", "SyntaxError"),
        ("from models.recipes import Recipe", "defines 0 recipes"),
        ("from models.recipes import Recipe\nclass A(Recipe): pass\nclass B(Recipe): pass", "defines 2"),
        ("from models.recipes import Recipe\nclass A(Recipe): pass", "abstract"),
    ],
    ids=["import", "syntax", "none", "two", "unfinished"],
)  # fmt: skip
def test_a_file_that_holds_no_recipe_is_refused_in_a_sentence(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(DataError, match=f"mine.py.*{told}"):
        from_file(path)


def test_what_a_recipe_does_not_say_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = jobs.RECIPE.read_text()
    path.write_text(re.sub(r"    (labels|name) = .*\n", "", text))
    with pytest.raises(DataError, match="Shapes says nothing of name, labels"):
        from_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*mine\.py"):
        recipe(str(tmp_path / "mine.py"))


def test_the_readme_prints_the_recipe_that_is_tested_here() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    text = jobs.RECIPE.read_text()
    assert [block for block in blocks if "(Recipe)" in block] in ([], [text])
    assert text.count("\n") < 80

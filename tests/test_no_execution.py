"""Nothing that is sent, stored or served is ever run as code: what could do that is not in the source, by its syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for room in ("service", "models") for path in (ROOT / room).rglob("*.py"))

MODULES = {
    *(
        "pickle",
        "_pickle",
        "cPickle",
        "cloudpickle",
        "dill",
        "joblib",
        "marshal",
        "shelve",
        "jsonpickle",
    ),
    *("jinja2", "mako", "chameleon", "xml", "lxml", "code", "codeop", "pty", "telnetlib"),
}
"""Whatever they read can run code, fill the memory, or is a template."""
BUILTINS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
CALLS = {
    *("os.system", "os.popen", "os.execl", "os.execv", "os.execvp", "os.spawnl", "os.spawnv"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp", "string.Template"),
    *("torch.jit.load", "torch.hub.load", "logging.config.listen"),
}
FINE = {
    ("models/recipes/__init__.py", "spec.loader.exec_module of what a variable holds"): (
        "a recipe is a file that the operator names, in a setting or on a command line"
    ),
    ("models/datasets/watch.py", "np.load with allow_pickle"): (
        "a data set of a published package, of which no byte is read before its SHA-256 is the known one"
    ),
}
"""What may stand there all the same, and why that is no client's word."""


def dotted(node: ast.expr) -> str:
    """a.b.c, as it is written."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> object:
    """What a call is given by this name, as far as it is written there."""
    found = next((one.value for one in call.keywords if one.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else found


def faults(tree: ast.AST) -> Iterator[str]:
    """Everything in a file that could run what it is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield str(node.module)
        elif isinstance(node, ast.Call):
            yield from called(node)


def called(node: ast.Call) -> Iterator[str]:
    """What one call could do."""
    name = dotted(node.func)
    if name in BUILTINS or name in CALLS:
        yield name
    if name == "torch.load" and keyword(node, "weights_only") is not True:
        yield "torch.load without weights_only"
    if keyword(node, "allow_pickle") not in (None, False):
        yield f"{name} with allow_pickle"
    if keyword(node, "shell") not in (None, False):
        yield f"{name} with a shell"
    if name.endswith(("import_module", "run_path", "run_module", "exec_module")):
        written = bool(node.args) and isinstance(node.args[0], ast.Constant)
        if not written:
            yield f"{name} of what a variable holds"


def test_no_file_runs_what_it_is_given():
    found = [
        (str(path.relative_to(ROOT)), fault)
        for path in SOURCES
        for fault in faults(ast.parse(path.read_text()))
    ]
    assert set(found) - set(FINE) == set()
    assert set(FINE) <= set(found), "what is excused is there no more"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import xml.etree.ElementTree",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=wanted)",
        "yaml.load(text)",
        "numpy.load(file, allow_pickle=True)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "importlib.import_module(name)",
        "from jinja2 import Template",
    ],
)
def test_what_would_is_found(line: str):
    assert list(faults(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run([program, text])",
        "numpy.load(file, allow_pickle=False)",
        "torch.load(file, weights_only=True)",
        "importlib.import_module('tritonclient')",
        "re.compile(pattern)",
    ],
)
def test_what_would_not_is_left_alone(line: str):
    assert list(faults(ast.parse(line))) == []

"""The tree of exceptions, and what they say."""

import importlib
import importlib.util
import inspect
import pickle
import re

import pytest
from narrowing import require_type
from written_run import written_run

import lmkit as lk
from lmkit.backends import get_backend, require
from lmkit.exceptions import ConfigError, LmkitError, MissingPackage, WaitInterrupted, nearest

errors = importlib.import_module("lmkit.exceptions")  # lk.errors is a function, too
CLASSES = {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, Exception)}


def drawn():
    """Name → parent, as the module's docstring draws them."""
    parents, above = {}, {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([ │├└─]+)(\w+)", line)
        if found and found[2] in CLASSES:
            depth = len(found[1]) // 4
            above[depth] = found[2]
            parents[found[2]] = above.get(depth - 1)
    return parents


def test_the_tree_is_as_drawn():
    tree = {n: next((b.__name__ for b in c.__bases__ if b.__name__ in CLASSES), None) for n, c in CLASSES.items()}
    assert drawn() == tree
    assert tree["LmkitError"] is None
    assert set(tree.values()) == {None, "LmkitError", "RunError"}


@pytest.mark.parametrize("name", CLASSES)
def test_one_except_catches_all(name):
    assert issubclass(CLASSES[name], LmkitError)
    assert CLASSES[name].__doc__


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("TemplateError", ValueError),
        ("MissingPackage", ImportError),
        ("RunNotFound", LookupError),
    ],
)
def test_they_are_what_python_calls_such_errors(name, builtin):
    assert issubclass(CLASSES[name], builtin)


def test_an_experiments_problems_are_told_one_a_line():
    error = ConfigError(p for p in ("seed: wrong", "name: wrong too"))
    assert error.problems == ("seed: wrong", "name: wrong too")
    assert str(ConfigError(["seed: wrong"])) == "seed: wrong"
    assert str(error) == "Invalid experiment:\n  seed: wrong\n  name: wrong too"


@pytest.mark.parametrize("name", CLASSES)
def test_they_travel_between_processes(name):
    error = ConfigError(["seed: wrong"]) if name == "ConfigError" else CLASSES[name]("it went wrong")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("given", "known", "said"),
    [
        ("reluu", ["relu", "tanh"], "did you mean 'relu'? Expected one of relu, tanh"),
        ("ReLU", ["relu", "tanh"], "did you mean 'relu'? Expected one of relu, tanh"),
        ("relu", ["ReLU"], "did you mean 'ReLU'? Expected one of ReLU"),
        ("swish", ["relu", "tanh"], "expected one of relu, tanh"),
        ("", ["relu"], "expected one of relu"),
        ("x", [], "none available"),
        ("12", [1, 123], "did you mean '123'? Expected one of 1, 123"),
    ],
)
def test_the_nearest_name(given, known, said):
    assert nearest(given, known) == said


# -- frameworks -----------------------------------------------------------------------------------


@pytest.fixture
def nothing_installed(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in ("torch", "tensorflow") else real(name, *a)
    )


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_framework_that_is_not_installed_names_the_line_that_installs_it(nothing_installed, framework, tmp_path):
    said = f"{framework} is not installed; install it: python -m pip install 'jupyter-lmkit[{framework}]'"
    for ask in (
        lambda: require(framework),
        lambda: get_backend(framework),
        lambda: lk.train(framework=framework, runs=tmp_path),
    ):
        with pytest.raises(MissingPackage) as caught:
            ask()
        assert str(caught.value) == said
    assert list(tmp_path.iterdir()) == []


def test_a_framework_that_is_unknown():
    with pytest.raises(MissingPackage, match=r"framework: given 'tensorflw', did you mean 'tensorflow'\?"):
        require("tensorflw")


def test_of_many_names_the_ten_nearest_are_listed_first():
    names = [f"gene_{i}" for i in range(349)] + ["age"]
    said = nearest("agee", names, "columns:")
    assert said.startswith("did you mean 'age'? Columns: age, ")
    assert said.endswith(", … and 340 more")
    assert said.count(",") == 10


def error_of(call):
    try:
        call()
    except LmkitError as error:
        return error
    raise AssertionError


def wine(**fields):
    return lk.plan(data="wine", **fields)


@pytest.mark.parametrize("shell", [True, False])
def test_a_cell_shows_the_users_own_frames_and_the_message(monkeypatch, shell):
    interactiveshell = pytest.importorskip("IPython.core.interactiveshell")
    tools = interactiveshell.InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: tools if shell else None)
    error = error_of(lambda: wine(modle="mlp"))
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error._render_traceback_()))
    assert "test_exceptions.py" in text
    assert 'lk.plan(data="wine"' in text
    assert "lmkit/planning" not in text
    assert "pydantic" not in text
    assert text.rstrip().endswith(str(error))
    monkeypatch.setenv("LMKIT_DEBUG", "1")
    assert "lmkit/planning" in "\n".join(error._render_traceback_())


def test_an_error_without_frames_is_its_message():
    assert lk.DataError("no rows")._render_traceback_() == ["DataError: no rows"]


def test_an_interrupted_wait_is_shown_alike(monkeypatch, tmp_path):
    run = written_run(tmp_path, state="running")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt, match="continues in its own process") as caught:
        run.wait()
    text = "\n".join(require_type(caught.value, WaitInterrupted)._render_traceback_())
    assert "test_exceptions.py" in text
    assert "lmkit/run" not in text
    assert text.endswith(str(caught.value))

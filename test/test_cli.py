"""The command line teaches its verbs, and says in one line what the user can mend."""

import argparse
import sys
from types import ModuleType

import pytest

from h2w_ros.cli import VERBS, command_module, main


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch):
    """Adds the verb `work`, which does what the test hands over."""

    def add(run) -> None:
        module = ModuleType("h2w_ros.commands.work")
        module.add_arguments = lambda parser: parser.add_argument("--pace", type=int, default=1)
        module.run = run
        monkeypatch.setitem(VERBS, "work", "what the test does")
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return add


def raising(error: BaseException):
    def run(_args: argparse.Namespace) -> int:
        raise error

    return run


def test_help_lists_every_verb_with_its_line(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{verb} {line}" in printed for verb, line in VERBS.items())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_module_that_explains_its_arguments(name: str) -> None:
    module = command_module(name)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    assert callable(module.run)
    assert module.__doc__.startswith(f"`h2w {name}")


def test_arguments_reach_the_verb_and_its_code_comes_back(verb) -> None:
    verb(lambda args: args.pace)
    assert main(["work", "--pace", "7"]) == 7


@pytest.mark.parametrize("error", [ValueError("pace must be 1, got 2"), FileNotFoundError("No model at x"), FloatingPointError("reset the session")])
def test_a_mistake_that_can_be_mended_is_one_line_and_exit_code_two(verb, error: Exception, capsys) -> None:
    verb(raising(error))
    assert main(["work"]) == 2
    assert capsys.readouterr().err == f"h2w work: {error}\n"


def test_a_missing_optional_package_is_one_line_too(verb, capsys) -> None:
    verb(raising(ImportError("Wan's autoencoder needs diffusers: pip install 'h2w_ros[wan]'")))
    assert main(["work"]) == 2
    assert "pip install" in capsys.readouterr().err


def test_verbose_shows_where_a_mistake_came_from(verb) -> None:
    verb(raising(ValueError("pace")))
    with pytest.raises(ValueError, match="pace"):
        main(["--verbose", "work"])


def test_a_defect_of_ours_is_never_hidden(verb) -> None:
    verb(raising(KeyError("pace")))
    with pytest.raises(KeyError):
        main(["work"])


def test_ctrl_c_ends_quietly_with_the_shells_code(verb, capsys) -> None:
    verb(raising(KeyboardInterrupt()))
    assert main(["work"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_an_unknown_verb_shows_the_known_ones(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["dance"])
    assert "generate" in capsys.readouterr().err

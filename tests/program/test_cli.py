"""Commands, their help, and what a wrong command line gets."""

import subprocess

import pytest

from conftest import PROGRAM, ROOT, backplane

COMMANDS = ["run", "chat", "batch", "plugins", "check", "inspect", "tokenize", "bench", "new-plugin"]


def test_help_lists_every_command():
    said = backplane("--help").expect(0).out
    for command in COMMANDS:
        assert f"\n  {command} " in said


def test_without_arguments_the_help_is_a_usage_error():
    assert "usage: backplane" in backplane().expect(2).out


def test_version_names_the_abi():
    assert "plugin ABI 1." in backplane("--version").expect(0).out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command):
    said = backplane(command, "--help").expect(0).out
    assert said.startswith(f"usage: backplane {command}") and "--help" in said


@pytest.mark.parametrize("arguments, sentence", [
    (["nothing"], 'no command "nothing"'),
    (["chatt"], "did you mean chat?"),
    (["run", "--drian", "1", "a"], "did you mean drain?"),
    (["run"], "run needs CONFIG"),
    (["run", "a", "b"], 'unexpected "b"'),
    (["run", "--fast", "a"], 'no option "--fast"'),
    (["run", "--drain", "soon", "a"], "--drain takes a whole number"),
    (["run", "--drain"], "--drain needs a value"),
    (["plugins", "--markdown=yes"], "takes no value"),
    (["chat"], "needs a MODEL or --config"),
    (["chat", "a.gguf", "--set", "temperature=0"], "--set takes model.KEY=VALUE"),
    (["batch", "a", "b"], "needs --model MODEL or --config"),
    (["bench", "a.gguf", "--batch", "1,x"], "--batch takes"),
    (["bench", "a.gguf", "--repetitions", "0"], "at least one number"),
])
def test_a_wrong_command_line_is_2_and_a_sentence(arguments, sentence):
    result = backplane(*arguments).expect(2)
    assert result.err.startswith("backplane: ") and sentence in result.err and result.out == ""


@pytest.mark.parametrize("arguments, sentence", [
    (["run", "no.yaml"], "no.yaml"),
    (["check", "no.yaml"], "no.yaml"),
    (["chat", "no.gguf"], 'no file "no.gguf"'),
    (["chat", "./no.gguf", "-p", "x"], "no.gguf"),
    (["inspect", "no.gguf"], "no.gguf"),
    (["tokenize", "no.gguf", "x"], "no.gguf"),
    (["plugins", "nothing_like_it"], 'no plugin "nothing_like_it"'),
])
def test_what_fails_is_1_and_a_sentence(arguments, sentence, tmp_path):
    result = backplane(*arguments, directory=tmp_path).expect(1)
    assert result.err.startswith("backplane: ") and sentence in result.err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["chat", "--help"], ["plugins"],
                                       ["check", ROOT / "config" / "chat.yaml"]])
def test_output_that_cannot_be_written_is_an_error(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot be written" in done.stderr


def test_a_closed_standard_input_is_an_empty_one(model):
    """And not the next descriptor that the program opens, which it would read for ever."""
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&-', PROGRAM, "chat", model], capture_output=True, timeout=30)
    assert done.returncode == 0 and done.stdout.strip() == b""

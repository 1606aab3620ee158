"""repl where standard input is not a terminal: lines in, answers and separators out."""

import json
import signal
import subprocess
import time

import pytest

from conftest import fake, run

END = "--"


def converse(*lines, code=0, **options):
    """The answer to each line, and standard error."""
    said = run(fake("repl", separator=END, **options), "".join(line + "\n" for line in lines).encode())
    assert said.returncode == code, said.stderr
    answers = [[]]
    for line in said.stdout.decode().splitlines():
        answers.append([]) if line == END else answers[-1].append(line)
    assert answers.pop() == []
    return ["\n".join(answer) for answer in answers], said.stderr.decode()


def ask(*lines, **options):
    answers, errors = converse(*lines, **options)
    assert errors == ""
    return answers


def test_a_line_is_a_prompt_and_an_answer_ends_with_the_separator():
    assert run(fake("repl"), b"hello\nyou\n").stdout == b"You said: hello\n\nYou said: you\n\n"


def test_the_conversation_goes_on_from_line_to_line():
    last = ask("one", "two", "request")[-1]
    assert last.endswith("messages=user:one|assistant:You said: one|user:two|assistant:You said: two|user:request")


def test_blank_lines_are_nothing():
    assert ask("", "  ", "x") == ["You said: x"]


def test_a_last_line_needs_no_newline():
    assert run(fake("repl"), b"hello").stdout == b"You said: hello\n\n"


def test_83_no_input_is_no_error():
    said = run(fake("repl"))
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


@pytest.mark.parametrize("lines", [["a\\", "b"], ['"""', "a", 'b"""'], ['"""', "a", "b", '"""'], ['"""a', 'b"""']])
def test_lines_that_belong_together(lines):
    assert ask(*lines) == ["You said: a\nb"]


def test_a_block_of_one_line():
    assert ask('"""a"""') == ["You said: a"]


def test_an_end_inside_a_block_sends_what_there_is():
    assert ask('"""', "a") == ["You said: a"]


# --- commands ---------------------------------------------------------------------------------------------------------

def test_help_names_every_command():
    text = ask("/help")[0]
    for name in "help system model models set regenerate undo clear save load stats quit".split():
        assert f"/{name}" in text


def test_system():
    shown, _, request, _, after = ask("/system", "/system Be kind.", "request", "/system none", "request")
    assert shown == "(the model's own)"
    assert "system=Be kind. messages=system:Be kind.|user:request" in request
    assert "system=- messages=user:request" in after


def test_the_system_option():
    assert "system=Be brief." in ask("request", system="Be brief.")[0]


def test_set_changes_and_gives_back():
    first, _, second, _, _, third = ask("request", "/set temperature 0.2", "request", "/set temperature auto",
                                        "/set seed=99", "request")
    assert "temperature=0.50 seed=7" in first and "temperature=0.20 seed=7" in second
    assert "temperature=0.50 seed=99" in third


def test_set_alone_lists():
    text = ask("/set max_tokens 12", "/set")[1]
    assert "temperature" in text and "0.5" in text and "(the model's own)" in text
    assert any(line.startswith("max_tokens") and " 12 " in line and "own" not in line for line in text.splitlines())


@pytest.mark.parametrize("line, sentence", [
    ("/set temperature 3", "temperature takes a number from 0 to 2"),
    ("/set temperature hot", 'not "hot"'),
    ("/set top_k 1.5", "top_k takes a whole number"),
    ("/set colour red", "there is no setting colour"),
    ("/hepl", "did you mean /help?"),
    ("/regen", "did you mean /regenerate?"),
    ("/xyzzy", "/help lists them"),
    ("/undo", "nothing to undo"),
    ("/regenerate", "no question"),
    ("/save", "/save needs a FILE"),
    ("/load /nonexistent/file", "cannot be read"),
    ("/save /nonexistent/file", "cannot be written"),
    ("/model medium", "no such model"),
    ("refuse", "this is refused"),
    ("fail", "the script fails here"),
])
def test_mistakes_are_a_sentence_and_the_rest_goes_on(line, sentence):
    answers, errors = converse(line, "still here", code=1)
    assert answers[-1] == "You said: still here"
    assert sentence in errors and "1 of 2 lines failed" in errors


def test_a_failed_question_is_not_in_the_conversation():
    answers, _ = converse("one", "refuse", "fail", "request", code=1)
    assert answers[-1].endswith("messages=user:one|assistant:You said: one|user:request")


def test_models_and_model():
    listed, changed, request = ask("/models", "/model large", "request")
    assert "* small" in listed and "large" in listed and "fake" in listed
    assert changed == "large" and "model=large" in request


def test_options_override_the_model_only_where_they_are_set():
    assert "temperature=0.50 seed=7 max=100" in ask("request")[0]
    assert "temperature=0.00 seed=5 max=9" in ask("request", temperature=0, seed=5, max_tokens=9)[0]


def test_regenerate_draws_with_another_seed():
    first, again, third, fresh = ask("request", "/regenerate", "/regenerate", "request")
    assert "seed=7" in first and "seed=8" in again and "seed=9" in third and "seed=7" in fresh
    assert first.replace("seed=7", "seed=8") == again


def test_undo_and_clear():
    answers = ask("one", "two", "/undo", "request", "/clear", "request")
    assert answers[3].endswith("messages=user:one|assistant:You said: one|user:request")
    assert answers[5].endswith("messages=user:request")


def test_a_prompt_may_begin_with_a_slash_behind_a_space():
    assert ask(" /quit") == ["You said:  /quit"]


def test_quit_ends():
    assert ask("/quit", "hello") == [""]


def test_stats():
    text = ask("hello", "/stats")[1]
    assert "1 answers" in text and "1 requests" in text


def test_save_and_load(tmp_path):
    file = tmp_path / "talk.json"
    ask("/system Be kind.", "one \"two\" é", f"/save {file}")
    assert json.loads(file.read_text()) == {"messages": [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": 'one "two" é'},
        {"role": "assistant", "content": 'You said: one "two" é'}]}
    assert ask(f"/load {file}", "request")[1].endswith(
        'system=Be kind. messages=system:Be kind.|user:one "two" é|assistant:You said: one "two" é|user:request')
    assert [p.name for p in tmp_path.iterdir()] == ["talk.json"]


@pytest.mark.parametrize("text", ["", "{", "[]x", "{}", '{"messages": 3}', '[{"role": "user"}]', '[{"content": "x"}]',
                                  '[{"role": "user", "content": 3}]', "\xff",
                                  '[{"role":"user","content":"a","content":"b"}]'])
def test_a_file_that_is_no_conversation_changes_nothing(text, tmp_path):
    file = tmp_path / "bad.json"
    file.write_bytes(text.encode("latin-1"))
    answers, errors = converse("one", f"/load {file}", "request", code=1)
    assert answers[-1].endswith("messages=user:one|assistant:You said: one|user:request")
    assert "bad.json" in errors


# --- hard input -------------------------------------------------------------------------------------------------------

def test_83_bad_utf_8_and_nul_become_replacement_characters():
    said = run(fake("repl"), b"a\xff\xc3b\xe2\x82\x00c\xed\xa0\x80\n")
    assert said.stdout.decode() == "You said: a\ufffd\ufffdb\ufffd\ufffdc\ufffd\ufffd\ufffd\n\n"


def test_83_a_giant_line_is_refused_and_the_next_one_answered():
    said = run(fake("repl"), b"x" * (20 << 20) + b"\nhello\n")
    assert said.stdout == b"\nYou said: hello\n\n" and b"too long" in said.stderr and said.returncode == 1


def test_a_file_gets_the_answer_as_it_is():
    assert run(fake("repl"), b"control\n").stdout == b"a\x1b]0;title\x07b\rc\x7fd\xc2\x9be\n\tend\n\n"


def test_an_answer_of_nothing():
    assert run(fake("repl"), b"nothing\nx\n").stdout == b"\nYou said: x\n\n"


def test_83_a_closed_output_ends_it():
    with subprocess.Popen(fake("repl"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        p.stdin.write(b"slow 500\nhello\n")
        p.stdin.flush()
        assert p.stdout.read(5) == b"tick "
        p.stdout.close()
        assert p.wait(10) == 1
        assert b"cannot be written" in p.stderr.read()
        p.stdin.close()


@pytest.mark.parametrize("lines", [b"", b"slow 500\n"])
def test_stop_ends_it_soon(lines):
    with subprocess.Popen(fake("repl"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        p.stdin.write(lines)
        p.stdin.flush()
        time.sleep(0.3)
        began = time.monotonic()
        p.send_signal(signal.SIGTERM)
        assert p.wait(10) in (0, 1) and time.monotonic() - began < 1


# --- one answer -------------------------------------------------------------------------------------------------------

def test_one_prompt_one_answer():
    said = run(fake("repl", prompt="hello there"), b"ignored\n")
    assert (said.returncode, said.stdout, said.stderr) == (0, b"You said: hello there\n", b"")


@pytest.mark.parametrize("prompt, sentence", [("refuse", b"this is refused"), ("fail", b"the script fails here")])
def test_one_prompt_that_fails(prompt, sentence):
    said = run(fake("repl", prompt=prompt))
    assert said.returncode == 1 and sentence in said.stderr and said.stderr.count(b"\n") == 1


def test_one_prompt_into_a_closed_output():
    with open("/dev/full", "wb") as full:
        done = subprocess.run(fake("repl", prompt="hello"), stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and b"cannot be written" in done.stderr


def test_an_unknown_model_is_refused():
    said = run(fake("repl", model="medium"))
    assert said.returncode == 1 and b"no such model" in said.stderr

"""repl on a terminal: editing, history, streaming, Ctrl-C and Ctrl-D."""

import os
import signal
import time

import pytest

from conftest import Terminal, fake, plain


def start(**options):
    t = Terminal(fake("repl", **options))
    t.expect("Ctrl-D leaves")
    t.prompt()
    return t


def test_an_answer_and_a_dim_line_behind_it():
    with start() as t:
        t.type("hello\r")
        t.expect("You said: hello\r\n")
        assert "\x1b[2m3 tokens, 2.0 tokens/s\x1b[0m" in t.prompt()
        t.type("\x04")
        assert t.leave() == 0


def test_no_color_where_none_is_wanted():
    with start(color="false") as t:
        assert "3 tokens, 2.0 tokens/s" in t.ask("hello")
        assert "\x1b[2m" not in t.output and "\x1b[1m" not in t.output


def test_words_come_as_they_are_made():
    with start() as t:
        t.type("slow 50\r")
        t.expect("tick ")
        began = time.monotonic()
        t.expect("tokens/s", 20)
        assert time.monotonic() - began > 0.5


def test_83_ctrl_c_stops_the_answer_and_keeps_its_part():
    with start() as t:
        t.type("slow 2000\r")
        t.expect("tick tick")
        began = time.monotonic()
        t.type("\x03")
        assert ", stopped" in t.prompt() and time.monotonic() - began < 2
        said = t.ask("request")
        assert "user:slow 2000|assistant:tick tick" in said and said.count("tick") < 1500
        t.type("\x04")
        assert t.leave() == 0


def test_ctrl_c_before_the_first_word_forgets_the_question():
    with start() as t:
        t.type("late 5000\r")
        time.sleep(0.3)
        t.type("\x03")
        t.prompt()
        assert "messages=user:request" in t.ask("request")


def test_ctrl_c_at_the_prompt_clears_the_line():
    with start() as t:
        for _ in range(3):
            t.type("half a line")
            t.expect("line")
            t.type("\x03")
            t.expect("^C")
            t.prompt()
        assert "You said: new" in t.ask("new")


def test_ctrl_c_inside_a_block_forgets_the_block():
    with start() as t:
        t.type('"""one\r')
        t.expect(". ")
        t.type("\x03")
        t.prompt()
        assert "You said: new" in t.ask("new")


def test_lines_that_belong_together():
    with start() as t:
        t.type("a\\\r")
        t.expect(". ")
        t.type("b\r")
        assert "You said: a\r\nb" in plain(t.prompt())
        t.type('"""c\r')
        t.expect(". ")
        t.type('d"""\r')
        assert "You said: c\r\nd" in plain(t.prompt())


def test_history_goes_back():
    with start() as t:
        t.ask("first")
        t.ask("second")
        t.type("\x1b[A\x1b[A\r")
        t.expect("You said: first")


def test_history_outlives_the_program(tmp_path):
    file = tmp_path / "history"
    with start(history=file) as t:
        t.ask("rememberé")
        t.type("\x04")
        assert t.leave() == 0
    assert file.stat().st_mode & 0o077 == 0
    with start(history=file) as t:
        t.type("\x1b[A\r")
        t.expect("You said: rememberé")


def test_editing():
    with start() as t:
        t.type("hxllo\x01\x1b[C\x1b[C\x7fe\r")
        t.expect("You said: hello")


def test_characters_of_all_lengths():
    with start() as t:
        assert "You said: é漢🙂" in t.ask("é漢🙂")


def test_bad_utf_8_is_replaced():
    with start() as t:
        t.type(b"a\xff\xc3b\r")
        assert "You said: a\ufffd\ufffdb" in plain(t.prompt())


def test_an_answer_cannot_take_over_the_terminal():
    with start() as t:
        t.type("control\r")
        assert "a␛]0;title␇bc␡d\ufffde\r\n\tend\r\n" in t.prompt()


def test_neither_can_an_error():
    with start() as t:
        t.type("/\x16\x1b[31m\r")
        between = t.prompt()
        assert "there is no command" in between and "␛[31m" in between.split("no command")[1]


def test_a_giant_line_is_refused():
    with start() as t:
        t.type("x" * 70000 + "\r")
        t.expect("too long", 60)
        t.prompt()
        assert "You said: new" in t.ask("new")


def test_ctrl_d_typed_during_an_answer_leaves_behind_it():
    with start() as t:
        t.type("slow 20\r")
        t.expect("tick")
        t.type("\x04")
        assert t.leave() == 0


def test_unknown_commands_and_quit():
    with start() as t:
        assert "did you mean /quit?" in t.ask("/qiut")
        t.type("/quit\r")
        assert t.leave() == 0


def test_a_slow_load_shows_a_bar():
    with Terminal(fake("repl", model="large")) as t:
        t.expect("##")
        t.expect("% reading weights")
        t.expect("large; /help")
        t.prompt()


def test_a_quick_load_shows_none():
    with start() as t:
        assert "%" not in t.output


@pytest.mark.parametrize("line", ["", "slow 2000\r"])
def test_stop_ends_it_soon(line):
    with start() as t:
        t.type(line)
        time.sleep(0.3)
        os.kill(t.pid, signal.SIGTERM)
        assert t.leave() == 0


def test_a_terminal_that_goes_away_ends_it():
    t = start()
    t.type("slow 2000\r")
    t.expect("tick")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.close(t.descriptor)
    end = time.monotonic() + 10
    while os.waitpid(t.pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < end
        time.sleep(0.05)

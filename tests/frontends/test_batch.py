"""batch on the scripted engine: order, errors by line, and going on where it was stopped."""

import base64
import json
import resource
import signal
import struct
import subprocess
import time

import pytest

from conftest import SANITIZED, fake, run


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def write(path, *requests):
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in requests))
    return path


def answers(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def content(result):
    return result["response"]["choices"][0]["message"]["content"]


def batch(tmp_path, *requests, code=0, **options):
    out = tmp_path / "out.jsonl"
    done = run(fake("batch", input=write(tmp_path / "in.jsonl", *requests), output=out, **options))
    assert done.returncode == code, done.stderr
    return answers(out)


def error_of(tmp_path, request):
    result, after = batch(tmp_path, request, chat("after"))
    assert content(after) == "You said: after" and "response" not in result
    assert set(result["error"]) == {"message", "type", "param", "code"}
    return result["error"]


def test_a_result(tmp_path):
    assert batch(tmp_path, {"custom_id": "a", "body": chat("hello")}) == [
        {"line": 1, "custom_id": "a", "response": {
            "object": "chat.completion", "model": None,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "You said: hello", "refusal": None}, "logprobs": None,
                         "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}}}]


def test_the_body_alone_and_a_prompt(tmp_path):
    one, two = batch(tmp_path, chat("hello", custom_id="x"), {"prompt": "hello", "model": "large"})
    assert one["custom_id"] == "x" and content(one) == "You said: hello"
    assert two["custom_id"] is None and two["response"]["object"] == "text_completion"
    assert two["response"]["model"] == "large"
    assert two["response"]["choices"][0]["text"] == "You said: hello"


def test_openais_envelope(tmp_path):
    result, = batch(tmp_path, {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat("hello")})
    assert content(result) == "You said: hello"


def test_results_are_in_the_order_of_requests(tmp_path):
    delays = [300, 10, 200, 0, 100, 50, 0, 250, 1]
    began = time.monotonic()
    results = batch(tmp_path, *(chat(f"late {d}") for d in delays), parallel=9)
    assert [content(r) for r in results] == [f"late {d}" for d in delays]
    assert [r["line"] for r in results] == list(range(1, 10))
    assert time.monotonic() - began < sum(delays) / 1000


def test_the_number_in_flight_changes_no_byte(tmp_path):
    requests = [chat(f"late {i * 7 % 20}") for i in range(40)] + [b"not json", chat("refuse")]
    outputs = []
    for parallel in (1, 3, 16, 100):
        out = tmp_path / f"out{parallel}"
        run(fake("batch", input=write(tmp_path / "in", *requests), output=out, parallel=parallel))
        outputs.append(out.read_bytes())
    assert len(set(outputs)) == 1 and outputs[0].count(b"\n") == 42


def test_fields_reach_the_engine(tmp_path):
    result, = batch(tmp_path, {"model": "small", "temperature": 1, "seed": 3, "max_tokens": 5, "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "requ"}, {"type": "text", "text": "est"}]}]})
    assert content(result).startswith("model=small temperature=1.00 seed=3 max=5 system=Be kind.")


def test_what_a_request_leaves_out_is_the_models(tmp_path):
    assert "model=small temperature=0.50 seed=7 max=100" in content(batch(tmp_path, chat("request"), model="small")[0])


@pytest.mark.parametrize("line", [b"not json", b"{", b"[]", b"3", b'""', b"null", b'{"a":1} x', b"\xff",
                                  b'{"prompt":"\xff"}', b'{"prompt":"a","prompt":"b"}',
                                  b'{"prompt":"\\ud800"}',
                                  b'{"temperature":1e400}', b"[" * 100000])
def test_lines_that_are_no_request(line, tmp_path):
    assert error_of(tmp_path, line)["code"] == "invalid_json"


@pytest.mark.parametrize("more, param", [
    ({"temperature": 2.1}, "temperature"), ({"temperature": "hot"}, "temperature"), ({"top_p": -1}, "top_p"),
    ({"top_k": 1.5}, "top_k"), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": 1 << 62}, "max_tokens"),
    ({"presence_penalty": 2.1}, "presence_penalty"), ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"stop": ["a"] * 5}, "stop"), ({"stop": ""}, "stop"), ({"stop": [3]}, "stop"), ({"stop": 3}, "stop"),
    ({"logprobs": 3}, "logprobs"), ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logit_bias": {"x": 1}}, "logit_bias"), ({"logit_bias": {"5": 101}}, "logit_bias"),
    ({"logit_bias": []}, "logit_bias"),
    ({"seed": "x"}, "seed"), ({"n": 2}, "n"), ({"stream": True}, "stream"), ({"frobnicate": 1}, "frobnicate"),
    ({"response_format": {"type": "hiccup"}}, "response_format"), ({"model": 3}, "model"),
    ({"model": "medium"}, "model"),
    ({"tools": {}}, "tools"), ({"prompt": "both"}, "prompt"), ({"messages": []}, "messages"),
    ({"messages": "x"}, "messages"),
    ({"messages": [{}]}, "messages"), ({"messages": [{"role": "user", "content": 3}]}, "messages"),
    ({"messages": [{"role": "user", "content": "x", "images": []}]}, "messages"), ({"messages": ["x"]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///x"}]}]}, "messages"),
    ({"messages": None}, "messages"), ({"custom_id": 3}, "custom_id"),
])
def test_fields_that_are_wrong(more, param, tmp_path):
    error = error_of(tmp_path, {**chat("x"), **more})
    assert error["param"] == param and error["type"] == "invalid_request_error" and param in error["message"]


@pytest.mark.parametrize("envelope, param", [({"body": 3}, "body"), ({"body": chat("x"), "extra": 1}, "extra"),
                                             ({"body": chat("x"), "url": "/v1/embeddings"}, "url")])
def test_envelopes_that_are_wrong(envelope, param, tmp_path):
    assert error_of(tmp_path, {"custom_id": "a", **envelope})["param"] == param


def test_null_fields_are_left_out(tmp_path):
    assert content(batch(tmp_path, chat("x", stop=None, seed=None, temperature=None))[0]) == "You said: x"


@pytest.mark.parametrize("text, code", [
    ("refuse", "invalid_value"), ("long", "context_length_exceeded"), ("limit", "limit_exceeded"), ("fail", "internal_error")])
def test_requests_that_fail_alone(text, code, tmp_path):
    results = batch(tmp_path, *(chat(w) for w in ("a", "late 100", text, "b")))
    assert [("error" in r) for r in results] == [False, False, True, False]
    assert results[2]["error"]["code"] == code


@pytest.mark.parametrize("others", [[], ["late 50", "slow 3"]])
def test_a_full_queue_is_waited_for(others, tmp_path):
    results = batch(tmp_path, *(chat(w) for w in [*others, "busy", "b"]))
    assert [content(r) for r in results[-2:]] == ["You said: busy", "You said: b"]


def test_blank_lines_have_no_result(tmp_path):
    assert [r["line"] for r in batch(tmp_path, b"", chat("a"), b"  ", b"\r", chat("b"), b"")] == [2, 5]


def test_a_line_that_is_too_long(tmp_path):
    results = batch(tmp_path, chat("a"), b'{"prompt":"' + b"x" * (17 << 20) + b'"}', chat("b"))
    assert "longer" in results[1]["error"]["message"] and content(results[2]) == "You said: b"


def test_pipes():
    done = run(fake("batch", input="-", output="-"), json.dumps(chat("hello")).encode())
    assert done.returncode == 0 and content(json.loads(done.stdout)) == "You said: hello"


def test_a_slow_reader_gets_everything():
    command = fake("batch", input="-", output="-", parallel=4)
    lines = b"".join(json.dumps(chat("x" * 3000 + str(i))).encode() + b"\n" for i in range(100))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        p.stdin.write(lines[:1000])
        p.stdin.flush()
        time.sleep(0.2)
        out, _ = p.communicate(lines[1000:], timeout=30)
    assert [content(json.loads(line)).removeprefix("You said: ").lstrip("x") for line in out.splitlines()] == [
        str(i) for i in range(100)]


def test_an_output_that_is_gone_ends_it():
    with subprocess.Popen(fake("batch", input="-", output="-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as p:
        p.stdout.close()
        p.stdin.write(json.dumps(chat("x")).encode() + b"\n")
        p.stdin.flush()
        assert p.wait(10) == 1 and b"cannot be written" in p.stderr.read()
        p.stdin.close()


# --- going on ---------------------------------------------------------------------------------------------------------

def whole(tmp_path, requests):
    out = tmp_path / "whole.jsonl"
    run(fake("batch", input=write(tmp_path / "in.jsonl", *requests), output=out))
    return out.read_bytes()


def test_any_beginning_is_completed_to_the_same_file(tmp_path):
    requests = [{"custom_id": f"id{i}", "body": chat(f"hello {i}")} if i % 2 else chat("refuse") for i in range(6)]
    expected = whole(tmp_path, [b"", *requests])
    for cut in range(0, len(expected) + 1, 7):
        out = tmp_path / "out.jsonl"
        out.write_bytes(expected[:cut])
        assert run(fake("batch", input=tmp_path / "in.jsonl", output=out)).returncode == 0
        assert out.read_bytes() == expected


def test_a_finished_output_stays_as_it_is(tmp_path):
    expected = whole(tmp_path, [chat("a")])
    began = time.monotonic()
    assert run(fake("batch", input=tmp_path / "in.jsonl", output=tmp_path / "whole.jsonl")).returncode == 0
    assert (tmp_path / "whole.jsonl").read_bytes() == expected and time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_ended_goes_on(number, tmp_path):
    requests = [chat(f"late {30 + i % 3 * 20}") for i in range(40)]
    expected = whole(tmp_path, requests)
    out = tmp_path / "out.jsonl"
    command = fake("batch", input=tmp_path / "in.jsonl", output=out, parallel=3)
    for _ in range(2):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as p:
            time.sleep(0.25)
            p.send_signal(number)
            p.wait(10)
        assert expected.startswith(out.read_bytes()) and len(out.read_bytes()) < len(expected)
    assert run(command).returncode == 0 and out.read_bytes() == expected


def test_a_lost_device_ends_the_run_and_answers_nobody_wrongly(tmp_path):
    results = batch(tmp_path, chat("a"), chat("lost"), chat("b"), code=1, parallel=1)
    assert [content(r) for r in results] == ["You said: a"]


@pytest.mark.parametrize("text", ["shopping list\n", "no newline", '{"other": "json"}\n', "\0" * 50])
def test_a_file_that_is_something_else_is_left_alone(text, tmp_path):
    out = tmp_path / "out.jsonl"
    out.write_text(text)
    done = run(fake("batch", input=write(tmp_path / "in.jsonl", chat("a")), output=out))
    assert done.returncode == 1 and b"choose another output" in done.stderr and out.read_text() == text


@pytest.mark.parametrize("other", [[{"custom_id": "z", "body": chat("a")}], [],
                                   [b"", {"custom_id": "a", "body": chat("a")}]])
def test_results_of_other_requests_are_left_alone(other, tmp_path):
    expected = whole(tmp_path, [{"custom_id": "a", "body": chat("a")}])
    done = run(fake("batch", input=write(tmp_path / "in.jsonl", *other), output=tmp_path / "whole.jsonl"))
    assert done.returncode == 1 and b"other requests" in done.stderr
    assert (tmp_path / "whole.jsonl").read_bytes() == expected


def test_one_process_at_a_time(tmp_path):
    command = fake("batch", input=write(tmp_path / "in.jsonl", chat("late 1000")), output=tmp_path / "out.jsonl")
    with subprocess.Popen(command) as first:
        while not (tmp_path / "out.jsonl").exists():
            time.sleep(0.02)
        time.sleep(0.1)
        second = run(command)
        assert second.returncode == 1 and b"another process" in second.stderr
        assert first.wait(10) == 0


def test_memory_does_not_grow_with_the_input(tmp_path):
    source, text = tmp_path / "in.jsonl", "x" * 8000
    with open(source, "wb") as f:
        for i in range(12000):
            f.write(json.dumps(chat(text + str(i))).encode() + b"\n")
    limit = 64 << 20
    assert source.stat().st_size > limit
    more = {} if SANITIZED else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))}
    done = run(fake("batch", input=source, output=tmp_path / "out.jsonl"), **more)
    assert done.returncode == 0 and (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 12000


def test_files_that_cannot_be_opened(tmp_path):
    missing = run(fake("batch", input=tmp_path / "none", output=tmp_path / "out"))
    assert missing.returncode == 1 and b"cannot be read" in missing.stderr
    unwritable = run(fake("batch", input=write(tmp_path / "in"), output=tmp_path / "no" / "out"))
    assert unwritable.returncode == 1 and b"cannot be opened" in unwritable.stderr


def test_embeddings_of_a_text_and_of_a_list(tmp_path):
    one, many = batch(tmp_path, {"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "hello", "model": "large"}},
                      {"input": ["", "four", "é", "late 20"]})
    assert one == {"line": 1, "custom_id": "a", "response": {
        "object": "list", "model": "large", "data": [{"object": "embedding", "index": 0, "embedding": [5.0, 0.5, -1.0]}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1}}}
    assert [(d["index"], d["embedding"][0]) for d in many["response"]["data"]] == [(0, 0), (1, 4), (2, 2), (3, 7)]
    assert many["response"]["usage"]["total_tokens"] == 4


def test_embeddings_of_tokens_in_base64_and_truncated(tmp_path):
    ids, many, cut = batch(tmp_path, {"input": [5, 6, 7], "encoding_format": "base64"}, {"input": [[1], [2, 3]]},
                           {"input": "x", "truncate": True})
    assert struct.unpack("<3f", base64.b64decode(ids["response"]["data"][0]["embedding"])) == (3, 0.5, -1)
    assert [d["embedding"][0] for d in many["response"]["data"]] == [1, 2]
    assert cut["response"]["usage"]["prompt_tokens"] == 100


def test_more_inputs_than_are_in_flight_and_a_busy_engine(tmp_path):
    inputs = ["busy"] + ["x" * n for n in range(300)]
    result, = batch(tmp_path, {"input": inputs}, parallel=1)
    assert [d["embedding"][0] for d in result["response"]["data"]] == [4, *range(300)]


def test_one_input_that_fails_fails_its_line_alone(tmp_path):
    failed, refused, good = batch(tmp_path, {"input": ["a", "fail", "late 50"]}, {"input": ["late 50", "refuse"]}, {"input": "b"})
    assert failed["error"]["code"] == "internal_error" and refused["error"]["code"] == "invalid_value"
    assert good["response"]["data"][0]["embedding"][0] == 1


@pytest.mark.parametrize("more, param", [
    ({"input": []}, "input"), ({"input": 3}, "input"), ({"input": [3.5]}, "input"), ({"input": ["a", 3]}, "input"),
    ({"input": [[]]}, "input"), ({"input": ["a"] * 2049}, "input"), ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ({"input": "a", "dimensions": 0}, "dimensions"), ({"input": "a", "prompt_name": 3}, "prompt_name"), ({"input": "a", "truncate": 1}, "truncate"),
    ({"input": "a", "temperature": 1}, "temperature"), ({"input": "a", "prompt": "b"}, "input"),
    ({"input": "a", "messages": [{"role": "user", "content": "b"}]}, "input"), ({"prompt": "a", "encoding_format": "float"}, "encoding_format")])
def test_embeddings_that_are_refused(more, param, tmp_path):
    assert error_of(tmp_path, more)["param"] == param


def test_embeddings_at_another_url(tmp_path):
    assert error_of(tmp_path, {"url": "/v1/completions", "body": {"input": "a"}})["code"] == "unknown_url"

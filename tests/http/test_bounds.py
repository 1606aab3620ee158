"""Every number and list of a body with values that no sane client sends: an answer or a 400 that names the field, never a 500,
and never a value that wrapped around."""

import json
import pathlib
import re

import pytest

import tiny_models
from conftest import Server, error_of

NUMBERS = ["1e308", "-1e308", "-1", "0.5", "9223372036854775807", "-9223372036854775808", "4294967296", "4294967297", "2147483648",
           '"NaN"', '"5"', "true", "[]", "{}"]
BEYOND_JSON = ["9223372036854775808", "18446744073709551617", "NaN", "1e400"]

BODIES = {
    "/v1/chat/completions": {"model": "smol", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0},
    "/v1/completions": {"model": "smol", "prompt": "Hi", "max_tokens": 1, "temperature": 0},
    "/v1/responses": {"model": "smol", "input": "Hi", "max_output_tokens": 16, "temperature": 0},
    "/v1/embeddings": {"model": "embeds", "input": "Hi"},
    "/v1/rerank": {"model": "ranks", "query": "Hi", "documents": ["a", "b"]},
    "/tokenize": {"model": "smol", "content": "Hi"},
    "/detokenize": {"model": "smol", "tokens": [1]},
}
WIDE = {"9223372036854775807", "4294967296", "4294967297", "2147483648"}
SIGNED, PART, NEGATIVE = {"-9223372036854775808", "-1"}, {"0.5"}, {"-1"}

# Of each field, which of NUMBERS are values that it may have.
FIELDS = {
    "/v1/chat/completions": {
        "max_tokens": set(), "max_completion_tokens": set(), "n": set(), "top_k": set(), "seed": WIDE | SIGNED, "temperature": PART,
        "top_p": PART, "min_p": PART, "typical_p": PART, "repetition_penalty": PART, "repeat_penalty": PART,
        "frequency_penalty": PART | NEGATIVE, "presence_penalty": PART | NEGATIVE, "priority": NEGATIVE, "top_logprobs": set(),
        "logprobs": {"true"}, "logit_bias": {"{}"}, "stop": {'"NaN"', '"5"', "[]"}, "stop_token_ids": {"[]"}, "stream_options": set(),
        "tools": {"[]"}, "tool_choice": set(), "parallel_tool_calls": {"true"}, "response_format": set(), "grammar": set(),
        "chat_template_kwargs": {"{}"}, "ignore_eos": {"true"}, "messages": set()},
    "/v1/completions": {"max_tokens": set(), "n": set(), "best_of": set(), "echo": {"true"}, "logprobs": set(), "seed": WIDE | SIGNED,
                        "prompt": {'"NaN"', '"5"'}},
    "/v1/responses": {"max_output_tokens": set(), "temperature": PART, "top_p": PART, "truncation": set(), "tools": {"[]"},
                      "tool_choice": set(), "text": {"{}"}, "input": {'"NaN"', '"5"'}, "instructions": {'"NaN"', '"5"'}},
    "/v1/embeddings": {"dimensions": set(), "encoding_format": set(), "truncate": {"true"}, "priority": NEGATIVE,
                       "input": {'"NaN"', '"5"'}, "prompt_name": set()},
    "/v1/rerank": {"top_n": WIDE, "return_documents": {"true"}, "truncate": {"true"}, "raw_scores": set(), "query": {'"NaN"', '"5"'},
                   "documents": set()},
    "/tokenize": {"add_special": {"true"}, "parse_special": {"true"}, "content": {'"NaN"', '"5"'}},
    "/detokenize": {"tokens": {"[]"}},
}


@pytest.fixture(scope="module")
def target(tmp_path_factory, smollm2):
    root = tmp_path_factory.mktemp("folders")
    models = {"smol": f"file: {smollm2}, context: 256", "ranks": f"file: {tiny_models.cross_encoder(root / 'ranks')}",
              "embeds": f"file: {tiny_models.mistral(root / 'embeds')}, task: embed"}
    s = Server(root, "\n".join(f"  {name}: {{ {keys} }}" for name, keys in models.items()))
    yield s
    assert s.stop() == 0, "".join(s.log)


def with_field(path, field, value):
    """The body's text with the field's as it is written."""
    body = {name: v for name, v in BODIES[path].items() if name != field}
    return json.dumps(body)[:-1].encode() + f', "{field}": {value}}}'.encode()


@pytest.mark.parametrize("path, field", [(path, field) for path, fields in FIELDS.items() for field in fields])
def test_values_beyond_reason(target, path, field):
    for value in NUMBERS:
        reply = target.post(path, with_field(path, field, value))
        if value in FIELDS[path][field]:
            assert reply.status == 200, (value, reply.body)
        else:
            error_of(reply, 400, param=field)
    for value in BEYOND_JSON:
        error_of(target.post(path, with_field(path, field, value)), 400, "invalid_json")


NEEDED = {"messages", "prompt", "input", "query", "documents", "content", "tokens"}


@pytest.mark.parametrize("path", FIELDS)
def test_null_is_as_good_as_nothing(target, path):
    for field in [*FIELDS[path], "model"]:
        ask = with_field(path, field, "null")
        if field in NEEDED or field == "model":
            error_of(target.post(path, ask), 400, param=field)
        else:
            assert target.post(path, ask).status == 200, field


# As they are written, with what they are: all numbers that JSON has, and whole ones only where a whole number is meant.
SPELLINGS = [("temperature", "-0", 200), ("temperature", "-0.0", 200), ("temperature", "1e-400", 200), ("temperature", "0.1e+1", 200),
             ("temperature", "1E0", 200), ("temperature", "+1", 400), ("temperature", ".5", 400), ("temperature", "1.", 400), ("temperature", "1e999", 400),
             ("temperature", "-1e999", 400), ("temperature", "0x1", 400), ("temperature", "1_0", 400), ("top_k", "-0", 200), ("top_k", "5.0", 400),
             ("top_k", "5e0", 400), ("n", "1.0", 400), ("n", "1e0", 400), ("seed", "-0.0", 400), ("max_tokens", "1.0", 400), ("max_tokens", "true", 400),
             ("logit_bias", '{"5": -0.0}', 200), ("logit_bias", '{"5": 1, "05": 2}', 400), ("logit_bias", '{"+5": 1}', 400), ("logit_bias", '{"5": 1, "5": 1}', 400),
             ("logit_bias", '{"5": 100, "6": -100}', 200), ("logit_bias", '{"00": 1}', 400), ("logit_bias", '{"0": 1}', 200)]


@pytest.mark.parametrize("field, value, status", SPELLINGS)
def test_how_numbers_are_written(target, field, value, status):
    reply = target.post("/v1/completions", with_field("/v1/completions", field, value))
    if status == 400:
        error_of(reply, 400)
    assert reply.status == status


MESSAGE = {"role": "user", "content": "x"}
LONG = [
    ("/v1/completions", "stop", ["x"] * 10000), ("/v1/completions", "stop", "x" * 5000000),
    ("/v1/completions", "stop_token_ids", [1] * 1000000), ("/v1/completions", "logit_bias", {str(i): 1 for i in range(100000)}),
    ("/v1/completions", "prompt", ["a"] * 100000), ("/v1/completions", "prompt", [[1]] * 100000),
    ("/v1/completions", "prompt", [1] * 1000000), ("/v1/completions", "prompt", "a " * 2000000),
    ("/v1/chat/completions", "messages", [MESSAGE] * 100000),
    ("/v1/chat/completions", "messages", [MESSAGE | {"content": [{"type": "text", "text": "x "}] * 100000}]),
    ("/v1/chat/completions", "tools", [{"type": "function", "function": {"name": "f"}}] * 20000),
    ("/v1/chat/completions", "regex", "(a|b)" * 200000), ("/v1/chat/completions", "regex", "a{1000000000}"),
    ("/v1/chat/completions", "regex", "(" * 5000 + ")" * 5000), ("/v1/chat/completions", "grammar", "root ::= " + '"a" ' * 300000),
    ("/v1/responses", "input", [MESSAGE] * 100000), ("/v1/responses", "input", "x " * 2000000),
    ("/v1/embeddings", "input", ["a"] * 100000), ("/v1/embeddings", "input", "a " * 2000000),
    ("/v1/rerank", "documents", ["a"] * 100000), ("/v1/rerank", "documents", ["a " * 2000000]),
    ("/detokenize", "tokens", [1] * 3000000), ("/detokenize", "tokens", [1, 2 ** 31 - 1]),
]


@pytest.mark.parametrize("path, field, value", LONG, ids=lambda v: str(v)[:24])
def test_more_than_there_is_room_for(target, path, field, value):
    error_of(target.post(path, BODIES[path] | {field: value}), 400, param=field)


@pytest.mark.parametrize("path", BODIES)
def test_deeper_than_it_can_be(target, path):
    for inner in ("[" * 10000 + "]" * 10000, '{"a":' * 10000 + "1" + "}" * 10000):
        error_of(target.post(path, with_field(path, "x", inner)), 400, "invalid_json")


@pytest.mark.parametrize("unit", ["{}", "[]", '""', "[[]]", '{"a":1}', "1"])
def test_values_that_would_take_much_memory(target, unit):
    """16 MiB of a body are at most eight times as much memory; an empty object would be 150 times as much."""
    def most():
        return int(re.search(r"VmHWM:\s+(\d+)", (pathlib.Path("/proc") / str(target.process.pid) / "status").read_text())[1]) >> 10
    inner = ",".join([unit] * ((16 << 20) // (len(unit) + 1) - 100))
    before = most()
    error_of(target.post("/v1/completions", with_field("/v1/completions", "x", f"[{inner}]")), 400, "limit_exceeded")
    assert most() - before < 150


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", [[10 ** 8], [[1], [10 ** 8]], [1] * 300])
def test_an_echo_that_cannot_be_is_refused_before_it_begins(target, stream, prompt):
    body = BODIES["/v1/completions"] | {"prompt": prompt, "echo": True, "stream": stream}
    error_of(target.post("/v1/completions", body), 400, param="prompt")


def test_many_tokens_are_listed(target):
    """A token for every byte of a long text."""
    reply = target.post("/tokenize", {"model": "smol", "content": "\u0378" * 400000})
    assert reply.status == 200 and len(reply.json["tokens"]) >= 400000
    assert target.post("/tokenize", {"model": "smol", "content": ""}).json == {"tokens": []}

"""Bodies that are not what they should be: case numbers are those of the acceptance list."""

import json

import pytest

from conftest import error_of

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def chat(**more):
    return {"model": "smol", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0, **more}


def text(**more):
    return {"model": "smol", "prompt": "Hi", "max_tokens": 1, "temperature": 0, **more}


WHOLE = json.dumps(chat()).encode()


@pytest.mark.parametrize("body", [b"", b"{", WHOLE[:-1], WHOLE + b"x", WHOLE + b"{}"])
def test_23_truncated_or_trailing(alive, body):
    error_of(alive.post(CHAT, body), 400, "invalid_json")


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"3", b"null", b"true"])
def test_24_no_object(alive, body):
    error_of(alive.post(CHAT, body), 400, "invalid_json")


@pytest.mark.parametrize("content", [b"\xff", b"\xc0\xaf", b"\\ud800", b"\xed\xa0\x80"])
def test_25_no_utf8(alive, content):
    reply = alive.post(CHAT, WHOLE.replace(b"Hi", content))
    error_of(reply, 400, "invalid_json")
    assert content not in reply.body


def test_26_deep(alive):
    error_of(alive.post(CHAT, b'{"model":' + b"[" * 100000 + b"]" * 100000 + b"}"), 400, "invalid_json")


def test_27_duplicate_keys(alive):
    error_of(alive.post(CHAT, WHOLE[:-1] + b',"model":"smol"}'), 400, "invalid_json")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "01", "9223372036854775808", "-"])
def test_28_numbers(alive, number):
    error_of(alive.post(CHAT, WHOLE[:-1] + b',"top_k":' + number.encode() + b"}"), 400)


def test_29_nul_in_a_prompt_is_kept(alive):
    long = alive.post(TEXT, text(prompt="Hi\u0000 there, how are you?")).json["usage"]["prompt_tokens"]
    assert long > alive.post(TEXT, text(prompt="Hi")).json["usage"]["prompt_tokens"] + 4
    long = alive.post(CHAT, chat(messages=[{"role": "user", "content": "Hi\u0000 there, how are you?"}]))
    assert long.json["usage"]["prompt_tokens"] > alive.post(CHAT, chat()).json["usage"]["prompt_tokens"] + 4


def test_30_unknown_fields(alive):
    assert alive.post(CHAT, chat(frobnicate=1, __proto__={"a": 1})).status == 200


@pytest.mark.parametrize("body", [{"messages": chat()["messages"]}, chat(model=None), chat(model=3)])
def test_31_no_model(alive, body):
    error_of(alive.post(CHAT, body), 400, param="model")


@pytest.mark.parametrize("name", ["large", "../smol", "/etc/passwd", "", "x" * 1000000, "smol\u0000"])
def test_32_unknown_model(alive, name):
    reply = alive.post(CHAT, chat(model=name))
    error_of(reply, 404, "model_not_found", "model")
    assert len(reply.body) < 2000


@pytest.mark.parametrize("messages", [None, [], "Hi", [{}], [{"role": 3, "content": "x"}], [{"role": "", "content": "x"}],
                                      [{"role": "user", "content": 3}], ["x"], [[]], {"role": "user"}])
def test_34_messages(alive, messages):
    error_of(alive.post(CHAT, chat(messages=messages)), 400, param="messages")


@pytest.mark.parametrize("prompt", [None, [], [[]], 3, {}, [[1], "x", []], [None]])
def test_35_prompts(alive, prompt):
    error_of(alive.post(TEXT, text(prompt=prompt)), 400, param="prompt")


@pytest.mark.parametrize("ids", [[-1], [1.5], [1, "x"], [2 ** 40], [49152]])
def test_36_token_ids(alive, ids):
    error_of(alive.post(TEXT, text(prompt=ids)), 400)


@pytest.mark.parametrize("field, value, path", [
    ("n", 0, CHAT), ("n", 129, CHAT), ("n", 10 ** 9, CHAT), ("n", 1.5, TEXT), ("best_of", 21, TEXT),
    ("max_tokens", -1, CHAT), ("max_tokens", 2 ** 62, CHAT), ("max_completion_tokens", 0, CHAT),
    ("temperature", -1, CHAT), ("temperature", 2.1, CHAT), ("temperature", 999999, TEXT), ("temperature", "x", CHAT),
    ("top_p", -1, CHAT), ("top_p", 1.1, CHAT), ("frequency_penalty", 2.1, CHAT), ("presence_penalty", -2.1, CHAT),
    ("repetition_penalty", 0, CHAT), ("top_logprobs", 21, CHAT), ("top_logprobs", 2, CHAT), ("logprobs", 6, TEXT),
    ("logprobs", 1, CHAT), ("logit_bias", {"x": 1}, CHAT), ("logit_bias", {"1": 101}, CHAT), ("logit_bias", {"-1": 1}, CHAT),
    ("logit_bias", {"1.5": 1}, CHAT), ("logit_bias", [], CHAT), ("stop", ["a"] * 5, CHAT), ("stop", "", CHAT),
    ("stop", ["a", ""], CHAT), ("stop", 3, CHAT), ("stop", ["a\u0000b"], CHAT), ("stop_token_ids", [-1], CHAT),
    ("stream_options", {"include_usage": True}, CHAT), ("stream", "yes", CHAT), ("seed", 1.5, CHAT), ("seed", "x", CHAT),
    ("response_format", {"type": "json_schema"}, CHAT), ("response_format", {"type": "hiccup"}, CHAT),
    ("response_format", 3, CHAT), ("tools", {}, CHAT), ("tool_choice", "required", CHAT), ("functions", [], CHAT),
    ("chat_template", "{{ x }}", CHAT), ("grammar", "root ::= x", CHAT), ("suffix", "x", TEXT), ("echo", 1, TEXT),
])
def test_37_to_58_fields(alive, field, value, path):
    error_of(alive.post(path, {**(chat() if path == CHAT else text()), field: value}), 400, param=field)


def test_42_a_token_beyond_the_vocabulary(alive):
    error_of(alive.post(CHAT, chat(logit_bias={"49152": 1})), 400)


@pytest.mark.parametrize("field", ["max_tokens", "temperature", "stop", "n", "seed", "logit_bias", "logprobs", "tools",
                                   "response_format", "stream_options", "user", "top_p"])
def test_null_is_as_good_as_none(alive, field):
    assert alive.post(CHAT, chat(**{field: None})).status == 200


def test_44_a_stop_string_across_tokens(alive):
    whole = alive.post(TEXT, text(prompt="A, B, C, D,", max_tokens=8)).json["choices"][0]["text"]
    assert whole.startswith(" E, F, G")
    for begin in range(1, 6):
        for end in range(begin + 1, 8):
            stop = whole[begin:end]
            got = alive.post(TEXT, text(prompt="A, B, C, D,", max_tokens=8, stop=stop)).json["choices"][0]["text"]
            assert got == whole[:whole.find(stop)]


def test_47_longer_than_the_context(alive):
    error = error_of(alive.post(TEXT, text(prompt="word " * 9000)), 400, "context_length_exceeded")
    assert "8192" in error["message"]


def test_57_other_parts_are_refused(alive):
    for url in ("http://169.254.169.254/", "file:///etc/passwd"):
        parts = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": url}}]
        error_of(alive.post(CHAT, chat(messages=[{"role": "user", "content": parts}])), 400, param="messages")
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert alive.post(CHAT, chat(messages=[{"role": "user", "content": parts}])).json["usage"] == alive.post(CHAT, chat()).json["usage"]


def test_59_special_tokens_of_users_are_text(alive):
    one = alive.post(CHAT, chat(messages=[{"role": "user", "content": "<|im_end|>"}]))
    assert one.status == 200 and one.json["usage"]["prompt_tokens"] > alive.post(CHAT, chat()).json["usage"]["prompt_tokens"] + 2

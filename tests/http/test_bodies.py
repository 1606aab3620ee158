"""Bodies that are not what they should be: case numbers are those of the acceptance list."""

import ctypes
import json
import os
import pathlib
import re
import shutil

import pytest

from conftest import Trap, error_of, events_of

pytestmark = pytest.mark.usefixtures("steady")
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


class Watch:
    """inotify(7): what is opened in a folder, by whomever."""
    OPEN = 0x20

    def __init__(self, folder):
        self.library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.library.inotify_init1(os.O_NONBLOCK)
        assert self.library.inotify_add_watch(self.descriptor, os.fsencode(folder), self.OPEN) >= 0

    def seen(self):
        try:
            return os.read(self.descriptor, 65536)
        except BlockingIOError:
            return b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)


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


@pytest.mark.parametrize("content", [b"\xff", b"\xc0\xaf", b"\xe0\x80\xaf", b"\\ud800", b"\\udc00x", b"\\ud800\\u0041", b"\xed\xa0\x80",
                                     b"\xf4\x90\x80\x80", b"\xc3"])
def test_25_no_utf8(alive, content):
    """In a text, in a name and in the model's name, none of which the error repeats."""
    for good in (b"Hi", b"temperature", b"smol"):
        reply = alive.post(CHAT, WHOLE.replace(good, content))
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
    ids = alive.post("/tokenize", {"model": "smol", "content": "Hi\u0000 there, how are you?"}).json["tokens"]
    assert len(ids) == long
    echo = alive.post(TEXT, text(prompt="Hi\u0000 there", echo=True)).json["choices"][0]["text"]
    assert echo.startswith("Hi") and " there" in echo
    long = alive.post(CHAT, chat(messages=[{"role": "user", "content": "Hi\u0000 there, how are you?"}]))
    assert long.json["usage"]["prompt_tokens"] > alive.post(CHAT, chat()).json["usage"]["prompt_tokens"] + 4


def test_30_unknown_fields(alive):
    assert alive.post(CHAT, chat(frobnicate=1, __proto__={"a": 1})).status == 200


@pytest.mark.parametrize("body", [{"messages": chat()["messages"]}, chat(model=None), chat(model=3)])
def test_31_no_model(alive, body):
    error_of(alive.post(CHAT, body), 400, param="model")


@pytest.mark.parametrize("name", ["large", "../smol", "/etc/passwd", "", "x" * 1000000, "smol\u0000"])
def test_32_unknown_model(alive, name):
    for path, body in [(CHAT, chat()), (TEXT, text()), ("/v1/embeddings", {"input": "x"}), ("/v1/rerank", {"query": "x", "documents": ["y"]}),
                       ("/v1/responses", {"input": "x"}), ("/tokenize", {"content": "x"}), ("/detokenize", {"tokens": [5]}),
                       ("/models/load", {}), ("/models/unload", {})]:
        reply = alive.post(path, {**body, "model": name})
        error_of(reply, 404, "model_not_found", "model")
        assert len(reply.body) < 2000


def test_32_no_file_is_touched(alive, smollm2, tmp_path):
    """Models that lie there and are not in the configuration: nobody looks at them."""
    shutil.copy(smollm2, tmp_path / "decoy.gguf")
    with Watch(tmp_path) as watch:
        near = os.path.relpath(tmp_path / "decoy.gguf", pathlib.Path(f"/proc/{alive.process.pid}/cwd").resolve())
        for name in (str(tmp_path / "decoy.gguf"), near, str(tmp_path), "decoy.gguf", "../decoy.gguf", f"file://{tmp_path}/decoy.gguf"):
            for path, body in [(CHAT, chat(model=name)), ("/models/load", {"model": name})]:
                error_of(alive.post(path, body), 404, "model_not_found", "model")
        assert watch.seen() == b""
        (tmp_path / "decoy.gguf").read_bytes()
        assert watch.seen() != b"", "it sees nothing"


@pytest.mark.parametrize("messages", [None, [], "Hi", [{}], [{"role": 3, "content": "x"}], [{"role": "", "content": "x"}],
                                      [{"role": "wizard", "content": "x"}], [{"role": "user\u0000", "content": "x"}], [{"role": "User", "content": "x"}],
                                      [{"role": "user", "content": 3}], ["x"], [[]], {"role": "user"}])
def test_34_messages(alive, messages):
    for stream in (False, True):
        error_of(alive.post(CHAT, chat(messages=messages, stream=stream)), 400, param="messages")


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_34_roles(alive, role):
    assert alive.post(CHAT, chat(messages=[{"role": role, "content": "x"}])).status == 200


@pytest.mark.parametrize("prompt", [None, [], [[]], 3, {}, [[1], "x", []], [None]])
def test_35_prompts(alive, prompt):
    error_of(alive.post(TEXT, text(prompt=prompt)), 400, param="prompt")


@pytest.mark.parametrize("ids", [[-1], [1.5], [1, "x"], [2 ** 40], [49152]])
def test_36_token_ids(alive, ids):
    error_of(alive.post(TEXT, text(prompt=ids)), 400, param="prompt")


# Of each case, field and value; CHAT unless it says otherwise.
FIELDS = {
    37: [("n", 0), ("n", 129), ("n", 10 ** 9), ("n", -1), ("n", 0, TEXT), ("n", 129, TEXT), ("n", 1.5, TEXT), ("n", "2")],
    38: [("best_of", 21, TEXT), ("best_of", 10 ** 9, TEXT), ("best_of", -1, TEXT), ("best_of", 0, TEXT)],
    39: [("max_tokens", -1), ("max_tokens", 2 ** 62), ("max_tokens", -1, TEXT), ("max_tokens", 2 ** 31, TEXT), ("max_tokens", 1.5),
         ("max_completion_tokens", 0), ("max_completion_tokens", 2 ** 32)],
    40: [("temperature", -1), ("temperature", 2.1), ("temperature", 999999, TEXT), ("temperature", "x"), ("top_p", -1), ("top_p", 1.1),
         ("frequency_penalty", 2.1), ("frequency_penalty", -2.1), ("presence_penalty", 2.1), ("presence_penalty", -2.1),
         ("repetition_penalty", 0), ("repeat_penalty", 0), ("repeat_penalty", 0, TEXT), ("min_p", -0.1), ("typical_p", 2)],
    41: [("top_logprobs", 21), ("top_logprobs", -1), ("top_logprobs", 2), ("logprobs", 1), ("logprobs", "yes"), ("logprobs", 6, TEXT),
         ("logprobs", -1, TEXT), ("logprobs", True, TEXT)],
    42: [("logit_bias", bias) for bias in ({"x": 1}, {"1": 101}, {"1": -101}, {"-1": 1}, {"1.5": 1}, {"": 1}, {" 1": 1}, {"1": "x"},
                                           {str(2 ** 32): 1}, {str(2 ** 32 + 5): 1}, {"49152": 1}, [], {str(i): 1 for i in range(1025)})],
    43: [("stop", ["a"] * 5), ("stop", ""), ("stop", ["a", ""]), ("stop", 3), ("stop", [3]), ("stop", {"a": 1}), ("stop", ["a\u0000b"]),
         ("stop_token_ids", [-1]), ("stop_token_ids", [49152]), ("stop_token_ids", [1] * 65)],
    46: [("stream_options", {"include_usage": True}), ("stream_options", {"include_usage": True}, TEXT), ("stream_options", 3),
         ("stream", "yes"), ("stream", 1)],
    51: [("response_format", value) for value in ({"type": "json_schema"}, {"type": "json_schema", "json_schema": 123}, {}, 3,
                                                  {"type": "json_schema", "json_schema": {"name": "x", "schema": 123}}, {"type": "hiccup"})],
    55: [("tool_choice", "required"), ("tool_choice", {"type": "function", "function": {"name": "absent"}}), ("tool_choice", "hiccup"),
         ("tools", {}), ("functions", [])],
    56: [("chat_template", "{{ x }}"), *(("chat_template_kwargs", value) for value in (
        {"messages": []}, {"add_generation_prompt": False}, {"bos_token": "x"}, {"raise_exception": 1}, [], "x"))],
    58: [("n_keep", -1), ("n_discard", -5, TEXT), ("top_k", -1), ("top_k", -2 ** 63, TEXT), ("n_predict", -1, TEXT),
         ("stop_token_ids", [-2 ** 31]), ("seed", 1.5), ("seed", "x"), ("echo", 1, TEXT), ("suffix", "x", TEXT)],
}


def refuses(server, number):
    """Each of the case is a 400 that names its field, streamed or not."""
    for field, value, path in ((*case, CHAT)[:3] for case in FIELDS[number]):
        for more in ({}, {"stream": True}) if field not in ("stream", "stream_options") else ({},):
            body = {**(chat() if path == CHAT else text()), **more, field: value}
            error = error_of(server.post(path, body), 400, param=field)
            assert error["code"], (field, value)


def test_37_n(alive):
    refuses(alive, 37)


def test_38_best_of(alive):
    refuses(alive, 38)


def test_39_max_tokens(alive):
    refuses(alive, 39)


def test_40_temperatures_and_penalties(alive):
    refuses(alive, 40)


def test_41_logprobs(alive):
    refuses(alive, 41)


def test_42_logit_bias(alive):
    refuses(alive, 42)


def test_43_stop(alive):
    refuses(alive, 43)


def test_46_stream_options_without_stream(alive):
    refuses(alive, 46)


def test_51_response_formats(alive):
    refuses(alive, 51)


def test_55_tool_choice(alive):
    refuses(alive, 55)


def test_56_templates(alive):
    refuses(alive, 56)


def test_58_extensions(alive):
    refuses(alive, 58)


@pytest.mark.parametrize("number", ["9223372036854775808", "1e400", "-9223372036854775809"])
def test_39_numbers_beyond_64_bits(alive, number):
    body = json.dumps(chat())[:-1].replace('"max_tokens": 1', '"user": "x"')
    error_of(alive.post(CHAT, f'{body}, "max_tokens": {number}}}'.encode()), 400)


def test_58_what_a_kwarg_may_do(alive):
    """Variables that are the template's own are fine, and one that is a list deep as a well is bounded."""
    assert alive.post(CHAT, chat(chat_template_kwargs={"enable_thinking": False, "documents": []})).status == 200
    deep = json.dumps(chat())[:-1] + ', "chat_template_kwargs": {"a": ' + "[" * 1500 + "]" * 1500 + "}}"
    assert alive.post(CHAT, deep.encode()).status in (200, 400)


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
            ask = text(prompt="A, B, C, D,", max_tokens=8, stop=stop)
            assert alive.post(TEXT, ask).json["choices"][0]["text"] == whole[:whole.find(stop)]
            events = events_of(alive.post(TEXT, {**ask, "stream": True}))
            assert "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]) == whole[:whole.find(stop)]


def test_44_a_stop_string_of_several_bytes(alive):
    """A character that the model spells in several tokens: no byte of it is seen before it is known not to be the stop."""
    ask = text(prompt="\U0001f999 \U0001f999 \U0001f999 \U0001f999 \U0001f999", max_tokens=12)
    whole = alive.post(TEXT, ask).json
    answer = whole["choices"][0]["text"]
    assert answer.count("\U0001f999") > 1 and whole["usage"]["completion_tokens"] > answer.count("\U0001f999") * 2
    for stop in ("\U0001f999", "\U0001f999 \U0001f999", " \U0001f999"):
        for stream in (False, True):
            reply = alive.post(TEXT, {**ask, "stop": stop, "stream": stream})
            got = "".join(json.loads(e)["choices"][0]["text"] for e in events_of(reply)[:-1]) if stream else \
                reply.json["choices"][0]["text"]
            assert got == answer[:answer.find(stop)] and "\ufffd" not in got


def test_45_a_stop_at_once(alive):
    ask = text(prompt="A, B, C, D,", max_tokens=8, stop=" E", logprobs=2)
    choice = alive.post(TEXT, ask).json["choices"][0]
    assert choice["text"] == "" and choice["finish_reason"] == "stop" and choice["logprobs"]["tokens"] == []
    *events, done = events_of(alive.post(TEXT, {**ask, "stream": True}))
    choices = [json.loads(event)["choices"][0] for event in events]
    assert done == "[DONE]" and {c["text"] for c in choices} == {""} and choices[-1]["finish_reason"] == "stop"
    first = alive.post(CHAT, chat(logprobs=True)).json["choices"][0]
    stopped = alive.post(CHAT, chat(max_tokens=8, stop=first["message"]["content"], logprobs=True)).json["choices"][0]
    assert first["message"]["content"] and stopped["message"]["content"] == "" and stopped["finish_reason"] == "stop"
    assert stopped["logprobs"]["content"] == []


def test_47_longer_than_the_context(alive):
    for stream in (False, True):
        error = error_of(alive.post(TEXT, text(prompt="word " * 9000, stream=stream)), 400, "context_length_exceeded", "prompt")
        assert "8192" in error["message"] and re.search(r"\b90\d\d\b", error["message"])
    messages = [{"role": "user", "content": "word " * 9000}]
    error = error_of(alive.post(CHAT, chat(messages=messages)), 400, "context_length_exceeded", "messages")
    assert "8192" in error["message"] and re.search(r"\b90\d\d\b", error["message"])
    ids = [5] * 8193
    assert "8193" in error_of(alive.post(TEXT, text(prompt=ids)), 400, "context_length_exceeded", "prompt")["message"]


def test_57_other_parts_are_refused(alive):
    with Trap() as address:
        for url in ("http://169.254.169.254/", "file:///etc/passwd", "http://a\\@b", "data:image/png;base64,AAAA", f"http://{address}/x.png",
                    f"http://a@{address}", 3, None):
            for part in ({"type": "image_url", "image_url": {"url": url}}, {"type": "image_url", "image_url": url},
                         {"type": "input_image", "image_url": url}, {"type": "file", "file": {"file_data": url}}):
                parts = [{"type": "text", "text": "Hi"}, part]
                error_of(alive.post(CHAT, chat(messages=[{"role": "user", "content": parts}])), 400, param="messages")
                error_of(alive.post("/v1/responses", {"model": "smol", "input": [{"role": "user", "content": parts}]}), 400, param="input")
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert alive.post(CHAT, chat(messages=[{"role": "user", "content": parts}])).json["usage"] == alive.post(CHAT, chat()).json["usage"]


def test_59_special_tokens_of_users_are_text(alive):
    one = alive.post(CHAT, chat(messages=[{"role": "user", "content": "<|im_end|>"}]))
    assert one.status == 200 and one.json["usage"]["prompt_tokens"] > alive.post(CHAT, chat()).json["usage"]["prompt_tokens"] + 2

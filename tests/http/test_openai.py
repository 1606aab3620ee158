"""The API with the official client: every route, streaming and not, sync and async, and what each answer holds."""

import asyncio
import re

import openai
import pytest

from conftest import ROOT, error_of

MESSAGES = [{"role": "system", "content": "You are a helpful assistant"},
            {"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)


def chat(client, **more):
    return client.chat.completions.create(**{"model": "smol", "messages": MESSAGES, "temperature": 0, **more})


def test_models(client):
    models = client.models.list().data
    assert [m.id for m in models] == ["smol"] and models[0].object == "model"
    assert client.models.retrieve("smol").id == "smol"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("large")
    assert error.value.code == "model_not_found"


def test_a_chat(client):
    answer = chat(client)
    choice = answer.choices[0]
    assert choice.message.content == PARIS and choice.message.role == "assistant" and choice.finish_reason == "stop"
    assert choice.message.refusal is None and choice.logprobs is None and answer.object == "chat.completion"
    assert answer.model == "smol" and answer.id.startswith("chatcmpl-") and answer.created > 0
    usage = answer.usage
    assert usage.completion_tokens == 8 and usage.prompt_tokens + 8 == usage.total_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0


def test_a_stream_is_the_answer_in_pieces(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert len({c.id for c in chunks}) == 1 and chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:-1])
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == PARIS
    assert [c.choices[0].finish_reason for c in chunks[:-1] if c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 8
    assert all(c.usage is None for c in chunks[:-1])


def test_async(server):
    async def work():
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)

        async def one():
            return (await chat(client)).choices[0].message.content

        async def stream():
            return "".join([c.choices[0].delta.content or "" async for c in await chat(client, stream=True)])

        return await asyncio.gather(*(one() if i % 2 else stream() for i in range(8)))

    assert asyncio.run(work()) == [PARIS] * 8


def test_logprobs_of_a_chat(client):
    whole = chat(client, logprobs=True, top_logprobs=3).choices[0]
    entries = whole.logprobs.content
    assert b"".join(bytes(e.bytes) for e in entries).decode().startswith(PARIS) and len(entries) in (7, 8)
    assert all(len(e.top_logprobs) == 3 and e.top_logprobs[0].logprob == e.logprob for e in entries)
    pieces = [c.choices[0].logprobs for c in chat(client, logprobs=True, top_logprobs=3, stream=True)]
    assert [e.model_dump() for p in pieces if p for e in p.content] == [e.model_dump() for e in entries]


def test_several_answers(client):
    many = chat(client, n=3, temperature=1, seed=5, max_tokens=8).choices
    assert [c.index for c in many] == [0, 1, 2]
    alone = [chat(client, temperature=1, seed=5 + i, max_tokens=8).choices[0].message.content for i in range(3)]
    assert [c.message.content for c in many] == alone
    texts = ["", "", ""]
    for chunk in chat(client, n=3, temperature=1, seed=5, max_tokens=8, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == alone


def test_text_completions(client):
    answer = client.completions.create(model="smol", prompt="A, B, C, D,", max_tokens=4, temperature=0)
    assert answer.choices[0].text == " E, F," and answer.choices[0].finish_reason == "length"
    assert answer.object == "text_completion"
    ids = [c.text for c in client.completions.create(model="smol", prompt=["A, B, C, D,", "1, 2, 3,"], n=2, max_tokens=2,
                                                     temperature=0).choices]
    assert ids[0] == ids[1] == " E," and ids[2] == ids[3] != ids[0]
    stream = client.completions.create(model="smol", prompt="A, B, C, D,", max_tokens=4, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in stream) == " E, F,"


def test_echo(client):
    answer = client.completions.create(model="smol", prompt="A, B, C, D,", max_tokens=2, temperature=0, echo=True)
    assert answer.choices[0].text == "A, B, C, D, E,"
    stream = client.completions.create(model="smol", prompt="A, B, C, D,", max_tokens=2, temperature=0, echo=True, stream=True)
    assert "".join(c.choices[0].text for c in stream) == "A, B, C, D, E,"


def test_logprobs_of_a_text_completion(client):
    lists = client.completions.create(model="smol", prompt="A, B, C, D,", max_tokens=4, temperature=0, logprobs=2).choices[0].logprobs
    assert lists.tokens == [" E", ",", " F", ","] and lists.text_offset == [0, 2, 3, 5]
    assert all(top[token] == value for token, value, top in zip(lists.tokens, lists.token_logprobs, lists.top_logprobs))


def test_default_lengths(client):
    assert client.completions.create(model="smol", prompt="A, B, C, D,", temperature=0).usage.completion_tokens == 16


def test_stops(client):
    assert chat(client, stop=" is").choices[0].message.content == "The capital of France"
    assert chat(client, stop=["x", "Fra"]).choices[0].message.content == "The capital of "
    first = chat(client, stop="The", logprobs=True).choices[0]
    assert first.message.content == "" and first.finish_reason == "stop"


def respond(client, **more):
    return client.responses.create(**{"model": "smol", "input": MESSAGES[1]["content"], "temperature": 0, **more})


def test_responses(client):
    answer = respond(client)
    assert answer.output_text == PARIS and answer.status == "completed" and answer.error is None
    assert answer.id.startswith("resp_") and answer.output[0].id.startswith("msg_") and answer.temperature == 0
    assert respond(client, top_p=0.95).top_p == 0.95  # not the float32 beside it
    assert answer.usage.output_tokens == 8 and answer.usage.total_tokens == 8 + answer.usage.input_tokens
    parts = [{"role": "user", "content": [{"type": "input_text", "text": MESSAGES[1]["content"]}]}]
    assert respond(client, input=parts, instructions=MESSAGES[0]["content"]).output_text == PARIS
    cut = respond(client, input="Tell me a long story.", max_output_tokens=16)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"


def test_a_stream_of_a_response(client):
    events = list(respond(client, stream=True))
    kinds = [e.type.removeprefix("response.") for e in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"} and [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events[4:-4]) == PARIS == events[-1].response.output_text


@pytest.mark.parametrize("field, value", [
    ("input", None), ("input", []), ("input", [{"role": "user", "content": [{"type": "input_image"}]}]), ("input", 3),
    ("previous_response_id", "resp_1"), ("max_output_tokens", 15), ("tools", [{"type": "web_search"}]),
    ("text", {"format": {"type": "hiccup"}}), ("truncation", "auto"), ("temperature", 3), ("model", None)])
def test_wrong_responses(server, field, value):
    error_of(server.post("/v1/responses", {"model": "smol", "input": "Hi", field: value}), 400, param=field)


def test_tokens(server):
    ids = server.post("/tokenize", {"model": "smol", "content": "Hello world"}).json["tokens"]
    assert len(ids) == 2
    assert server.post("/detokenize", {"model": "smol", "tokens": ids}).json ["content"] == "Hello world"
    prompt = server.post("/apply-template", {"model": "smol", "messages": MESSAGES}).json["prompt"]
    assert prompt.startswith("<|im_start|>system") and prompt.endswith("<|im_start|>assistant\n")


def test_health_and_version(server):
    assert server.get("/health").json == {"status": "ok"}
    version = re.search(r"^project\(backplane VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), re.M)[1]
    assert server.get("/version").json == {"version": version, "abi_major": 1, "abi_minor": server.get("/version").json["abi_minor"]}

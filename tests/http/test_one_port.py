"""Two chat models, an embedder, and a chat model's weights as another embedder, on one port: the official client on every route
that a model has, streamed and not, one after the other and all at once."""

import asyncio
import math
import subprocess

import openai
import pytest

from conftest import ROOT, Server

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
CHATS, EMBEDDERS = ["smol", "coder"], {"mini": 384, "smol-embed": 576}


def fetch(name):
    return subprocess.run([ROOT / "tools" / "fetch", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2):
    models = {"smol": f"file: {smollm2}, system_prompt: You are a helpful assistant",
              "coder": f"file: {fetch('qwen2.5-coder')}, context: 2048", "mini": f"file: {fetch('minilm')}",
              "smol-embed": f"file: {smollm2}, task: embed, pooling: mean, context: 512"}
    s = Server(tmp_path_factory.mktemp("server"), "\n".join(f"  {name}: {{ {keys} }}" for name, keys in models.items()))
    yield s
    assert s.stop() == 0, "".join(s.log)


def connect(server, kind=openai.OpenAI):
    return kind(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)


# What is asked of a client, in either way; each gives what a reader of the answer would keep.
async def chat(client, model):
    answer = await client.chat.completions.create(model=model, messages=FRANCE, temperature=0, max_tokens=12, logprobs=True)
    return answer.model, answer.choices[0].message.content, [t.logprob for t in answer.choices[0].logprobs.content]


async def chat_stream(client, model):
    stream = await client.chat.completions.create(model=model, messages=FRANCE, temperature=0, max_tokens=12, logprobs=True, stream=True)
    chunks = [c async for c in stream]
    return (chunks[0].model, "".join(c.choices[0].delta.content or "" for c in chunks),
            [t.logprob for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content])


async def text(client, model):
    answer = await client.completions.create(model=model, prompt="A, B, C, D,", temperature=0, max_tokens=6)
    return answer.model, answer.choices[0].text


async def text_stream(client, model):
    stream = await client.completions.create(model=model, prompt="A, B, C, D,", temperature=0, max_tokens=6, stream=True)
    chunks = [c async for c in stream]
    return chunks[0].model, "".join(c.choices[0].text for c in chunks)


async def respond(client, model):
    answer = await client.responses.create(model=model, input="What is the capital of France?", temperature=0, max_output_tokens=16)
    return answer.model, answer.output_text


async def respond_stream(client, model):
    stream = await client.responses.create(model=model, input="What is the capital of France?", temperature=0, max_output_tokens=16,
                                           stream=True)
    events = [e async for e in stream]
    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert events[-1].response.output_text == said
    return events[-1].response.model, said


async def embed(client, model):
    answer = await client.embeddings.create(model=model, input=["A man is eating food.", "word " * 50])
    return answer.model, [d.embedding for d in answer.data]


async def embed_floats(client, model):
    answer = await client.embeddings.create(model=model, input=["A man is eating food.", "word " * 50], encoding_format="float")
    return answer.model, [d.embedding for d in answer.data]


CALLS = [(call, model) for model in CHATS for call in (chat, chat_stream, text, text_stream, respond, respond_stream)]
CALLS += [(call, model) for model in EMBEDDERS for call in (embed, embed_floats)]


def close(a, b):
    """The same, but for numbers that went through decimals."""
    if isinstance(a, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-7)
    return len(a) == len(b) and all(map(close, a, b)) if isinstance(a, (list, tuple)) else a == b


async def one_by_one(server):
    client = connect(server, openai.AsyncOpenAI)
    return [await call(client, model) for call, model in CALLS]


@pytest.fixture(scope="module")
def answers(server):
    return asyncio.run(one_by_one(server))


def test_each_model_answers_under_its_name(answers):
    by = {(call.__name__, model): answer for (call, model), answer in zip(CALLS, answers)}
    assert all(answer[0] == model for (_, model), answer in by.items())
    for model in CHATS:
        for call in ("chat", "text", "respond"):
            assert by[call, model] == by[call + "_stream", model] and by[call, model][1]
        assert "Paris" in by["chat", model][1] and by["text", model][1].startswith(" E, F")
    assert by["chat", "smol"] != by["chat", "coder"]
    for model, width in EMBEDDERS.items():
        assert [len(v) for v in by["embed", model][1]] == [width] * 2 and close(by["embed", model], by["embed_floats", model])
        assert all(abs(math.hypot(*v) - 1) < 1e-5 for v in by["embed", model][1])


def test_all_at_once_the_answers_are_the_same(server, answers):
    async def together():
        client = connect(server, openai.AsyncOpenAI)
        return await asyncio.gather(*(call(client, model) for _ in range(2) for call, model in CALLS))

    assert asyncio.run(together()) == answers * 2


def test_the_client_that_waits(server, answers):
    client, by = connect(server), {(call.__name__, model): answer for (call, model), answer in zip(CALLS, answers)}
    assert sorted(m.id for m in client.models.list()) == sorted([*CHATS, *EMBEDDERS])
    for model in CHATS:
        assert client.models.retrieve(model).model_dump()["state"] == "ready"
        whole = client.chat.completions.create(model=model, messages=FRANCE, temperature=0, max_tokens=12)
        stream = client.chat.completions.create(model=model, messages=FRANCE, temperature=0, max_tokens=12, stream=True)
        assert whole.choices[0].message.content == by["chat", model][1]
        assert "".join(c.choices[0].delta.content or "" for c in stream) == by["chat", model][1]
        whole = client.completions.create(model=model, prompt="A, B, C, D,", temperature=0, max_tokens=6)
        stream = client.completions.create(model=model, prompt="A, B, C, D,", temperature=0, max_tokens=6, stream=True)
        assert whole.choices[0].text == by["text", model][1] == "".join(c.choices[0].text for c in stream)
        whole = client.responses.create(model=model, input=FRANCE[0]["content"], temperature=0, max_output_tokens=16)
        assert whole.output_text == by["respond", model][1]
    for model in EMBEDDERS:
        vectors = client.embeddings.create(model=model, input=["A man is eating food.", "word " * 50]).data
        assert [d.embedding for d in vectors] == by["embed", model][1]


def test_a_model_does_one_task(server):
    client = connect(server)
    for model in EMBEDDERS:
        with pytest.raises(openai.BadRequestError) as error:
            client.chat.completions.create(model=model, messages=FRANCE)
        assert error.value.param == "model"
    for model in CHATS:
        with pytest.raises(openai.BadRequestError) as error:
            client.embeddings.create(model=model, input="x")
        assert error.value.param == "model"

"""langchain-openai on a server: python langchain_client.py BASE_URL. Chat, streaming, embeddings, sync and async."""

import asyncio
import sys

import openai
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

BASE = {"base_url": sys.argv[1], "api_key": "none", "max_retries": 0}
FRANCE = "What is the capital of France?"
PARIS = "The capital of France is Paris."

chat = ChatOpenAI(model="smol", temperature=0, max_tokens=20, **BASE)
answer = chat.invoke(FRANCE)
assert answer.content == PARIS and answer.usage_metadata["output_tokens"] == 8, answer
assert answer.response_metadata["finish_reason"] == "stop" and answer.response_metadata["model_name"] == "smol"
assert chat.invoke([SystemMessage("You are a helpful assistant"), HumanMessage(FRANCE)]).content == PARIS
chunks = list(chat.stream(FRANCE, stream_usage=True))
assert "".join(c.content for c in chunks) == PARIS and len(chunks) > 3
assert sum((c.usage_metadata or {}).get("output_tokens", 0) for c in chunks) == 8
assert [a.content for a in chat.batch([FRANCE] * 4)] == [PARIS] * 4
assert chat.bind(stop=[" is"]).invoke(FRANCE).content == "The capital of France"
chain = ChatPromptTemplate.from_messages([("user", "What is the capital of {country}?")]) | chat
assert chain.invoke({"country": "France"}).content == PARIS
# The newer API, which a switch chooses.
assert ChatOpenAI(model="smol", temperature=0, use_responses_api=True, **BASE).invoke(FRANCE).text == PARIS

text = OpenAI(model="smol", temperature=0, max_tokens=4, **BASE)
assert text.invoke("A, B, C, D,") == " E, F," == "".join(text.stream("A, B, C, D,"))

embeddings = OpenAIEmbeddings(model="mini", check_embedding_ctx_length=False, **BASE)
vectors = embeddings.embed_documents(["A man is eating food.", "Someone eats.", "The weather is lovely today."])
query = embeddings.embed_query("Who eats?")
scores = [sum(a * b for a, b in zip(query, v)) for v in vectors]
assert len(query) == 384 and min(scores[:2]) > scores[2], scores

others = OpenAIEmbeddings(model="smol-embed", check_embedding_ctx_length=False, **BASE)
assert [len(v) for v in others.embed_documents(["one", "two"])] == [576, 576]


async def ask():
    async def stream():
        return "".join([c.content async for c in chat.astream(FRANCE)])

    async def one():
        return (await chat.ainvoke(FRANCE)).content

    answers = await asyncio.gather(*(one() if i % 2 else stream() for i in range(6)))
    return answers, await embeddings.aembed_query("Who eats?")


answers, again = asyncio.run(ask())
assert answers == [PARIS] * 6 and again == query

try:
    ChatOpenAI(model="nobody", **BASE).invoke("x")
    raise AssertionError("a model that is not there answered")
except openai.NotFoundError as error:
    assert error.code == "model_not_found"
print("langchain-openai: passed")

#!/usr/bin/env python3
"""Makes tests/golden/*-logits.json: models' next-token distributions in float32, and how far llama.cpp is from them.

    $(tools/python reference) tools/reference/logits.py [MODEL...]

The reference is `transformers` on the GGUF's weights de-quantised to float32. Whole distributions would be megabytes, so a
position keeps the 64 most probable tokens and the mass of the rest as one bucket. llama.cpp's divergence on the
same positions is what an engine that computes on quantised activations should be expected to reach.
"""

import ctypes
import importlib
import os
import statistics
import sys
import types

import numpy
import torch
import transformers

from common import (GEMMA, GOLDEN, QWEN, SMOLLM2, Vocabulary, build_sentencepiece, build_tokenizer, encode, fetch, peer,
                    write_json)

TOP = 64
POSITIONS = 16
CONTINUATION = 32
METRIC = ("KL(reference || x) in nats over 65 buckets: the reference's 64 most probable tokens of the position, and all other tokens "
          "as one. Each position has `top`, the reference's [id, logprob] in falling order, and `rest`, the logprob of the last "
          "bucket. x's probabilities are its softmax over the whole vocabulary in float64, its last bucket the sum over every "
          "id not in `top`.")

C_SOURCE = """#include <stdlib.h>
#include <string.h>

struct list { int *items; size_t count, capacity; };

static int list_push(struct list *l, int item) {
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 16;
        int *items = realloc(l->items, capacity * sizeof *items);
        if (!items) return -1;
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] = item;
    return 0;
}

int main(int argc, char **argv) {
    struct list l = {0};
    for (int i = 1; i < argc; i++) list_push(&l, """

STORY = ("The lighthouse keeper had not seen a ship for eleven days when the fog finally lifted. He walked down the iron stairs, "
         "counting them as he always did, and opened the door to a morning that smelled of salt and wet stone. ")
FACTS = ("Water boils at a lower temperature on high mountains because the pressure of the air is lower there. The Moon goes around the "
         "Earth in about twenty-seven days. Light from the Sun takes a little more than eight minutes to reach us. ")


def chat(*turns):
    """ChatML as SmolLM2's template writes it, with the assistant's turn opened."""
    text = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    for role, content in turns:
        text += f"<|im_start|>{role}\n{content}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


PROMPTS = [
    ("one token", "The"),
    ("one special token", "<|im_start|>"),
    ("greeting", "Hello, my name is"),
    ("fact", "The capital of France is"),
    ("story", "Once upon a time, there was a little girl who lived in a village near the forest. One day, she"),
    ("science", "Photosynthesis is the process by which green plants use sunlight to make"),
    ("physics", "According to Newton's second law, the force acting on an object is equal to"),
    ("history", "The French Revolution began in 1789 and led to the end of the monarchy. Its main causes were"),
    ("count", "1, 2, 3, 4, 5, 6, 7, 8, 9,"),
    ("arithmetic", "Q: What is 17 + 25?\nA: 42\nQ: What is 36 + 48?\nA:"),
    ("repetition", "a b c a b c a b c a b c a b"),
    ("list", "Shopping list:\n- apples\n- bread\n- milk\n-"),
    ("python", "def fibonacci(n):\n    if n < 2:\n        return n\n    return"),
    ("c", C_SOURCE),
    ("json", "{\"name\": \"Alice\", \"age\": 31, \"tags\": [\"a\", \"b\"], \"address\": {\"city\": \"Paris\", \"zip\":"),
    ("html", "<!DOCTYPE html>\n<html>\n  <head>\n    <title>Test page</title>\n  </head>\n  <body>\n    <h1>"),
    ("sql", "SELECT name, COUNT(*) FROM orders WHERE created_at >= '2024-01-01' GROUP BY"),
    ("latex", "\\begin{theorem}\nFor every natural number $n$, \\[ \\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}"),
    ("chinese", "今天天气很好，我们一起去公园散步。路上有很多"),
    ("japanese", "東京は日本の首都です。人口は約"),
    ("german", "Die Bundesrepublik Deutschland ist ein föderal verfasster Staat in"),
    ("russian", "Москва — столица России. Население города составляет"),
    ("arabic", "مرحبا بالعالم، كيف حالك"),
    ("emoji", "I love pizza 🍕 and ice cream 🍦! My favourite animals are 🐶 and"),
    ("emoji sequence", "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇯🇵"),
    ("spaces", "x\n\n\n        \t\t  y   \n\n"),
    ("chat", chat(("user", "What is the capital of Italy?"))),
    ("chat, several turns", chat(("user", "Hi!"), ("assistant", "Hello! How can I help you today?"),
                                 ("user", "Write a haiku about the sea."))),
    ("chat, code", chat(("user", "Write a Python function that reverses a string."))),
    ("chat, chinese", chat(("user", "用中文介绍一下你自己。"))),
    ("long story", STORY * 12 + "At the bottom of the stairs he"),
    ("long mixture", (FACTS + STORY) * 5 + C_SOURCE),
]

CONTINUED = ("fact", "python", "chat", "story")

FEW = ("greeting", "science", "arithmetic", "python", "json", "sql", "german", "chinese", "emoji", "c")
# Model of tools/fetch: how its tokenizer is made, the tokens before every text, and its prompts. Gemma is a base model.
MODELS = {
    SMOLLM2: (lambda vocabulary: build_tokenizer(vocabulary, "smollm"), [], [name for name, _ in PROMPTS]),
    QWEN: (lambda vocabulary: build_tokenizer(vocabulary, "qwen2"), [], [*FEW, "chat", "chat, code"]),
    GEMMA: (lambda vocabulary: build_sentencepiece(vocabulary, False), [2], [*FEW, "fact", "story", "long story"]),
}


def positions_of(ids):
    """Up to sixteen positions spread over the prompt; always the last."""
    return sorted({(len(ids) * (i + 1)) // POSITIONS - 1 for i in range(POSITIONS)} - {-1})


def log_softmax(logits):
    logits = logits.astype(numpy.float64)
    logits = logits - logits.max()
    return logits - numpy.log(numpy.exp(logits).sum())


def reduce(logprobs, ids):
    """The 65 buckets' logprobs: those of `ids`, then that of everything else."""
    others = numpy.delete(logprobs, ids)
    return numpy.append(logprobs[ids], numpy.logaddexp.reduce(others))


def divergence(reference, other):
    return float(numpy.sum(numpy.exp(reference) * (reference - other)))


def reference_logits(model, ids, positions):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, positions].numpy()


def greedy(model, ids):
    with torch.inference_mode():
        out, cache, step = [], None, torch.tensor([ids])
        for _ in range(CONTINUATION):
            result = model(step, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            out.append(int(result.logits[0, -1].argmax()))
            step = torch.tensor([out[-1:]])
        return out


class Peer:
    """llama.cpp through its own bindings, with its default settings but the size of the context."""

    def __init__(self, path, context=2048):
        folder = peer()
        os.environ["LLAMA_CPP_LIB_PATH"] = str(folder / "bin")
        # The package's __init__ imports its high-level API and with it packages we do not need; the bindings stand alone.
        package = types.ModuleType("llama_cpp")
        package.__path__ = [str(folder / "source" / "llama_cpp")]
        sys.modules["llama_cpp"] = package
        self.api = api = importlib.import_module("llama_cpp.llama_cpp")
        self.quiet = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(self.quiet, ctypes.c_void_p(0))
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        parameters = api.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_threads = parameters.n_threads_batch = os.cpu_count()
        self.context = api.llama_init_from_model(self.model, parameters)
        self.width = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))

    def logits(self, ids, positions):
        api = self.api
        api.llama_memory_clear(api.llama_get_memory(self.context), True)
        batch = api.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, i in positions
            batch.seq_id[i][0] = 0
        if api.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        rows = [numpy.ctypeslib.as_array(api.llama_get_logits_ith(self.context, p), (self.width,)).copy() for p in positions]
        api.llama_batch_free(batch)
        return rows


def make(fetched):
    build, before, names = MODELS[fetched]
    path = fetch(fetched)
    model = transformers.AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32,
                                                              attn_implementation="eager").eval()
    tokenizer = build(Vocabulary(path))
    other = Peer(path)

    prompts, continuations, all_kl, agree = [], [], [], 0
    for name, text in PROMPTS:
        if name not in names:
            continue
        ids = before + encode(tokenizer, text, special=True)
        positions = positions_of(ids)
        entries = []
        for position, mine, theirs in zip(positions, reference_logits(model, ids, positions), other.logits(ids, positions)):
            logprobs = log_softmax(mine)
            top = numpy.argsort(-logprobs, kind="stable")[:TOP]
            buckets = reduce(logprobs, top)
            kl = divergence(buckets, reduce(log_softmax(theirs), top))
            all_kl.append(kl)
            agree += int(theirs.argmax() == mine.argmax())
            entries.append({"position": position, "top": [[int(i), round(float(p), 6)] for i, p in zip(top, buckets)],
                            "rest": round(float(buckets[-1]), 6), "llama_cpp_kl": float(f"{kl:.6g}")})
        prompts.append({"name": name, "ids": ids, "positions": entries})
        if name in CONTINUED:
            out = greedy(model, ids)
            continuations.append({"name": name, "ids": out, "text": tokenizer.decode(out, skip_special_tokens=False)})
        print(f"{name:22} {len(ids):4} tokens  KL", *(format(entry["llama_cpp_kl"], ".2e") for entry in entries))

    summary = {"mean_kl": statistics.mean(all_kl), "median_kl": statistics.median(all_kl), "max_kl": max(all_kl),
               "positions": len(all_kl), "same_most_probable": agree}
    write_json(GOLDEN / f"{fetched}-logits.json", {
        "metric": METRIC,
        "model": path.name,
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, weights de-quantised to float32",
        "llama_cpp": {"version": "llama-cpp-python 0.3.36, its default context settings, CPU",
                      **{key: float(f"{value:.6g}") for key, value in summary.items()}},
        "prompts": prompts,
        "greedy_for_information": continuations})
    print(summary)


def main():
    torch.set_num_threads(os.cpu_count())
    for name in sys.argv[1:] or MODELS:
        make(name)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes tests/golden/embeddings-*.json: what `transformers` and the pooling that sentence-transformers defines make of texts, in
float32.

    $(tools/python reference) tools/reference/embeddings.py

The tiny BERTs are tests/support/tiny_bert.c's: the same generator fills them here. Other tiny models are folders that
tests/support/tiny_models.py writes. all-MiniLM-L6-v2 is the folder that tools/fetch minilm gives, SmolLM2 the file of
tools/fetch smollm2, de-quantised. tests/golden/README.md says how the files are read.
"""

import pathlib
import random
import sys
import tempfile

import numpy
import tokenizers
import torch
import transformers

import tokens
from common import GOLDEN, MINILM, REPOSITORY, SMOLLM2, Vocabulary, base64_text, build_tokenizer, encode, fetch, write_json

sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
import tiny_models

F = numpy.float32


class TinyBert:
    """tiny_bert.c, its defaults."""

    LAYERS, WIDTH, HEADS, FFN, POSITIONS, VOCABULARY = 2, 32, 2, 64, 64, 64

    def __init__(self):
        self.seed, self.state = 7, {}
        n = self.WIDTH
        self.put("embeddings.word_embeddings.weight", (self.VOCABULARY, n), 0, 1)
        self.put("embeddings.position_embeddings.weight", (self.POSITIONS, n), 0, 0.5)
        self.put("embeddings.token_type_embeddings.weight", (2, n), 0, 0.5)
        self.put("embeddings.LayerNorm.weight", (n,), 1, 0.3)
        self.put("embeddings.LayerNorm.bias", (n,), 0, 0.1)
        for layer in range(self.LAYERS):
            for name, rows, columns in (("attention.self.query", n, n), ("attention.self.key", n, n), ("attention.self.value", n, n),
                                        ("attention.output.dense", n, n), ("attention.output.LayerNorm", n, 0),
                                        ("intermediate.dense", self.FFN, n), ("output.dense", n, self.FFN),
                                        ("output.LayerNorm", n, 0)):
                full = f"encoder.layer.{layer}.{name}"
                self.put(f"{full}.weight", (rows, columns) if columns else (rows,), 0 if columns else 1, 0.3)
                self.put(f"{full}.bias", (rows,), 0, 0.1)

    def put(self, name, shape, centre, spread):
        values = numpy.empty(int(numpy.prod(shape)), F)
        for i in range(len(values)):
            self.seed = (self.seed * 1664525 + 1013904223) & 0xFFFFFFFF
            values[i] = F(centre) + (F(self.seed >> 8) / F(8388608) - F(1)) * F(spread)
        values = (values.view(numpy.uint32) & numpy.uint32(0xFFFC0000)).view(F)
        values[numpy.abs(values) < F(6.2e-5)] = 0
        self.state[name] = torch.from_numpy(values.reshape(shape))

    def model(self, activation):
        config = transformers.BertConfig(vocab_size=self.VOCABULARY, hidden_size=self.WIDTH, num_hidden_layers=self.LAYERS,
                                         num_attention_heads=self.HEADS, intermediate_size=self.FFN,
                                         max_position_embeddings=self.POSITIONS, hidden_act=activation)
        model = transformers.BertModel(config, add_pooling_layer=False)
        missing, unexpected = model.load_state_dict(self.state, strict=False)
        if unexpected or [name for name in missing if "position_ids" not in name]:
            raise SystemExit(f"tiny_bert: {missing} are missing and {unexpected} have no place")
        return model.eval()


def embed(model, ids, pooling, normalise):
    with torch.inference_mode():
        rows = model(torch.tensor([ids])).last_hidden_state[0]
    vector = {"mean": rows.mean(0), "cls": rows[0], "last": rows[-1]}[pooling]
    if normalise:
        vector = torch.nn.functional.normalize(vector, dim=0)
    return vector.numpy().astype("<f4")


def tiny():
    source, generator, models = TinyBert(), random.Random(3), []
    for name, activation, pooling, normalise in (("mean", "gelu", "mean", True), ("cls", "gelu", "cls", False),
                                                 ("last", "gelu", "last", True), ("tanh", "gelu_new", "mean", True)):
        model, cases = source.model(activation), []
        for length in (1, 2, 3, 15, 16, 17, 33, 64):
            ids = [generator.randrange(source.VOCABULARY) for _ in range(length)]
            cases.append({"ids": ids, "vector": base64_text(embed(model, ids, pooling, normalise).tobytes())})
        models.append({"name": name, "hidden_act": activation, "pooling": pooling, "normalise": normalise, "cases": cases})
    write_json(GOLDEN / "embeddings-tiny.json", {"models": models})


def texts():
    """200 of them: the tokenizers' difficult strings, sentences, and some that are longer than the model reads."""
    generator = random.Random(11)
    difficult = [*tokens.PROSE, *tokens.CODE, *tokens.NUMBERS, *tokens.SCRIPTS, *tokens.EMOJI, *tokens.WORDPIECE]
    words = sorted({word for text in tokens.PROSE + tokens.CODE for word in text.split() if len(word) < 20 and "\0" not in word})
    chosen = generator.sample(list(dict.fromkeys(text for text in difficult if "\0" not in text)), 120)
    chosen += [" ".join(generator.choice(words) for _ in range(generator.randint(3, 60))) for _ in range(70)]
    chosen += [" ".join(generator.choice(words) for _ in range(400)) for _ in range(10)]
    return chosen


def minilm():
    folder = fetch(MINILM)
    model = transformers.BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    tokenizer.encode_special_tokens = True  # what a user writes stays text
    cases = []
    for text in texts():
        ids = tokenizer.encode(text).ids
        cases.append({"text": text, "ids": ids, "vector": base64_text(embed(model, ids, "mean", True).astype("<f2").tobytes())})
    write_json(GOLDEN / "embeddings-minilm.json", {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, float32; mean of the rows, normalised",
        "cases": cases})


def some_texts():
    generator = random.Random(5)
    words = sorted({word for text in tokens.PROSE for word in text.split() if len(word) < 20 and "\0" not in word})
    chosen = ["x", "Hello world", "The weather is lovely today.", "Qu\u00e9 d\u00eda, \u4f60\u597d \U0001f642"]
    return chosen + [" ".join(generator.choice(words) for _ in range(generator.randint(3, 12))) for _ in range(8)]


def decoder_cases(model, encoder, end):
    """Each text by its last row, behind an end token, and by the mean of its rows without one; all normalised."""
    cases = []
    for text in some_texts():
        ids = encoder(text)
        cases.append({"text": text, "ids": ids, "last": base64_text(embed(model, ids + [end], "last", True).tobytes()),
                      "mean": base64_text(embed(model, ids, "mean", True).tobytes())})
    return cases


def decoders():
    with tempfile.TemporaryDirectory() as folder:
        folder = tiny_models.mistral(pathlib.Path(folder))
        mistral = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tiny_cases = decoder_cases(mistral, lambda text: tokenizer(text)["input_ids"], tokenizer.eos_token_id)
    path = fetch(SMOLLM2)
    smollm2 = transformers.AutoModel.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32,
                                                     attn_implementation="eager").eval()
    vocabulary = Vocabulary(path)
    tokenizer = build_tokenizer(vocabulary, "smollm")
    cases = decoder_cases(smollm2, lambda text: encode(tokenizer, text, False), vocabulary.tokens.index("<|im_end|>"))
    write_json(GOLDEN / "embeddings-decoders.json", {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, float32",
        "mistral": tiny_cases, "smollm2": cases})


QUERIES = ["eating food?", "x", "Who is the one that eats the most food, and where?" * 3]
DOCUMENTS = ["A man is eating food.", "", "The weather is lovely today.", "food", "the food " * 75, "eats, eating, the food."]


def cross_encoder():
    """Numbers of the head, cut to the context as sentence-transformers' CrossEncoder cuts: the longest text first."""
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        folder = tiny_models.cross_encoder(pathlib.Path(folder))
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32,
                                                                                attn_implementation="eager").eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for query in QUERIES:
            for document in DOCUMENTS:
                inputs = tokenizer([[query, document]], truncation="longest_first", max_length=tiny_models.POSITIONS,
                                   return_tensors="pt", return_token_type_ids=True)
                whole = tokenizer([[query, document]])["input_ids"][0]
                with torch.inference_mode():
                    number = model(**inputs).logits[0, 0]
                cases.append({"query": query, "document": document, "tokens": inputs["input_ids"].shape[1], "whole": len(whole),
                              "number": float(number), "score": float(torch.sigmoid(number.double()))})
    write_json(GOLDEN / "rerank-tiny.json", {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, float32", "cases": cases})


if __name__ == "__main__":
    torch.set_num_threads(1)
    tiny()
    minilm()
    decoders()
    cross_encoder()

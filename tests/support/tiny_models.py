"""Random models of some ten thousand weights as Hugging Face folders, which both this program and transformers open.

What they hold is a function of a counter, so that golden files made of them (tools/reference/embeddings.py) and the tests that
write them anew mean the same weights.
"""

import json
import math
import pathlib
import struct

import numpy

MASK = (1 << 64) - 1
WIDTH, FFN, LAYERS, HEADS, KV_HEADS, POSITIONS = 64, 96, 2, 4, 2, 128
MERGES = ["t h", "th e", "i n", "\u0120 the", "a n", "an d"]
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}


def numbers(index, count):
    """splitmix64 (Steele et al. 2014): `count` floats in [-1, 1) for tensor `index`."""
    with numpy.errstate(over="ignore"):
        z = numpy.uint64((index + 1) * 0x9E3779B97F4A7C15 * 1000003 & MASK)
        z = z + (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return (z >> numpy.uint64(40)).astype(numpy.float64) / 8388608.0 - 1.0


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_tensors(path, shapes):
    """A safetensors file of F32. A matrix is spread around 0, a norm's weight around 1, other vectors around 0."""
    header, data = {}, b""
    for index, (name, shape) in enumerate(shapes.items()):
        middle = 1 if name.endswith("norm.weight") or name.endswith("LayerNorm.weight") else 0
        spread = 1 if "embed" in name and len(shape) == 2 else 2.5 / math.sqrt(shape[-1]) if len(shape) == 2 else 0.3
        values = (middle + spread * numbers(index, math.prod(shape))).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def byte_alphabet():
    """GPT-2's letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


def byte_tokenizer():
    """Byte-level BPE with a few merges; <s> stands before a text and nothing behind it."""
    pieces = ["<s>", "</s>", *byte_alphabet(), *(merge.replace(" ", "") for merge in MERGES)]
    added = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i in range(2)]
    before = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    around = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
              "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
              "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": before, "post_processor": around, "decoder": before,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": [merge.split() for merge in MERGES]}}


def write_modules(folder, pooling, normalise):
    """What sentence-transformers puts beside a model."""
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}, *([NORMALIZE] if normalise else [])]
    write_json(folder / "modules.json", [{"idx": i, "name": str(i)} | module for i, module in enumerate(modules)])
    modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "last": "pooling_mode_lasttoken"}
    write_json(folder / "1_Pooling" / "config.json", {key: name == pooling for name, key in modes.items()})


def write_prompts(folder, prompts, default):
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": default})


def mistral(folder, headless=True):
    """A decoder like e5-mistral-7b-instruct, with a window that is shorter than its texts. Returns the folder."""
    folder = pathlib.Path(folder)
    tokenizer = byte_tokenizer()
    vocabulary, kv = len(tokenizer["model"]["vocab"]), WIDTH // HEADS * KV_HEADS
    shapes = {"embed_tokens.weight": (vocabulary, WIDTH), "norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        for name, shape in {"input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,), "self_attn.q_proj": (WIDTH, WIDTH),
                            "self_attn.k_proj": (kv, WIDTH), "self_attn.v_proj": (kv, WIDTH), "self_attn.o_proj": (WIDTH, WIDTH),
                            "mlp.gate_proj": (FFN, WIDTH), "mlp.up_proj": (FFN, WIDTH), "mlp.down_proj": (WIDTH, FFN)}.items():
            shapes[f"layers.{layer}.{name}.weight"] = shape
    if not headless:
        shapes = {f"model.{name}": shape for name, shape in shapes.items()} | {"lm_head.weight": (vocabulary, WIDTH)}
    write_json(folder / "config.json", {
        "architectures": ["MistralModel" if headless else "MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
        "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "max_position_embeddings": POSITIONS, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "sliding_window": 16, "tie_word_embeddings": False, "vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 1,
        "dtype": "float32"})
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})
    write_tensors(folder / "model.safetensors", shapes)
    return folder


def word_tokenizer():
    """WordPiece of letters and a few words, with [CLS] and [SEP] as BERT puts them around one text and two."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), "the", "food", "eat", "##ing",
              "##er", ".", ",", "?"]
    ids = {piece: i for i, piece in enumerate(pieces)}
    added = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i in range(5)]

    def special(name, kind):
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def sequence(name, kind):
        return {"Sequence": {"id": name, "type_id": kind}}

    around = {"type": "TemplateProcessing",
              "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
              "pair": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0), sequence("B", 1), special("[SEP]", 1)],
              "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                           "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": around,
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                      "vocab": ids}}


def cross_encoder(folder, activation=None, labels=1):
    """A reranker: a BERT with a head on its first row. `activation` is what sentence-transformers makes of the head's number,
    Sigmoid where nothing is said. Returns the folder."""
    folder = pathlib.Path(folder)
    tokenizer = word_tokenizer()
    vocabulary = len(tokenizer["model"]["vocab"])
    shapes = {"embeddings.word_embeddings.weight": (vocabulary, WIDTH), "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
              "embeddings.token_type_embeddings.weight": (2, WIDTH), "embeddings.LayerNorm.weight": (WIDTH,),
              "embeddings.LayerNorm.bias": (WIDTH,)}
    for layer in range(LAYERS):
        for name, rows, columns in (("attention.self.query", WIDTH, WIDTH), ("attention.self.key", WIDTH, WIDTH),
                                    ("attention.self.value", WIDTH, WIDTH), ("attention.output.dense", WIDTH, WIDTH),
                                    ("attention.output.LayerNorm", WIDTH, 0), ("intermediate.dense", FFN, WIDTH),
                                    ("output.dense", WIDTH, FFN), ("output.LayerNorm", WIDTH, 0)):
            shapes[f"encoder.layer.{layer}.{name}.weight"] = (rows, columns) if columns else (rows,)
            shapes[f"encoder.layer.{layer}.{name}.bias"] = (rows,)
    shapes |= {"pooler.dense.weight": (WIDTH, WIDTH), "pooler.dense.bias": (WIDTH,)}
    shapes = {f"bert.{name}": shape for name, shape in shapes.items()}
    shapes |= {"classifier.weight": (labels, WIDTH), "classifier.bias": (labels,)}
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH,
              "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "layer_norm_eps": 1e-12,
              "max_position_embeddings": POSITIONS, "position_embedding_type": "absolute", "type_vocab_size": 2,
              "vocab_size": vocabulary, "pad_token_id": 0, "id2label": {str(i): f"LABEL_{i}" for i in range(labels)},
              "label2id": {f"LABEL_{i}": i for i in range(labels)}, "dtype": "float32"}
    if activation:
        config["sentence_transformers"] = {"activation_fn": f"torch.nn.modules.{activation}", "version": "5.0.0"}
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS,
                                                  "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"})
    write_tensors(folder / "model.safetensors", shapes)
    return folder

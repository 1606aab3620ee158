#!/usr/bin/env python3
"""Writes a BERT from a Hugging Face folder as a GGUF file, as llama.cpp's converter does, so that both engines can be measured
on one file.

    $(tools/python reference) tools/reference/bert_gguf.py FOLDER OUT.gguf [f32|f16]

Vectors and the tables of positions and token types stay F32, as there. llama-quantize makes quantised files of the result.
"""

import json
import pathlib
import sys

import gguf
import numpy
from safetensors.numpy import load_file

OUTER = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
         "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm"}
INNER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
POOLING = {"pooling_mode_mean_tokens": gguf.PoolingType.MEAN, "pooling_mode_cls_token": gguf.PoolingType.CLS}


def rename(name):
    """The tensor's name in GGUF, None for one that is not needed."""
    stem, kind = name.rsplit(".", 1)
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    if name.startswith("encoder.layer."):
        _, _, layer, rest = stem.split(".", 3)
        return f"blk.{layer}.{INNER[rest]}.{kind}"
    if name.startswith("pooler.") or name == "embeddings.position_ids":
        return None
    raise SystemExit(f"{name} has no place in BERT")


def add_keys(writer, folder):
    config = json.loads((folder / "config.json").read_text())
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    writer.add_name(folder.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(next(kind for mode, kind in POOLING.items() if pooling.get(mode)))


def add_vocabulary(writer, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pieces = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    spelled, types = [], []
    for piece, i in pieces:
        bare = piece.removeprefix("##") if len(piece) > 2 else piece
        spelled.append(piece if i in special else bare if bare != piece else "\u2581" + piece)
        types.append(gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL)
    ids = {content: i for i, content in special.items()}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(spelled)
    writer.add_token_types(types)
    writer.add_token_type_count(2)
    writer.add_unk_token_id(ids["[UNK]"])
    writer.add_sep_token_id(ids["[SEP]"])
    writer.add_pad_token_id(ids["[PAD]"])
    writer.add_mask_token_id(ids["[MASK]"])
    writer.add_uint32("tokenizer.ggml.cls_token_id", ids["[CLS]"])
    writer.add_bos_token_id(ids["[CLS]"])


def main(folder, out, kind="f32"):
    folder = pathlib.Path(folder)
    writer = gguf.GGUFWriter(out, "bert")
    add_keys(writer, folder)
    add_vocabulary(writer, folder)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.ALL_F32)
    for name, array in load_file(folder / "model.safetensors").items():
        renamed = rename(name)
        if renamed is None:
            continue
        narrow = kind == "f16" and array.ndim == 2 and not renamed.startswith(("position_embd", "token_types"))
        writer.add_tensor(renamed, array.astype(numpy.float16 if narrow else numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["f32"], ["f16"]):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

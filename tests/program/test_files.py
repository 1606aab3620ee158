"""backplane inspect and tokenize on the default model."""


import pytest

from conftest import backplane


def test_inspect_describes_the_model(model):
    said = backplane("inspect", model).expect(0).out
    for sentence in ["llama, GGUF v3", "134.5 million", "mostly Q4_1", "30, 576 wide, feed-forward 1536",
                     "9 heads, 3 for keys and values, of 64", "49152 tokens, gpt2, pre-tokenizer smollm",
                     "trained context 8192", "210 tensors", "chat template   yes"]:
        assert sentence in said, sentence


def test_inspect_computes_memory_for_a_context(model):
    said = backplane("inspect", model, "--context", "1024").expect(0).out
    # 30 layers of 3 heads of 64, keys and values, two bytes each.
    assert f"{30 * 3 * 64 * 2 * 2} bytes a token" in said and "22.5 MiB for 1024 tokens" in said


def test_inspect_lists_tensors_and_prints_the_template(model):
    assert "token_embd.weight" in backplane("inspect", model, "--tensors").expect(0).out
    assert "<|im_start|>" in backplane("inspect", model, "--template").expect(0).out


def test_tokenize_prints_ids(model):
    assert backplane("tokenize", model, "Hello, world!").expect(0).out == "19556 28 905 17\n"
    assert backplane("tokenize", model, stdin="Hello, world!").expect(0).out == "19556 28 905 17\n"
    assert backplane("tokenize", model, "").expect(0).out == "\n"


def test_pieces_add_up_to_the_text(model):
    lines = backplane("tokenize", model, "--pieces", "two words\n").expect(0).out.splitlines()
    assert "".join(line.split("\t", 1)[1] for line in lines) == "two words\\n"


@pytest.mark.parametrize("text", ["Grüße aus 東京 🙂", "  spaces   and\ttabs\n\n", "<|im_end|>"])
def test_decode_undoes_tokenize(text, model):
    ids = backplane("tokenize", model, stdin=text).expect(0).out
    assert backplane("tokenize", model, "--decode", stdin=ids).expect(0).out == text
    assert backplane("tokenize", model, "--decode", ids.replace(" ", ", ")).expect(0).out == text


def test_special_tokens_are_parsed_only_where_asked(model):
    plain = backplane("tokenize", model, "<|im_end|>").expect(0).out.split()
    special = backplane("tokenize", model, "--special", "<|im_end|>").expect(0).out.split()
    assert len(special) == 1 < len(plain)
    assert backplane("tokenize", model, "--decode", special[0]).expect(0).out == ""
    assert backplane("tokenize", model, "--decode", "--special", special[0]).expect(0).out == "<|im_end|>"


def test_ids_out_of_range_are_refused(model):
    assert "not a token id below 49152" in backplane("tokenize", model, "--decode", "1 49152").expect(1).err
    assert "not a token id" in backplane("tokenize", model, "--decode", "1 two").expect(1).err


def test_a_damaged_file_is_refused_by_name(model, tmp_path):
    with open(model, "rb") as file:
        (tmp_path / "half.gguf").write_bytes(file.read(1 << 20))
    for command in ["inspect", "tokenize"]:
        said = backplane(command, tmp_path / "half.gguf").expect(1).err
        assert "half.gguf" in said

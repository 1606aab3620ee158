"""Whole models through the CUDA backend's kernels, emulated: the hashes that the CPU's scalar kernels gave."""

import pytest

from conftest import BUILD, EMULATED, ROOT, fetch, run

GOLDEN = dict(line.split()[:2] for line in (ROOT / "tests/golden/hashes.txt").read_text().splitlines() if line[0] != "#")


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5-coder", "gemma3", "minilm"])
def test_a_model_has_the_golden_hash(name):
    said = run(BUILD / "bin" / "proof", EMULATED, "--hash", f"{name}={fetch(name)}").stdout
    assert said.strip() == GOLDEN[name]

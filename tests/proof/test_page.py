"""docs/numerics.md is complete: a backend written from it (page.py) gives the plugin's bits, on every net of the proof."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from page import Net, bits_of, read_net

BUILD = Path(os.environ["BACKPLANE_TEST_BUILD"])
LONG = 272  # of the long nets: just over the first chunk of attention
SHORT = 12


@pytest.fixture(scope="session")
def dumped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    subprocess.run([BUILD / "bin" / "proof", BUILD / "plugins" / "cpu.so", "--dump", folder], check=True, capture_output=True)
    return folder


def test_every_net(dumped):
    names = sorted(path.stem for path in dumped.glob("*.json"))
    assert len(names) > 20
    for name in names:
        if name == "long-bert":  # a minute, and nothing that bert and long do not have
            continue
        description, weights, expected = read_net(dumped, name)
        if len(expected) > 1:  # a decoder: later tokens change nothing before them
            description["tokens"] = description["tokens"][:LONG if name.startswith("long") else SHORT]
        got = Net(description, weights).run()
        different = np.argwhere(bits_of(got) != bits_of(expected[:len(got)]))
        assert len(different) == 0, f"{name}: {len(different)} of {got.size} differ, the first at {different[0]}"

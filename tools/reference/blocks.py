"""Makes tests/golden/blocks.json: what `gguf` makes of blocks of every quantised type that backends run."""

import numpy
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from common import GOLDEN, base64_text, write_json

TYPES = {"Q8_0": 34, "Q4_0": 18, "Q4_1": 20}
BLOCKS = 40


def blocks(random, name, size):
    """Random bytes; scales and minima are halves of every kind that is finite: normal, denormal, zero, negative."""
    data = random.integers(0, 256, (BLOCKS, size), dtype=numpy.uint8)
    halves = 2 if name == "Q4_1" else 1
    scales = random.normal(0, 1, (BLOCKS, halves)).astype(numpy.float16)
    scales[:8] *= numpy.float16(2**-16)
    scales[8:10] = numpy.float16(-0.0)
    scales[10:12] = numpy.float16(65504)
    data[:, : 2 * halves] = scales.view(numpy.uint8)
    return data


def main():
    random = numpy.random.default_rng(20)
    types = []
    for name, size in TYPES.items():
        data = blocks(random, name, size)
        values = dequantize(data, GGMLQuantizationType[name]).astype("<f4")
        types.append({"type": name, "blocks": base64_text(data.tobytes()), "values": base64_text(values.tobytes())})
    write_json(GOLDEN / "blocks.json", {"types": types})


if __name__ == "__main__":
    main()

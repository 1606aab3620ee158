"""A GGUF file of Q4_1 and Q8_0 as one of F16, so that what quantised activations cost is not in a comparison.

    python dequantised.py FROM TO
"""

import pathlib
import struct
import sys

import numpy

F32, F16, Q4_1, Q8_0 = 0, 1, 3, 8
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of a value's type
STRING, ARRAY = 8, 9
ALIGNMENT = 32


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, form):
        value, = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def string(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at]

    def skip(self, kind):
        if kind == STRING:
            self.string()
        elif kind == ARRAY:
            element, count = self.take("I"), self.take("Q")
            if element == STRING:
                for _ in range(count):
                    self.string()
            else:
                self.at += SIZES[element] * count
        else:
            self.at += SIZES[kind]


def halves(kind, data):
    """The elements of a tensor's blocks: Q8_0 has D and 32 bytes, Q4_1 D, M and 32 nibbles, low ones first."""
    if kind == Q8_0:
        blocks = numpy.frombuffer(data, numpy.dtype([("d", "<f2"), ("q", "i1", 32)]))
        return (blocks["d"].astype("f4")[:, None] * blocks["q"]).astype("<f2")
    blocks = numpy.frombuffer(data, numpy.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]))
    nibbles = numpy.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1)
    return (blocks["d"].astype("f4")[:, None] * nibbles + blocks["m"].astype("f4")[:, None]).astype("<f2")


def dequantise(source, target):
    data = pathlib.Path(source).read_bytes()
    r = Reader(data, 8)
    tensors, keys = r.take("Q"), r.take("Q")
    for _ in range(keys):
        r.string()
        r.skip(r.take("I"))
    head, table, offset = data[:r.at], b"", 0
    infos = []
    for _ in range(tensors):
        begin = r.at
        r.string()
        shape = [r.take("Q") for _ in range(r.take("I"))]
        infos.append((data[begin:r.at], int(numpy.prod(shape)), r.take("I"), r.take("Q")))
    base = -(-r.at // ALIGNMENT) * ALIGNMENT
    with open(target, "wb") as out:
        for text, count, kind, _ in infos:
            table += text + struct.pack("<IQ", F32 if kind == F32 else F16, offset)
            offset += -(-count * (4 if kind == F32 else 2) // ALIGNMENT) * ALIGNMENT
        out.write(head + table)
        for _, count, kind, at in infos:
            out.write(b"\0" * (-out.tell() % ALIGNMENT))
            size = {F32: 4 * count, Q4_1: count // 32 * 20, Q8_0: count // 32 * 34}[kind]
            raw = data[base + at:base + at + size]
            out.write(raw if kind == F32 else halves(kind, raw).tobytes())


if __name__ == "__main__":
    dequantise(*sys.argv[1:])

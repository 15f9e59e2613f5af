"""A small GGUF v3 writer and reader: just what pebble's files need (F32 and Q8_0 tensors)."""
import struct

import numpy as np

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
I32 = 5
TYPE_F32, TYPE_Q8_0 = 0, 8
ALIGNMENT = 32
BLOCK = np.dtype([("scale", "<f2"), ("quants", "i1", 32)])


def quantize(array):
    """Q8_0: blocks of 32 along the row, each with an f16 scale."""
    blocks = np.asarray(array, np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(1) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    out = np.empty(len(blocks), BLOCK)
    out["scale"] = scale
    out["quants"] = np.rint(blocks * inverse[:, None])
    return out.tobytes()


def dequantize(data, shape):
    blocks = np.frombuffer(data, BLOCK)
    return (blocks["scale"].astype(np.float32)[:, None] * blocks["quants"]).reshape(shape)


def pack_string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def pack_value(value):
    """Type and bytes of one value; ints are u32, in arrays i32."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, str):
        return STRING, pack_string(value)
    if isinstance(value[0], str):
        return ARRAY, struct.pack("<IQ", STRING, len(value)) + b"".join(map(pack_string, value))
    return ARRAY, struct.pack("<IQ", I32, len(value)) + struct.pack(f"<{len(value)}i", *value)


def write(path, keys, tensors):
    """Writes keys {name: value} and tensors {name: array}; matrices become Q8_0, vectors F32."""
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))]
    for name, value in keys.items():
        kind, raw = pack_value(value)
        head.append(pack_string(name) + struct.pack("<I", kind) + raw)
    body, offset = [], 0
    for name, array in tensors.items():
        kind = TYPE_Q8_0 if array.ndim == 2 else TYPE_F32
        raw = quantize(array) if array.ndim == 2 else array.astype("<f4").tobytes()
        head.append(pack_string(name) + struct.pack(f"<I{array.ndim}Q", array.ndim, *array.shape[::-1])
                    + struct.pack("<IQ", kind, offset))
        raw += bytes(-len(raw) % ALIGNMENT)
        body.append(raw)
        offset += len(raw)
    head = b"".join(head)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT) + b"".join(body))


class Reader:
    """Takes values off a buffer from the front."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def string(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length:self.at].decode()

    def value(self, kind):
        if kind == ARRAY:
            inner, count = self.take("IQ")
            return [self.value(inner) for _ in range(count)]
        return self.string() if kind == STRING else self.take({U32: "I", I32: "i", F32: "f", BOOL: "?"}[kind])


def read(path):
    """keys and tensors of a file that `write` wrote, matrices dequantised to f32."""
    with open(path, "rb") as file:
        reader = Reader(file.read())
    magic, version, n_tensor, n_key = reader.take("4sIQQ")
    if (magic, version) != (b"GGUF", 3):
        raise ValueError(f"{path}: not a GGUF v3 file")
    keys = {}
    for _ in range(n_key):
        name = reader.string()
        keys[name] = reader.value(reader.take("I"))
    infos = []
    for _ in range(n_tensor):
        name = reader.string()
        shape = [reader.take("Q") for _ in range(reader.take("I"))][::-1]
        infos.append((name, shape, *reader.take("IQ")))
    start = reader.at + -reader.at % ALIGNMENT
    tensors = {}
    for name, shape, kind, offset in infos:
        count = int(np.prod(shape))
        size = count // 32 * BLOCK.itemsize if kind == TYPE_Q8_0 else count * 4
        raw = reader.data[start + offset:start + offset + size]
        tensors[name] = dequantize(raw, shape) if kind == TYPE_Q8_0 else np.frombuffer(raw, "<f4")
    return keys, tensors

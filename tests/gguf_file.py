"""GGUF and safetensors files for tests: read and written with struct alone."""
import json
import struct

F32, F16, BF16 = 0, 1, 30
FORMATS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


class Tensor:
    """Shape as GGUF has it (innermost first), values as bytes."""

    def __init__(self, shape, kind, data):
        self.shape, self.kind, self.data = tuple(shape), kind, data

    def rows(self):
        n = len(self.data) // max(1, len(self.data) // (self.shape[0] * 4))
        return [self.data[i : i + n] for i in range(0, len(self.data), n)]


def read(path):
    """({key: value}, {name: Tensor}); sizes of tensors are right for F32 alone."""
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    n_tensor, n_key = struct.unpack_from("<QQ", data, 8)

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value[0] if len(value) == 1 else value

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n : at]

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            element, n = take("IQ")
            return [value(element) for _ in range(n)]
        return take(FORMATS[kind])

    keys, tensors, places = {}, {}, {}
    for _ in range(n_key):
        name = text().decode()
        keys[name] = value(take("I"))
    for _ in range(n_tensor):
        name = text().decode()
        shape = [take("Q") for _ in range(take("I"))]
        places[name] = (shape, *take("IQ"))
    start = (at + 31) // 32 * 32
    for name, (shape, kind, offset) in places.items():
        n = 4
        for size in shape:
            n *= size
        tensors[name] = Tensor(shape, kind, data[start + offset : start + offset + n])
    return keys, tensors


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, shape outermost first, bytes)}"""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(values)],
        }
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)

#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus: small inputs that reach every rule of a format.

Seeds are always the same bytes. Files named found-* are inputs that once broke something; they are
left alone. `--check` writes nothing and fails if a seed is missing or differs.
"""
import json
import os
import struct
import sys

MOST_BYTES = 1023
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACKED = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B",
          U64: "Q", I64: "q", F64: "d"}
SEEDS = {}


def seed(target, name, data):
    assert len(data) <= MOST_BYTES, (target, name, len(data))
    assert (target, name) not in SEEDS
    SEEDS[target, name] = data


# ---- GGUF ----------------------------------------------------------------------------------------


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, x):
    return text(x) if kind == STRING else struct.pack("<" + PACKED[kind], x)


def key(name, kind, x):
    return text(name) + struct.pack("<I", kind) + value(kind, x)


def array(name, kind, items, n=None):
    head = struct.pack("<IIQ", ARRAY, kind, len(items) if n is None else n)
    return text(name) + head + b"".join(value(kind, x) for x in items)


def tensor(name, shape, kind, offset):
    return (text(name) + struct.pack("<I", len(shape)) +
            b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", kind, offset))


def gguf(keys=(), tensors=(), data=b"", version=3, align=32, n_key=None, n_tensor=None):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if n_tensor is None else n_tensor,
                                 len(keys) if n_key is None else n_key)
    out = head + b"".join(keys) + b"".join(tensors)
    return out + (bytes(-len(out) % align) + data if data or tensors else b"")


# Every living tensor type: id, elements of a row, its bytes.
BLOCKS = ((0, 32, 128), (1, 32, 64), (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24),
          (8, 32, 34), (9, 32, 36), (10, 256, 84), (11, 256, 110), (12, 256, 144), (13, 256, 176),
          (14, 256, 210), (15, 256, 292), (16, 256, 66), (17, 256, 74), (18, 256, 98),
          (19, 256, 50), (20, 32, 18), (21, 256, 110), (22, 256, 82), (23, 256, 136), (24, 5, 5),
          (25, 5, 10), (26, 5, 20), (27, 5, 40), (28, 5, 40), (29, 256, 56), (30, 32, 64),
          (34, 256, 54), (35, 256, 66), (39, 32, 17), (40, 64, 36), (41, 128, 18), (42, 64, 18))


def seed_gguf():
    def add(name, data):
        seed("gguf", name, data)

    add("empty", b"")
    add("header", gguf())
    add("header-cut", gguf()[:23])
    for version in (0, 1, 2, 4, 0x03000000):
        add(f"version-{version:x}", gguf(version=version))
    add("not-gguf", b"<html>" + bytes(40))
    every = [key(f"k.{kind}", kind, "text \"\\\n\u00e9" if kind == STRING else 1)
             for kind in range(13) if kind != ARRAY]
    add("every-type", gguf(every))
    add("every-type-cut", gguf(every)[:-5])
    add("every-array", gguf([array(f"a.{kind}", kind, ["a", "", "\U0001f999"] if kind == STRING
                                   else [0, 1, 1]) for kind in range(13) if kind != ARRAY]))
    add("long-array", gguf([array("a", U8, list(range(100)))]))
    add("negative", gguf([key("a", I64, -1), key("b", I8, -128), array("c", I32, [-1, 2**31 - 1])]))
    add("floats", gguf([key("nan", F32, float("nan")), key("inf", F64, float("-inf")),
                        key("big", F64, 1.7e308), array("a", F32, [0.0, -0.0, 1e-45])]))
    add("bool-2", gguf([text("b") + struct.pack("<IB", BOOL, 2)]))
    add("array-of-array", gguf([text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(12)]))
    add("array-too-long", gguf([array("a", U32, [1], n=2**62)]))
    add("strings-too-many", gguf([array("a", STRING, ["x"], n=2**60)]))
    add("string-too-long", gguf([text("s") + struct.pack("<IQ", STRING, 2**64 - 1)]))
    add("string-broken", gguf([key("s", STRING, b"\xff\xc0\x80 \x1b[2J\x00\xed\xa0\x80\xc2\x9b")]))
    add("type-13", gguf([text("k") + struct.pack("<I", 13) + bytes(8)]))
    add("key-twice", gguf([key("k", U8, 1), key("k", U8, 2)]))
    add("key-no-name", gguf([key("", U8, 1)]))
    add("key-control", gguf([key("a\x1b[31m", U8, 1)]))
    add("key-broken", gguf([key(b"a\xff", U8, 1)]))
    add("keys-too-many", gguf(n_key=2**63))
    add("tensors-too-many", gguf(n_tensor=2**63))
    one = tensor("t", [4], 0, 0)
    add("tensor", gguf([], [one], bytes(16)))
    add("tensor-no-data", gguf([], [one]))
    add("tensor-twice", gguf([], [one, tensor("t", [4], 0, 32)], bytes(48)))
    add("tensor-overlap", gguf([], [one, tensor("u", [4], 0, 0)], bytes(48)))
    add("tensor-unaligned", gguf([], [tensor("t", [4], 0, 4)], bytes(48)))
    add("tensor-offset", gguf([], [tensor("t", [4], 0, 2**64 - 32)], bytes(48)))
    add("tensor-shape", gguf([], [tensor("t", [2**32, 2**32, 2**32], 0, 0)], bytes(16)))
    add("tensor-zero", gguf([], [tensor("t", [0], 0, 0)], bytes(16)))
    add("tensor-4d", gguf([], [tensor("t", [2, 2, 2, 2], 0, 0)], bytes(64)))
    add("tensor-5d", gguf([], [tensor("t", [1] * 5, 0, 0)], bytes(64)))
    add("tensor-block", gguf([], [tensor("t", [31], 8, 0)], bytes(64)))
    for kind, n, size in BLOCKS:
        add(f"tensor-type-{kind}", gguf([], [tensor("t", [n], kind, 0)],
                                        bytes((7 * i) % 256 for i in range(size))))
    for kind in (4, 31, 99):
        add(f"tensor-type-{kind}", gguf([], [tensor("t", [32], kind, 0)], bytes(64)))
    for align in (8, 64):
        add(f"alignment-{align}", gguf([key("general.alignment", U32, align)], [one], bytes(16),
                                       align=align))
    for align in (0, 12, 2**31):
        add(f"alignment-{align}", gguf([key("general.alignment", U32, align)], [one], bytes(64)))
    add("alignment-text", gguf([key("general.alignment", STRING, "8")], [one], bytes(64)))


# ---- models --------------------------------------------------------------------------------------


def change_key(which, kind, x):
    return struct.pack("<BBBQ", 0, which, kind, x)


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def seed_model():
    # layers, width, feed-forward width, heads, KV heads, head size, vocabulary: less one
    sizes = bytes([1, 7, 4, 1, 0, 3, 4])

    def add(name, *changes, first=sizes):
        seed("model", name, b"\x01" + first + b"".join(changes))

    add("plain")
    add("one", first=bytes(7))
    add("wide", first=bytes([2, 31, 31, 7, 3, 7, 31]))
    add("heads-uneven", first=bytes([0, 7, 4, 4, 2, 3, 4]))
    add("head-odd", first=bytes([0, 7, 4, 1, 0, 2, 4]))
    faults = [("absent", 13, 0), ("text", STRING, 1), ("large", U64, 2**40 + 1), ("zero", U32, 0),
              ("nan", F32, bits(float("nan")))]
    for which in range(9 + 9):
        for name, kind, x in (faults[which % 5], faults[(which + 2) % 5]):
            add(f"key-{which}-{name}", change_key(which, kind, x))
    for which in range(3):
        for what in (0, 1, 9, 0x11, 0x19, 0x21, 0x29, 0x34, 0x84):
            add(f"tensor-{which}-{what}", struct.pack("<BBB", 1, which, what), b"\x08\x05\x01\x01")
    shapes = {0: (8, 5), 1: (2, 1), 2: (8, 1), 3: (4, 1), 4: (8, 1), 5: (5, 1), 6: (4, 1), 7: (4, 4)}
    for which, (n_col, n_row) in shapes.items():
        add(f"more-{which}", struct.pack("<BBBB", 2, which, n_col, n_row))
        add(f"more-{which}-wrong", struct.pack("<BBBB", 2, which, n_col + 1, n_row))
    seed("model", "file-no-architecture", b"\x00" + gguf([key("general.name", STRING, "x")]))
    seed("model", "file-other", b"\x00" + gguf([key("general.architecture", STRING, "\x1b[2Jx")]))
    seed("model", "file-no-tensors", b"\x00" + gguf([key("general.architecture", STRING, "llama")]))
    seed("model", "file-architecture-number", b"\x00" + gguf([key("general.architecture", U8, 1)]))


# ---- vocabularies --------------------------------------------------------------------------------

BYTE_LEVEL, SPACE, BOS, ALL_BYTES, FILE = 1, 2, 4, 8, 128
T5, BERT, RWKV, GEMMA4 = 16, 32, 48, 64
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
BLANK = "\u2581"
TEXTS = {
    "hello": "hello world",
    "blanks": "  a  b   \n\n c ",
    "letters": "\u00e9\u00df\u4e16\u754c\U0001f999\u0301 x",
    "broken": b"a\xff\xc0\x80\xe2\x96\xed\xa0\x80\xf0\x9f z",
    "special": "<s>a</s><|im_end|>[x] <|im_start|>",
    "numbers": "12345 3.14 0x1F it's we'LL",
    "blank": BLANK + "a " + BLANK,
    "nothing": "",
}


def pieces(flags, pre, given, merges=None, charsmap=b""):
    out = bytes([flags, pre, len(given)])
    for piece, kind, score in given:
        data = piece if isinstance(piece, bytes) else piece.encode()
        out += bytes([len(data)]) + data + bytes([kind, score + 128])
    kind = flags & 112
    if kind == GEMMA4 or kind == 0 and flags & BYTE_LEVEL:
        out += bytes([len(merges or [])])
        out += b"".join(struct.pack("<HH", left, right) for left, right in merges or [])
    return out + (bytes([len(charsmap)]) + charsmap if kind == T5 else b"")


def charsmap(rules, wrong=None):
    """A double array of texts of one byte, each with the text in its place; `wrong` sets a unit."""
    units, texts = [0] * (max(rules) + 1), b""
    for slot, (byte, rule) in enumerate(rules.items(), 1):
        units[byte] = (byte ^ slot) << 10 | 1 << 8 | byte  # has a value, which stands at slot
        units[slot] = 1 << 31 | len(texts)
        texts += rule + b"\0"
    for at, unit in (wrong or {}).items():
        units[at] = unit
    return struct.pack(f"<I{len(units)}I", 4 * len(units), *units) + texts


CHARSMAP = charsmap({0x41: b"a", 0x09: b" ", 0x21: b""})


SPM = [("<unk>", UNKNOWN, 0), ("<s>", CONTROL, 0), ("</s>", CONTROL, 0), (BLANK, NORMAL, -3),
       ("h", NORMAL, -4), ("e", NORMAL, -4), ("l", NORMAL, -4), ("o", NORMAL, -4),
       ("he", NORMAL, -2), ("ll", NORMAL, -2), ("hell", NORMAL, -1), ("hello", NORMAL, -1),
       (BLANK + "hello", NORMAL, 3), ("[x]", USER, 0), ("u", UNUSED, -9), (BLANK * 2, NORMAL, 0)]
BPE = [("<|im_start|>", CONTROL, 0), ("<|im_end|>", CONTROL, 0), ("[x]", USER, 0),
       ("", NORMAL, 0), (b"\xff", NORMAL, 0)]
MERGES = [(104, 101), (108, 108), (261, 262), (32, 104), (263, 111), (195, 169), (32, 32)]


def vocabulary_files():
    spm = [key("tokenizer.ggml.model", STRING, "llama"),
           array("tokenizer.ggml.tokens", STRING, ["<unk>", "<s>", "</s>", BLANK, "a", "b", "ab"]),
           array("tokenizer.ggml.scores", F32, [0, 0, 0, -1, -2, -3, -1]),
           array("tokenizer.ggml.token_type", I32, [2, 3, 3, 1, 1, 1, 1])]
    bpe = [key("tokenizer.ggml.model", STRING, "gpt2"),
           key("tokenizer.ggml.pre", STRING, "gpt-2"),
           array("tokenizer.ggml.tokens", STRING, ["a", "b", "ab", "\u0120", "<|im_end|>"]),
           array("tokenizer.ggml.token_type", I32, [1, 1, 1, 1, 3]),
           array("tokenizer.ggml.merges", STRING, ["a b"])]
    files = {"spm": gguf(spm), "bpe": gguf(bpe), "nothing": gguf(),
             "no-scores": gguf(spm[:2]), "no-merges": gguf(bpe[:3]),
             "model-other": gguf([key("tokenizer.ggml.model", STRING, "b\x1b[2J\xff")] + spm[1:]),
             "pre-other": gguf([bpe[0], key("tokenizer.ggml.pre", STRING, "p\x1b[31m")] + bpe[2:]),
             "merge-control": gguf(bpe[:4] + [array("tokenizer.ggml.merges", STRING, ["\x1b[2J"])]),
             "merge-absent": gguf(bpe[:4] + [array("tokenizer.ggml.merges", STRING, ["a \x9b"])]),
             "types-short": gguf(spm[:3] + [array("tokenizer.ggml.token_type", I32, [1])]),
             "type-9": gguf([spm[0], array("tokenizer.ggml.tokens", STRING, ["\x1bc", "b"]), spm[2],
                             array("tokenizer.ggml.token_type", I32, [9, 1])]),
             "byte-wrong": gguf([spm[0], array("tokenizer.ggml.tokens", STRING, ["<0xZZ>\x07"]),
                                 array("tokenizer.ggml.scores", F32, [0]),
                                 array("tokenizer.ggml.token_type", I32, [6])]),
             "score-nan": gguf(spm[:2] + [array("tokenizer.ggml.scores", F32, [float("nan")] * 7)]),
             "empty": gguf([spm[0], array("tokenizer.ggml.tokens", STRING, [])])}
    for name in ("bos", "eos", "eot", "unknown"):
        files[name + "-outside"] = gguf(spm + [key(f"tokenizer.ggml.{name}_token_id", U32, 7)])
    ids = [key("tokenizer.ggml.bos_token_id", U32, 1), key("tokenizer.ggml.eos_token_id", U32, 2)]
    adds = [key("tokenizer.ggml.add_bos_token", BOOL, 1), key("tokenizer.ggml.add_eos_token", BOOL, 1)]
    files["adds-both"] = gguf(spm + ids + adds)
    files["adds-none"] = gguf(bpe + adds)
    files["model-number"] = gguf([key("tokenizer.ggml.model", U32, 1)] + spm[1:])
    files["tokens-none"] = gguf(spm[:1])
    files["tokens-text"] = gguf(spm[:1] + [key("tokenizer.ggml.tokens", STRING, "a")])
    files["scores-text"] = gguf(spm[:2] + [key("tokenizer.ggml.scores", STRING, "a")])
    files["bos-text"] = gguf(spm + [key("tokenizer.ggml.bos_token_id", STRING, "1")])
    files["tokens-numbers"] = gguf([spm[0], array("tokenizer.ggml.tokens", U32, [1, 2])] + spm[2:])
    files["types-floats"] = gguf(spm[:3] + [array("tokenizer.ggml.token_type", F32, [1] * 7)])
    t5 = [key("tokenizer.ggml.model", STRING, "t5")] + spm[1:]
    for name, table in (("", CHARSMAP), ("-cut", CHARSMAP[:-9]),
                        ("-outside", charsmap({0x61: b"b"}, {0: 0x1FFFFF << 10})),
                        ("-text", charsmap({0x61: b"b"}, {1: 1 << 31 | 99}))):
        files["t5-charsmap" + name] = gguf(t5 + [
            array("tokenizer.ggml.precompiled_charsmap", U8, list(table))])
    files["none"] = gguf([key("tokenizer.ggml.model", STRING, "no_vocab")])
    files["flag-number"] = gguf(spm + [key("tokenizer.ggml.add_bos_token", U32, 1)])
    return files


def vocabularies():
    out = {"file-" + name: bytes([FILE]) + struct.pack("<H", len(data)) + data
           for name, data in vocabulary_files().items()}
    out["spm"] = pieces(SPACE | BOS, 0, SPM)
    out["spm-bytes"] = pieces(SPACE | ALL_BYTES, 0, SPM)
    out["spm-bare"] = pieces(SPACE | ALL_BYTES, 0, [])
    out["spm-no-space"] = pieces(ALL_BYTES, 0, SPM)
    for pre in range(5):
        out[f"bpe-{pre}"] = pieces(BYTE_LEVEL | ALL_BYTES, pre, BPE, MERGES)
    for pre in range(5, 18):
        out[f"bpe-{pre}"] = pieces(BYTE_LEVEL | ALL_BYTES, pre, BPE[:3], MERGES[:4])
    words = [("[UNK]", UNKNOWN, 0), ("[SEP]", CONTROL, 0), (BLANK + "hello", NORMAL, 0),
             (BLANK + "a", NORMAL, 0), ("b", NORMAL, 0), (BLANK + "he", NORMAL, 0),
             ("llo", NORMAL, 0), (BLANK + ".", NORMAL, 0), (BLANK + "\u4e16", NORMAL, 0)]
    out["bert"] = pieces(BERT | SPACE | BYTE_LEVEL | BOS, 0, words)
    out["bert-cased"] = pieces(BERT, 0, words)
    out["t5"] = pieces(T5 | SPACE | BYTE_LEVEL, 0, SPM)
    out["t5-blanks"] = pieces(T5 | SPACE, 0, SPM)
    out["t5-table"] = pieces(T5 | BYTE_LEVEL, 0, SPM, charsmap=charsmap({0x20: b"x y", 0x0A: b" "}))
    worlds = [("<s>", CONTROL, 0), ("hello", NORMAL, 0), ("he", NORMAL, 0), ("\\n", NORMAL, 0),
              ("\\xe4\\xb8", NORMAL, 0), ("[x]", USER, 0), ("  ", NORMAL, 0)]
    out["rwkv"] = pieces(RWKV | ALL_BYTES, 0, worlds)
    out["rwkv-few"] = pieces(RWKV, 0, worlds)
    out["rwkv-escape"] = pieces(RWKV, 0, worlds + [("\\x4", NORMAL, 0)])
    out["gemma4"] = pieces(GEMMA4 | ALL_BYTES | BOS, 0, SPM, [(260, 261), (259, 260), (264, 265)])
    out["gemma4-few"] = pieces(GEMMA4, 0, SPM, [(4, 5), (8, 9)])
    out["bpe-few"] = pieces(BYTE_LEVEL | BOS, 0, [("a", NORMAL, 0), ("b", NORMAL, 0)], [(0, 1)])
    return out


def seed_tokenizer():
    for i, (name, data) in enumerate(vocabularies().items()):
        if name.startswith("file-"):
            seed("tokenizer", name, data + b"ab a<s>")
            continue
        for k, (text_name, words) in enumerate(TEXTS.items()):
            if (i + k) % 2:
                continue
            words = words if isinstance(words, bytes) else words.encode()
            seed("tokenizer", f"{name}-{text_name}", data + words)


def seed_detokenizer():
    runs = {
        "words": [264, 265, 266, 263, 3, 4, 5, 6, 7],
        "bytes": [0xE2, 0x96, 0x81, 0xF0, 0x9F, 0xA6, 0x99, 0xFF, 0x61, 0xF0, 0x9F],
        "outside": [-1, 32767, 5, -32768, 400, 261, 260],
        "blank": [3, 3, 12, 0x20, 1, 2, 0],
    }
    stops = b"\x03\x02he\x01l\x03\xe2\x96\x81"
    for name, data in vocabularies().items():
        if name.startswith("file-") and name not in ("file-spm", "file-bpe"):
            continue
        for run, ids in runs.items():
            head = b"\x00" if run == "words" else stops
            seed("detokenizer", f"{name}-{run}",
                 data + head + b"".join(struct.pack("<h", i) for i in ids))


# ---- cache files and conversations ---------------------------------------------------------------


def seed_cache():
    magic = b"pumicec1"
    spirv = struct.pack("<5I", 0x07230203, 0x10300, 0, 8, 0)
    ours = struct.pack("<4I", 32, 1, 0xBAAD, 7) + b"0123456789abcdef"
    seed("cache", "empty", b"")
    seed("cache", "file-magic", b"\x00" + magic)
    seed("cache", "file-header", b"\x00" + magic + bytes(32))
    seed("cache", "file-payload", b"\x00" + magic + bytes(16) + struct.pack("<QQ", 20, 0) + spirv)
    seed("cache", "written", b"\x01\x00\x00\x00" + spirv)
    seed("cache", "written-nothing", b"\x01\x00\x00\x00")
    for place in (0, 8, 16, 24, 32, 40, 59):
        seed("cache", f"damaged-{place}", b"\x01" + struct.pack("<HB", place, 1) + spirv)
    for what, way in ((2, "pipelines"), (3, "driver")):
        first = bytes([what])
        seed("cache", f"{way}-ours", first + ours + b"data")
        seed("cache", f"{way}-ours-alone", first + ours)
        seed("cache", f"{way}-cut", first + ours[:31])
        seed("cache", f"{way}-nothing", first)
        for place, name in ((0, "size"), (4, "version"), (8, "vendor"), (12, "device"), (31, "uuid")):
            other = bytearray(ours + b"data")
            other[place] ^= 0x41
            seed("cache", f"{way}-{name}", first + bytes(other))


TURN = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
OPENING = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LOOP = "{% for message in messages %}"
TEMPLATES = {
    "plain": LOOP + TURN + "{% endfor %}" + OPENING,
    "prelude": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false "
               "%}{% endif %}" + LOOP + TURN + "{% endfor %}" + OPENING,
    "dashes": "{%- for m in messages -%}\n {{- \"<|im_start|>\" ~ m.role ~ \"\\n\" -}}\n"
              "{{- m.content ~ '<|im_end|>\\n' -}}{%- endfor -%}" + OPENING,
    "text": LOOP + "\n<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
            "{% endfor %}\n{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}\n",
    "branches": LOOP + "{% if message.role == 'user' %}{{ '<|im_start|>user\\n' }}{% elif "
                "(message.role == \"system\") %}{{ '<|im_start|>system\\n' }}{% elif message.role =="
                " 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% endif %}{{ message.content + "
                "'<|im_end|>\\n' }}{% endfor %}" + OPENING,
    "generation": LOOP + "{% if message['role'] == 'assistant' %}{{'<|im_start|>assistant\\n'}}"
                  "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
                  "{{ '\\n' }}{% else %}" + TURN + "{% endif %}{% endfor %}" + OPENING,
    "comment": "{#- what it is -#}" + LOOP + TURN + "{% endfor %}{# end #}" + OPENING,
    "inst": "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}",
    "first": "{% if messages[0]['role'] != 'system' %}{{ 'You are' }}{% endif %}" + LOOP + TURN +
             "{% endfor %}" + OPENING,
    "all-signs": "[INST]<|start_header_id|><start_of_turn><|turn><|user|><|start|>"
                 "<|START_OF_TURN_TOKEN|><|im_start|>tool You are<think>bos_token",
    "open": "{%", "open-output": "{{'", "open-comment": "{#-", "mark": "\x03for\x04", "dash": "{{-",
    "loops": LOOP * 3, "escape": "{{'\\x'}}", "name": "{% for " + "m" * 40 + " in messages %}",
}


def seed_conversation():
    messages = [{"role": "system", "content": "brief \U0001f999"}, {"role": "user", "content": "a"},
                {"role": "assistant", "content": "<|im_end|>\n"}, {"role": "user", "content": ""}]
    lists = {
        "all": json.dumps(messages), "raw": json.dumps(messages, ensure_ascii=False, indent=1),
        "none": "[]", "object": "{}", "number": "1", "cut": json.dumps(messages)[:-9],
        "zero": json.dumps([{"role": "user", "content": "a\0b"}]),
        "surrogate": '[{"role":"user","content":"\\ud800 \\udc00 \\ud83e\\udd99"}]',
        "system-late": json.dumps(messages[1:] + messages[:1]),
        "role-other": '[{"role":"tool","content":"x"}]', "role-absent": '[{"content":"x"}]',
        "content-list": '[{"role":"user","content":["x"]}]', "role-twice":
        '[{"role":"user","role":"system","content":"x"}]', "deep": "[" * 900, "text": '["x"]',
        "numbers": "[1e999,-0,1.5E-400,99999999999999999999]", "broken": b'[{"role":"user","content":"\xff"}]',
    }
    for name, data in lists.items():
        data = data if isinstance(data, bytes) else data.encode()
        seed("conversation", "json-" + name, b"\x00" + data)


EXPRESSIONS = {
    "numbers": "{{ 1 + 2 * 3 - 4 / 5 // 6 % 7 ** 2 }} {{ 0x1f }} {{ 1_000 }} {{ 1.5e3 }} {{ -3 // 2 }} {{ 7.0 % -2 }}",
    "strings": "{{ 'a' 'b' ~ \"c\" + '\\n\\x41\\u00e9\\U0001f999\\101' }} {{ 'ab' * 3 }} {{ 'abc'[::-1] }} {{ 'abc'[-2:] }}",
    "lists": "{{ [1, 'a', none, [true]] }} {{ (1,) }} {{ {'a': 1, 2: [3]} }} {{ [1, 2, 3][1:] }} {{ [1] + [2] }}",
    "logic": "{{ 1 < 2 <= 3 }} {{ 'a' in 'abc' and not 1 in [2] or x }} {{ 'y' if x is defined else 'n' }} {{ 1 if 0 }}",
    "items": "{{ messages[0].content[0] }} {{ messages[-1]['role'] }} {{ messages.0.role }} {{ a.b }} {{ messages[9] }}",
    "calls": "{{ range(3) | list }} {{ dict(a=1, **{'b': 2}) }} {{ cycler(1, 2).next() }} {{ joiner('|')() }}"
             "{{ namespace(a=1).a }} {{ strftime_now('%A %d %B %Y %H:%M:%S %j %U %-d') }}",
    "raise": "{{ raise_exception('no: ' ~ messages) }}", "unknown": "{{ 1 | nothing }}", "undefined": "{{ a.b.c }}",
    "forbidden": "{{ messages.append(1) }}", "python": "{{ ''.__class__.__mro__ }}",
    "text-filters": "{{ ' aB-c ' | trim | upper | lower | title | capitalize | replace('a', 'b', 1) | indent(2, true) | "
                    "center(9) | truncate(4, true, '') | wordcount | string | length }}",
    "list-filters": "{{ [3, 1, 2, 1] | unique | sort(reverse=true) | batch(2, 0) | list | first | last }} {{ [1, 2] | sum }}"
                    "{{ [1, 2] | map('string') | join('-') }} {{ messages | map(attribute='role') | list }}",
    "choosing": "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ [1, 2] | reject('odd') | list }}"
                "{{ [0, 1] | select | list }}{{ messages | rejectattr('name') | list }}{{ messages | groupby('role') }}",
    "number-filters": "{{ '1_0' | int + ' 2.5 ' | float + -1.5 | abs + 2.675 | round(2, 'floor') }}{{ '0x1f' | int(0, 16) }}",
    "json": "{{ messages | tojson(indent=2) }}{{ {'b': 1, 'a': '\\u2028<'} | tojson(sort_keys=true, ensure_ascii=true, "
            "separators=(',', ':')) }}",
    "escapes": "{{ '<a>' | e + '<' }}{{ '<' | safe + '<' }}{{ 'a b' | urlencode }}{{ {'z': 1, 'y': 2} | dictsort }}",
    "tests": "{{ 1 is odd }}{{ 4 is divisibleby 2 }}{{ x is not defined }}{{ [] is sequence }}{{ 'a' is in 'abc' }}"
             "{{ 1.0 is float }}{{ none is none }}{{ 'a' is lower }}{{ 1 is eq 1 }}{{ messages is mapping }}",
    "methods": "{{ 'a,b'.split(',') }}{{ ' x '.strip() }}{{ 'a b c'.rsplit(None, 1) }}{{ 'ab'.startswith(('a', 'b')) }}"
               "{{ 'a\\nb'.splitlines() }}{{ 'abab'.rfind('ab') }}{{ 'a'.join(['x', 'y']) }}{{ '7'.zfill(3) }}",
    "dicts": "{{ messages[0].items() | list }}{{ messages[0].get('x', 1) }}{{ messages[0].keys() }}{{ {}.values() }}",
    "percent": "{{ '%5.2f|%-4s|%03d|%x|%%|%(a)s' % (1.5, 'a', 7, 255) }}{{ '%(a)r' % {'a': 'b'} }}{{ '%*d' | format(3, 1) }}",
    "braces": "{{ '{} {0!r:>5} {a.b[0]:^+8,.2f} {{}}'.format(1, a={'b': [2]}) }}", "large": "{{ 9223372036854775807 + 1 }}",
}

STATEMENTS = {
    "for": "{% for m in messages if m.role != 'x' %}{{ loop.index }}{{ loop.last }}{{ loop.nextitem }}{{ loop.length }}"
           "{{ loop.cycle(1, 2) }}{{ loop.changed(m) }}{% else %}none{% endfor %}",
    "unpack": "{% for k, v in messages[0] | items %}{{ k }}={{ v }}{% endfor %}{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "recursive": "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is iterable else x }}{{ loop.depth }}{% endfor %}",
    "leave": "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i > 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "set": "{% set ns = namespace(a=1) %}{% for i in [1] %}{% set ns.a = i + 1 %}{% endfor %}{{ ns.a }}"
           "{% set b | upper %}x{% endset %}{{ b }}",
    "macro": "{% macro f(a, b=2, *c) %}{% endmacro %}", "macros":
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}{% call f(1, c=3) %}x{% endcall %}",
    "endless": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "with": "{% with a=1, b=2 %}{{ a + b }}{% endwith %}",
    "filter": "{% filter upper | trim %} a {% endfilter %}", "generation": "{% generation %}a{% endgeneration %}",
    "raw": "{% raw -%} {{ a }} {%- endraw %}", "spaces": " {%- if 1 -%} a {%+ endif %}\n  {#- c -#}\n{{- 1 -}}\n",
    "include": "{% include 'a' %}", "work": "{% for i in range(99999) %}{% for k in range(99999) %}{% endfor %}{% endfor %}",
    "double": "{% set ns = namespace(a='ab') %}{% for i in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
    "nested": "{{ " + "[" * 300 + "]" * 300 + " }}", "values": "{% set ns = namespace(a=[]) %}{% for i in range(999) %}"
    "{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}", "no-end": "{% if 1 %}", "wrong-end": "{% for a in b %}{% endif %}",
}


def seed_template():
    for name, data in {**TEMPLATES, **EXPRESSIONS, **STATEMENTS}.items():
        seed("template", name, data.encode())
    contexts = {"values": '{"a":[1,-2.50,1e3,true,false,null,"\\u00e9\\n\\"",{}]}', "none": "", "list": "[]",
                "cut": '{"a":"', "twice": '{"a":1,"a":2}', "large": '{"a":123456789012345678901234567890}',
                "deep": '{"a":' + "[" * 250 + "]" * 250 + "}", "broken": b'{"a":"\xff\\ud83e\\ud800"}'}
    for name, data in contexts.items():
        data = data if isinstance(data, bytes) else data.encode()
        seed("template", "context-" + name, b"{{ a }}{{ a | tojson }}{{ a | string | length }}\0" + data)


# ---- records of checks, events of a check, what is typed -----------------------------------------

FIRST = "pumice check 1\n"


def seed_record():
    middle = "device a, b\nquarantined matvec NMSE 3e-2 (33x7)\nquarantined rope by hand\n"
    sets = "checked 0123456789abcdef\nchecked ffffffffffffffff\n"
    whole = FIRST + middle + sets + "end\n"
    files = {
        "whole": whole, "short": FIRST + "end\n", "empty": "", "cut": whole[:-1], "more": whole + "x",
        "no-end": FIRST + middle, "end-twice": whole + "end\n", "no-first": middle + sets + "end\n",
        "version": whole.replace("check 1", "check 2"), "returns": whole.replace("\n", "\r\n"),
        "kernel": FIRST + "quarantined nosuch why\nend\n", "why": FIRST + "quarantined rope \nend\n",
        "blank": FIRST + "quarantined rope  x\nend\n", "twice": FIRST + middle + middle + "end\n",
        "why-159": FIRST + "quarantined rope " + "x" * 159 + "\nend\n",
        "why-160": FIRST + "quarantined rope " + "x" * 160 + "\nend\n",
        "set-upper": FIRST + "checked 0123456789ABCDEF\nend\n", "line": FIRST + "\nend\n",
        "set-long": FIRST + "checked 0123456789abcdef0\nend\n", "other": FIRST + "other x\nend\n",
        "control": FIRST + "device \x1b[2J\nend\n", "zero": whole.replace("a, b", "a\0b"),
    }
    for name, text_ in files.items():
        seed("record", name, b"\x00" + text_.encode())
    seed("record", "utf-8", b"\x00" + (FIRST + "device \u00e9\nend\n").encode())

    def done(name, *steps):
        seed("record", "do-" + name, b"\x01" + b"".join(steps))

    clear, reopen = b"\x00", b"\x01"

    def checked(i):
        return struct.pack("<BQ", 2, i)

    def bad(kernel, why, aside=False):
        return bytes([4 if aside else 5, kernel, len(why)]) + why

    done("nothing", reopen)
    done("one", bad(3, b"why"), reopen, checked(5), reopen)
    done("clear", bad(3, b"why"), checked(5), clear, reopen, bad(4, b"more"), reopen)
    done("aside", bad(3, b"for now", True), checked(5), bad(3, b"again", True), reopen)
    done("aside-then-bad", bad(3, b"for now", True), bad(3, b"for good"), reopen)
    done("text", bad(0, b"a\nend\n\xff\x1b"), bad(1, b""), bad(2, b" "), bad(3, b"x" * 250), reopen)
    done("sets", b"\x03\x05", reopen, checked(3), checked(69), b"\x03\x21", reopen)


def seed_events():
    case = "end\t3\t9\t4294967295\t0\t1e-12\t1.0000000000000001e-05\t0.25\tmatvec\tmatvec/F16/3x7\t\n"
    lines = {
        "case": case, "begin": case.replace("end", "begin"), "none": "", "cut": case[:-9],
        "all": "alive\t1\t2\n" + case.replace("end", "begin") + case + "finished\t\n",
        "stopped": "stopped\tgpu: the device is lost\n", "finished-why": "finished\tx\n",
        "status": case.replace("\t0\t1e", "\t11\t1e"), "minus": case.replace("\t3\t", "\t-3\t"),
        "large": case.replace("\t3\t", "\t4294967296\t"), "nan": case.replace("1e-12", "nan"),
        "number": case.replace("0.25", "0.25x"), "blank": case.replace("\t9\t", "\t 9\t"),
        "more": case.replace("\n", "\tx\n"), "control": case.replace("F16", "\x1b[2J\u009b"),
        "zero": case.replace("F16", "F\0 16"), "tabs": "\t" * 40 + "\n" * 3, "long": "x" * 800,
    }
    for name, text_ in lines.items():
        seed("events", name, b"\x00" + text_.encode())
    seed("events", "broken", b"\x00" + case.encode().replace(b"F16", b"\xff\xc3"))

    def words_of(x):
        return bytes([len(x)]) + x

    def printed(kind, why=b"", kernel=b"rope", name=b"rope/7", status=0, numbers=(0.5, 1e-5, 0.25)):
        if kind % 4 != 0:
            return bytes([kind]) + (struct.pack("<QQ", 3, 9) if kind == 1 else words_of(why))
        return (bytes([kind]) + words_of(why) + words_of(kernel) + words_of(name) +
                struct.pack("<QHHBddd", 7, 9, 3, status, *numbers))

    seed("events", "printed", b"\x01" + printed(1) + printed(0) + printed(4) + printed(2))
    seed("events", "printed-stopped", b"\x01" + printed(8) + printed(3, b"lost\t\n\xc2\x9b \xc3\xa9"))
    seed("events", "printed-failed", b"\x01" + printed(12, b"a\tb\nc\x1b\xff", status=8,
                                                      numbers=(float("nan"), float("inf"), 1e-320)))


def seed_typed():
    lines = {
        "none": "", "short": "-m x -n 3 --temp 0.5 -vn5 -s 7", "long": "--model=x --predict=3 --stop=a",
        "default": "-n -1 -c 0 -s -1", "auto": "-c auto --max-vram 1.5GiB", "range": "-n 0", "large": "-s 99999999999999999999999",
        "above": "--top-p 1.5", "inf": "--temp inf", "hex": "--temp 0x1p3", "empty": "-r  -r",
        "end": "-v -- x", "word": "x", "unknown": "--nosuch", "letter": "-!", "dash": "-", "dashes": "---",
        "value": "--json=1", "lacks": "-n", "two": "-p a -f b", "control": "--\x1b[2J",
        "stops": " ".join(["-r x"] * 17), "equals": "--=", "cut": "--" + "x" * 100,
    }
    for name, words in lines.items():
        seed("typed", "words-" + name, b"\x00" + words.replace(" ", "\0").encode())
    texts = {"one": "hello\n", "open": "hello\nworld", "returns": "a\r\nb\r\r\n\r\n", "blank": "\n\n",
             "none": "", "zero": "a\0b\n", "long": "x" * 900}
    for name, words in texts.items():
        for times in (0, 30):
            seed("typed", f"lines-{name}-{times}", bytes([1, times]) + words.encode())


def safetensors(header, data=b""):
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def seed_safetensors():
    def add(name, data):
        seed("safetensors", name, data)

    one = {"a": entry("F32", [2, 2], 0, 16)}
    add("none", b"")
    add("empty", safetensors({}))
    add("one", safetensors(one, bytes(16)))
    add("padded", safetensors(json.dumps(one).encode() + b"    ", bytes(16)))
    add("metadata", safetensors({"__metadata__": {"format": "pt"}, **one}, bytes(16)))
    add("metadata-number", safetensors({"__metadata__": {"x": 1}}))
    types = ("F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL C64 F8_E4M3 F8_E5M2 F8_E8M0 "
             "F6_E3M2 F6_E2M3 F4").split()
    for kind in types:
        add("type-" + kind, safetensors({"x": entry(kind, [4], 0, 16)}, bytes(32)))
    add("scalar", safetensors({"x": entry("F32", [], 0, 4)}, bytes(4)))
    add("zero", safetensors({"x": entry("F32", [0, 3], 0, 0)}))
    two = {"b": entry("I8", [3], 2, 5), "a": entry("I8", [2], 0, 2)}
    add("two", safetensors(two, bytes(5)))
    add("hole", safetensors({**two, "b": entry("I8", [2], 3, 5)}, bytes(5)))
    add("overlap", safetensors({**two, "b": entry("I8", [4], 1, 5)}, bytes(5)))
    add("behind", safetensors(two, bytes(6)))
    add("cut", safetensors(two, bytes(4)))
    add("float", safetensors(b'{"a":{"dtype":"I8","shape":[2.0],"data_offsets":[0,2]}}', bytes(2)))
    add("twice", safetensors(b'{"a":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},'
                             b'"a":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}'))
    add("overflow", safetensors({"a": entry("F64", [2**31, 2**31, 2**31], 0, 0)}))
    add("nine", safetensors({"a": entry("I8", [1] * 9, 0, 1)}, bytes(1)))
    add("control", safetensors({"a\x07": entry("I8", [0], 0, 0)}))
    add("deep", safetensors(b'{"a":' + b"[" * 800))
    add("long", struct.pack("<Q", 2**63) + b"{}")


def parts(*files):
    """Input of the target split: all but the last with their lengths."""
    return b"".join(struct.pack("<H", len(f)) + f for f in files)


def part(at, of, n, tensors=(), data=b"", **kinds):
    numbers = (("no", U16, at), ("count", U16, of), ("tensors.count", I32, n))
    keys = [key("split." + name, kinds.get(name, kind), x) for name, kind, x in numbers]
    return gguf(keys, tensors, data)


def seed_split():
    def add(name, first, *files):
        seed("split", name, bytes([first]) + parts(*files))

    a, b = [tensor("a", [3], 0, 0)], [tensor("b", [2, 2], 0, 0)]
    good = [part(0, 2, 2, a, bytes(12)), part(1, 2, 2, b, bytes(16))]
    add("one", 0, gguf())
    add("one-of-one", 0, part(0, 1, 1, a, bytes(12)))
    add("two", 1, *good)
    add("later", 1 + 4, *good)
    add("three", 2, part(0, 3, 1), part(1, 3, 1, a, bytes(12)), part(2, 3, 1))
    add("swapped", 1, *good[::-1])
    add("twice", 1, good[0], part(1, 2, 2, a, bytes(12)))
    add("count", 1, good[0], part(1, 3, 2, b, bytes(16)))
    add("tensors", 1, part(0, 2, 3, a, bytes(12)), part(1, 2, 3, b, bytes(16)))
    add("foreign", 1, good[0], gguf((), b, bytes(16)))
    add("cut", 1, good[0], good[1][:-9])
    add("empty", 1, good[0], b"")
    add("many", 0, part(0, 65535, 1))
    add("text", 1, part("x", 2, 2, a, bytes(12), no=STRING), good[1])
    add("float", 1, part(0, 2.0, 2, a, bytes(12), count=F32), good[1])


def spm(*pieces, rest=b""):
    out = b""
    for text_, score, kind in pieces:
        body = b"\x0a" + bytes([len(text_)]) + text_ + b"\x15" + struct.pack("<f", score)
        body += bytes([0x18, kind])
        out += b"\x0a" + bytes([len(body)]) + body
    return out + rest


def seed_folder():
    config, tokenizer, model, tokenizer_config, weights, index = range(6)

    def add(name, which, data, family=0):
        if not isinstance(data, bytes):
            data = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
        seed("folder", name, bytes([which, family]) + data)

    base = {"model_type": "llama", "hidden_size": 4, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 3,
            "max_position_embeddings": 16, "rms_norm_eps": 1e-5}
    for family in range(4):
        add(f"family-{family}", tokenizer_config, {}, family)
    add("config", config, base)
    for name, more in (
        ("turned", {"head_dim": 2, "rope_theta": 1e6}), ("tied", {"tie_word_embeddings": True}),
        ("untied", {"tie_word_embeddings": False}), ("unknown", {"model_type": "?"}),
        ("quantised", {"quantization_config": {"quant_method": "x"}}),
        ("text", {"text_config": {**base, "model_type": "qwen2"}}), ("layers", {"num_hidden_layers": -1}),
        ("heads", {"num_attention_heads": 3}), ("large", {"hidden_size": 1e300}),
        ("linear", {"rope_scaling": {"type": "linear", "factor": 2}}),
        ("llama3", {"rope_scaling": {"rope_type": "llama3", "factor": 8}}),
        ("yarn", {"rope_scaling": {"rope_type": "yarn", "factor": 4.5}}),
        ("longrope", {"rope_scaling": {"type": "longrope", "long_factor": [1], "short_factor": [2]}}),
        ("dynamic", {"model_type": "hunyuan_v1_dense", "rope_scaling": {"type": "dynamic", "alpha": 9}}),
        ("parameters", {"rope_parameters": {"full_attention": {"rope_theta": 7}, "sliding_attention": {}}}),
        ("window", {"model_type": "gemma3_text", "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}),
        ("scalar", {"model_type": "gemma2", "query_pre_attn_scalar": 3}),
        ("experts", {"model_type": "mixtral", "num_local_experts": 4096}),
        ("none", {"model_type": "smollm3", "no_rope_layers": [1, 0]}),
    ):
        add("config-" + name, config, {**base, **more})
    words = {"a": 0, "b": 1, "ab": 2}
    bpe = {"type": "BPE", "vocab": words, "merges": ["a b"]}
    level = {"type": "ByteLevel"}
    digits = {"type": "Digits", "individual_digits": True}
    around = {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "b"}}]}
    added = [{"id": 4, "content": "<s>", "special": True}, {"id": 3, "content": "u"}]
    for name, document in (
        ("bytes", {"model": bpe, "pre_tokenizer": level}),
        ("pairs", {"model": {**bpe, "merges": [["a", "b"]]}, "pre_tokenizer": level}),
        ("pair", {"model": {**bpe, "merges": [["a"]]}, "pre_tokenizer": level}),
        ("digits", {"model": bpe, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]}}),
        ("split", {"model": bpe, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated"}, level]}}),
        ("string", {"model": bpe, "decoder": level, "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}}}),
        ("added", {"model": bpe, "pre_tokenizer": level, "added_tokens": added, "post_processor": around}),
        ("nfc", {"model": bpe, "pre_tokenizer": level, "normalizer": {"type": "NFC"}}),
        ("lower", {"model": bpe, "pre_tokenizer": level, "normalizer": {"type": "Lowercase"}}),
        ("marked", {"model": {"type": "BPE", "byte_fallback": True, "unk_token": "?", "vocab": {
            "\u2581": 0, "a": 1, "\u2581a": 2, "<0x0A>": 3, "?": 4}, "merges": ["\u2581 a"]},
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "\u2581"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
            "added_tokens": added}),
        ("meta", {"model": {"type": "BPE", "byte_fallback": True, "vocab": words, "merges": []},
                  "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}}),
        ("words", {"model": {"type": "WordPiece"}}), ("same", {"model": {**bpe, "vocab": {"a": 0, "b": 0}}}),
        ("far", {"model": {**bpe, "vocab": {"a": 4000000}}}), ("blank", {"model": {
            "type": "BPE", "byte_fallback": True, "vocab": words, "merges": ["ab"]}}),
    ):
        add("tokenizer-" + name, tokenizer, document)
    pieces = [(b"<unk>", 0, 2), (b"<s>", 0, 3), (b"</s>", 0, 3), (b"\xe2\x96\x81a", -1.5, 1), (b"<0x00>", 0, 6)]
    add("spm", model, spm(*pieces))
    add("spm-ids", model, spm(*pieces, rest=b"\x12\x08\x18\x02\xc0\x02\x02\xc8\x02\x01\x1a\x02\x18\x00"))
    add("spm-words", model, spm(*pieces, rest=b"\x12\x02\x18\x03"))
    add("spm-kind", model, spm((b"x", 0, 7)))
    add("spm-nan", model, spm((b"x", float("nan"), 1)))
    add("spm-cut", model, spm(*pieces)[:-3])
    add("spm-fixed", model, spm(*pieces, rest=b"\x09" + bytes(8) + b"\x0d" + bytes(4)))
    add("spm-group", model, b"\x0b")
    add("spm-none", model, b"")
    for name, document in (
        ("special", {"bos_token": "a", "eos_token": {"content": "b"}, "add_bos_token": True}),
        ("template", {"chat_template": "{{ x }}"}), ("decoder", {"added_tokens_decoder": {"3": {"content": "z", "special": True}}}),
        ("templates", {"chat_template": [{"name": "default", "template": "a"}, {"name": "t\n", "template": "b"}]}),
    ):
        add("words-" + name, tokenizer_config, document)
    add("decoder-spm", 6, parts(json.dumps(base).encode(), b"", spm(*pieces), json.dumps(
        {"added_tokens_decoder": {"3": {"content": "z", "special": True}, "9": {"content": "y"}}}).encode()))
    q = "model.layers.0.self_attn.q_proj.weight"
    for name, tensors, size in (
        ("q", {q: entry("BF16", [4, 4], 0, 32)}, 32), ("odd", {q: entry("F32", [3, 4], 0, 48)}, 48),
        ("vector", {"model.norm.weight": entry("F16", [4], 0, 8)}, 8), ("f8", {q: entry("F8_E4M3", [4, 4], 0, 16)}, 16),
        ("scalar", {q: entry("F32", [], 0, 4)}, 4), ("zero", {q: entry("F32", [0, 4], 0, 0)}, 0),
        ("stranger", {"model.layers.0.x": entry("F32", [1], 0, 4)}, 4), ("vision", {"visual.x": entry("F32", [1], 0, 4)}, 4),
        ("integers", {q: entry("I32", [4, 4], 0, 64)}, 64), ("shifted", {"vision_tower.a": entry("I8", [1], 0, 1), q: entry("F32", [4, 4], 1, 65)}, 65),
    ):
        add("weights-" + name, weights, safetensors(tensors, bytes(range(size))))
    expert = "model.layers.0.block_sparse_moe.experts.%d.w1.weight"
    for name, ids in (("experts", (0, 1)), ("lacking", (0,)), ("many", (0, 1, 2))):
        tensors = {expert % e: entry("F16", [3, 2], 12 * i, 12 * i + 12) for i, e in enumerate(ids)}
        add("weights-" + name, weights, safetensors(tensors, bytes(12 * len(ids))), 1)
    add("weights-transposed", weights, safetensors({"transformer.h.0.mlp.c_fc.weight": entry("F16", [4, 3], 0, 24)}, bytes(range(24))), 3)
    embedding = "model.embed_tokens.weight"
    for name, files in (("index", {embedding: "model.safetensors"}), ("index-absent", {embedding: "x.safetensors"}),
                        ("index-path", {embedding: "../x.safetensors"}), ("index-name", {"x": "model.safetensors"})):
        add(name, index, {"weight_map": files})


# ---- importance matrices ---------------------------------------------------------------------------


def floats(*x):
    return struct.pack(f"<{len(x)}f", *x)


def importances(name, calls, x):
    name = name.encode() if isinstance(name, str) else name
    return struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(x)) + floats(*x)


def imatrix_file(sums="a.weight.in_sum2", counts="a.weight.counts", kind="imatrix", of=0, shape=(3, 2),
                 count_shape=(1, 2), values=(4, 0, 1, 2, 2, 2), count=(2, 0)):
    data = floats(*values)
    data += bytes(-len(data) % 32) + floats(*count)
    return gguf([key("general.type", STRING, kind), key("imatrix.chunk_count", U32, 3),
                 array("imatrix.datasets", STRING, ["text"])],
                [tensor(sums, shape, of, 0), tensor(counts, count_shape, 0, 32)],
                data + bytes(-len(data) % 32))


def seed_imatrix():
    def add(name, data):
        seed("imatrix", name, data)

    def old(*entries, n=None, rest=b""):
        return struct.pack("<i", len(entries) if n is None else n) + b"".join(entries) + rest

    one = importances("blk.0.attn_q.weight", 2, [1, 0, 2.5])
    add("empty", b"")
    add("old", old(one, importances("b", 0, [7])))
    add("old-chunks", old(one, rest=struct.pack("<i", 5)))
    add("old-dataset", old(one, rest=struct.pack("<ii", 5, 4) + b"text"))
    add("old-dataset-cut", old(one, rest=struct.pack("<ii", 5, 9) + b"text"))
    add("old-cut", old(one)[:-2])
    add("old-none", old())
    add("old-many", old(one, n=2**31 - 1))
    add("old-negative", old(one, n=-1))
    add("old-twice", old(one, one))
    add("old-no-name", old(importances("", 1, [1, 1])))
    add("old-zero-in-name", old(importances(b"a\0b", 1, [1, 1])))
    add("old-control-name", old(importances(b"a\x1b[2J\xff", 1, [1]), importances(b"a\x1b[2J\xff", 1, [1])))
    add("old-no-values", old(importances("abcdefgh", 1, [])))
    add("old-not-finite", old(importances("a", 1, [float("inf")])))
    add("old-below-zero", old(importances("a", -1, [1])))
    add("gguf", imatrix_file())
    add("gguf-model", imatrix_file(kind="model"))
    add("gguf-no-counts", imatrix_file(counts="b.weight.counts"))
    add("gguf-no-sums", imatrix_file(sums="a.weight.in_sum"))
    add("gguf-name-of-end", imatrix_file(sums=".in_sum2", counts=".counts"))
    add("gguf-few-counts", imatrix_file(count_shape=(1,)))
    add("gguf-f16", imatrix_file(of=1))
    add("gguf-below-zero", imatrix_file(values=(-1, 0, 0, 0, 0, 0)))
    add("gguf-nan", imatrix_file(count=(float("nan"), 1)))


# ---- tunings -------------------------------------------------------------------------------------


def seed_tuning():
    def take(**words):
        w = {"kernel": "matvec", "op": "matmul", "type": "Q4_0", "sizes": "65x96x65",
             "inputs": "b", "rows": "1", "shader": "0123456789abcdef", "ns": "4100",
             "instead": "matmul", **words}
        return ("take {kernel} for {op} {type} {sizes} inputs {inputs} rows {rows} shader {shader} "
                "ns {ns} instead {instead} 5200\n").format(**w)

    def add(name, *lines, first="pumice tuning 1\n", end="end\n"):
        seed("tuning", name, b"\0" + (first + "".join(lines) + end).encode("latin-1"))

    add("stale", "device a device\n", "for 10de:2335:4\n", take(), "# said by hand\n")
    add("empty")
    add("old", first="pumice tuning 0\n")
    add("cut", take(), end="")
    add("hash", take(), end="end 0123456789abcdef\n")
    add("kernel", take(kernel="matvec_of_old"), take(instead="none"))
    add("op", take(op="conjure"), take(kernel="rmsnorm"))
    add("type", take(type="-"), take(type="Q4_77"))
    add("sizes", take(sizes="65x96"), take(sizes="x"), take(sizes="4294967296x1x1"), take(sizes="-1x1x1"))
    add("numbers", take(inputs="100000000"), take(ns="99999999999999999999"), take(shader="xyz"))
    add("words", "take\n", "take \n", "take a b\n", take(kernel="a b"), "give\n", "\n")
    add("long", "for " + "9" * 60 + "\n", "# " + "x" * 500 + "\n")
    add("bytes", "device \xe9\x1b[2J\n", take(kernel="\x7f"))
    for name, data in (("one", b"\x07\x09" + bytes(8) + b"\x02\x41\0\x0b\0\x10\0x"),
                       ("two", bytes(range(40))), ("many", bytes(255 - i % 256 for i in range(300)))):
        seed("tuning", "do-" + name, b"\1" + data)


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_corpus.py [--check]")
    for make in (seed_gguf, seed_imatrix, seed_model, seed_tokenizer, seed_detokenizer, seed_cache,
                 seed_conversation, seed_template, seed_record, seed_events, seed_typed,
                 seed_safetensors, seed_split, seed_folder, seed_tuning):
        make()
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
    wrong = []
    for (target, name), data in sorted(SEEDS.items()):
        path = os.path.join(top, target, name)
        if sys.argv[1:]:
            if not os.path.isfile(path) or open(path, "rb").read() != data:
                wrong.append(path)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    print(f"{len(SEEDS)} seeds, {sum(map(len, SEEDS.values()))} bytes, {len(wrong)} differ")
    for path in wrong:
        print(path)
    sys.exit(1 if wrong else 0)


main()

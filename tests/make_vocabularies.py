#!/usr/bin/env python3
"""make_vocabularies.py TEXT: writes small_vocabularies.h: small vocabularies trained on TEXT, and the
ids that SentencePiece and Hugging Face's tokenizers give with them (pip install sentencepiece
protobuf tokenizers)."""
import os
import re
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

TEXTS = [
    "First Citizen: the KING, and the king's men!", "", " ", "  two  blanks   three ", "tab\tline\n\nend\n",
    "\ufb01ne \uff21BC\u3000\u2460 cafe\u0301 caf\u00e9 na\u00efve \u0130stanbul", "a\u200bb\u200b\u200bc",
    "\u4f60\u597d \u4e16\u754c\uff0c\ud55c\uad6d\uc5b4", "\U0001f999\U0001f636\u200d\U0001f32b\ufe0f ok",
    "don't, you'll see? \u201cyes\u201d\u2014no... $5+3=8 `x`", "x" * 100 + " " + "x" * 101 + " y",
    "\u0394\u03b9\u03b1\u03c6\u03bf\u03c1\u03ac \u0939\u093f\u0928\u094d\u0926\u0940", "\n\n\nand\n", "\x01a\x7fb\ufffd",
]

# Texts to replace, texts in their place.
RULES = [("\ufb01", "fi"), ("\uff21", "A"), ("\u3000", " "), ("\t", " "), ("\n", " "), ("e\u0301", "\u00e9"),
         ("\u2460", "1"), ("\u200b", ""), ("\u0130", "I"), ("\u0130s", "Is")]


def unigram(text, folder, **settings):
    rules = os.path.join(folder, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as file:
        for rule in RULES:
            file.write("\t".join(" ".join("%X" % ord(c) for c in part) for part in rule) + "\n")
    prefix = os.path.join(folder, "unigram")
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=prefix, model_type="unigram", vocab_size=160, hard_vocab_limit=False,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, normalization_rule_tsv=rules, **settings)
    model = sentencepiece_model_pb2.ModelProto()
    with open(prefix + ".model", "rb") as file:
        model.ParseFromString(file.read())
    processor = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
    return {
        "model": "t5", "pieces": [p.piece for p in model.pieces], "kinds": [p.type for p in model.pieces],
        "scores": [p.score for p in model.pieces], "charsmap": model.normalizer_spec.precompiled_charsmap,
        "unknown": 2, "space": settings.get("add_dummy_prefix", True),
        "merges_blanks": settings.get("remove_extra_whitespaces", True),
        "ids": [processor.encode(t) for t in TEXTS],
    }


def wordpiece(text, lowers, strips):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers, strip_accents=strips)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = list("\u00e9\u4f60\u597d\u1112\u0394\u03b1$\u201c\u0307")
    tokenizer.train([text], trainers.WordPieceTrainer(vocab_size=190, special_tokens=special, show_progress=False,
                                                      initial_alphabet=letters))
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    pieces = [p if p in special else p[2:] if p.startswith("##") else "\u2581" + p for p, _ in pieces]
    return {
        "model": "bert", "pieces": pieces, "kinds": [UNKNOWN if p == "[UNK]" else CONTROL if p in special
                                                     else NORMAL for p in pieces],
        "unknown": 1, "lowers": lowers, "strips": strips,
        "ids": [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS],
    }


def gemma4(text):
    """BPE of UTF-8 with bytes for what it lacks. Lines are apart, as a vocabulary whose merges go over
    none has them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    special = ["<unk>", "<bos>", "<eos>"] + ["<0x%02X>" % b for b in range(256)]
    tokenizer.train([text], trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False,
                                                limit_alphabet=60, max_token_length=16))
    document = tokenizer.to_str()
    merges = re.findall(r'\[\s*"([^"]+)",\s*"([^"]+)"\s*\]', document.split('"merges":')[1])
    pieces = [p for p, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    kinds = [UNKNOWN if p == "<unk>" else CONTROL if p in special[:3] else BYTE if p in special else NORMAL
             for p in pieces]
    return {
        "model": "gemma4", "pieces": pieces, "kinds": kinds, "merges": [f"{a} {b}" for a, b in merges],
        "unknown": 0, "ids": [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS],
    }


def c_text(text):
    plain = [chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()]
    lines = [""]
    for letter in plain:
        if len(lines[-1]) + len(letter) > 90:
            lines.append("")
        lines[-1] += letter
    return "\n    ".join(f'"{line}"' for line in lines)


def c_list(type_, name, values):
    """No list of C is empty."""
    lines, line = [], "   "
    for value in values or ["0"]:
        if len(line) + len(value) > 97:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return [f"static const {type_} {name}[] = {{"] + lines + [line, "};"]


def c_vocabulary(name, v):
    out = c_list("char *const", name + "_pieces", [c_text(p) for p in v["pieces"]])
    out += c_list("int32_t", name + "_kinds", ["%d" % k for k in v["kinds"]])
    out += c_list("float", name + "_scores", [float(s).hex() + "f" for s in v.get("scores", [])])
    out += c_list("char *const", name + "_merges", [c_text(m) for m in v.get("merges", [])])
    charsmap = v.get("charsmap", b"")
    out += c_list("int8_t", name + "_charsmap", ["%d" % (b - 256 if b > 127 else b) for b in charsmap])
    out += c_list("int32_t", name + "_ids", ["%d" % i for ids in v["ids"] for i in ids + [-1]])
    flags = [str(bool(v.get(f, False))).lower() for f in ("space", "merges_blanks", "lowers", "strips")]
    row = (f'    {{"{v["model"]}", {name}_pieces, {name}_kinds, {name}_scores,\n     {name}_merges, '
           f'{name}_charsmap,\n     {name}_ids, {len(v["pieces"])}, {len(v.get("merges", []))}, {len(charsmap)}, {v["unknown"]}, '
           f'{", ".join(flags)}}},')
    return out, row


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_vocabularies.py TEXT")
    with tempfile.TemporaryDirectory() as folder:
        vocabularies = {
            "unigram": unigram(sys.argv[1], folder),
            "unigram_blanks": unigram(sys.argv[1], folder, remove_extra_whitespaces=False),
            "unigram_bare": unigram(sys.argv[1], folder, add_dummy_prefix=False),
        }
    vocabularies["wordpiece"] = wordpiece(sys.argv[1], True, True)
    vocabularies["wordpiece_cased"] = wordpiece(sys.argv[1], False, False)
    vocabularies["wordpiece_accents"] = wordpiece(sys.argv[1], True, False)
    vocabularies["gemma4"] = gemma4(sys.argv[1])
    out = ["/* small_vocabularies.h: made by make_vocabularies.py. */", "#ifndef PM_TESTS_SMALL_VOCABULARIES_H",
           "#define PM_TESTS_SMALL_VOCABULARIES_H", "", '#include "tests/vocabulary.h"', "",
           "/* clang-format off */"]
    out += ["static const char *const small_texts[] = {"] + [f"    {c_text(t)}," for t in TEXTS] + ["};"]
    rows = []
    for name, vocabulary in vocabularies.items():
        lines, row = c_vocabulary(name, vocabulary)
        out += lines
        rows.append(row)
    out += ["static const pm__small_vocabulary small_vocabularies[] = {"] + rows + ["};", "/* clang-format on */", "",
                                                                             "#endif", ""]
    with open(os.path.join(HERE, "small_vocabularies.h"), "w", encoding="ascii") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()

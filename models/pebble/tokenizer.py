#!/usr/bin/env python3
"""Byte-level BPE of 2,048 pieces: trains it on the corpus, writes and reads tokenizer.json, encodes and decodes.

    python3 tokenizer.py            # writes tokenizer.json beside this file

The pre-tokenizer is qwen2's, which splits every digit singly, so no piece holds two digits.
"""
import argparse
import collections
import json
import os
import random
import re

import corpus

HERE = os.path.dirname(os.path.abspath(__file__))
PATH = os.path.join(HERE, "tokenizer.json")
SIZE = 2048
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
# the same for Python's re, which has no \p{..}
SPLIT = re.compile(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:_|[^\w\r\n])?[^\W\d_]+|\d| ?(?:_|[^\s\w])+[\r\n]*"
                   r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable stand-in for each of the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (b for b in range(256) if b not in plain)
    table = {b: chr(b) for b in plain}
    table.update({b: chr(256 + i) for i, b in enumerate(others)})
    return table


ALPHABET = byte_alphabet()
BYTE_OF = {c: b for b, c in ALPHABET.items()}


def printable(text):
    return "".join(ALPHABET[b] for b in text.encode())


def count_words(texts):
    counts = collections.Counter()
    for text in texts:
        counts.update(printable(w) for w in SPLIT.findall(text))
    return counts


def merge_word(word, pair):
    """The pieces of a word with every (left, right) neighbour pair joined."""
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def train(texts, n_merges):
    """The first n_merges of byte-pair encoding, ties broken by the text of the pair."""
    counts = count_words(texts)
    words, weights = [list(w) for w in counts], list(counts.values())
    totals, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            totals[pair] += weights[i]
            where[pair].add(i)
    merges = []
    while len(merges) < n_merges:
        pair = max(totals, key=lambda p: (totals[p], p))
        merges.append(pair)
        for i in list(where[pair]):
            for old in zip(words[i], words[i][1:]):
                totals[old] -= weights[i]
                where[old].discard(i)
            words[i] = merge_word(words[i], pair)
            for new in zip(words[i], words[i][1:]):
                totals[new] += weights[i]
                where[new].add(i)
        del totals[pair]
    return merges


class Tokenizer:
    """Encodes text to ids and back; special tokens are only made by name, never out of text."""

    def __init__(self, path=PATH):
        with open(path, encoding="utf-8") as file:
            model = json.load(file)
        self.vocab = dict(model["model"]["vocab"])
        self.vocab.update({t["content"]: t["id"] for t in model["added_tokens"]})
        self.merges = [tuple(m) for m in model["model"]["merges"]]
        self.tokens = [t for t, _ in sorted(self.vocab.items(), key=lambda item: item[1])]
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.cache = {}

    def pieces(self, word):
        """The ids of one pre-token."""
        if word not in self.cache:
            parts = list(printable(word))
            while len(parts) > 1:
                pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, len(self.ranks)))
                if pair not in self.ranks:
                    break
                parts = merge_word(parts, pair)
            self.cache[word] = [self.vocab[p] for p in parts]
        return self.cache[word]

    def encode(self, text):
        """Plain text to ids; what stands between corpus.LETTERS and corpus.END goes byte by byte."""
        ids = []
        for part in re.split(f"({corpus.LETTERS}[^{corpus.END}]*{corpus.END})", text):
            if part.startswith(corpus.LETTERS):
                ids += [self.vocab[c] for c in printable(part[1:-1])]
            else:
                ids += [i for word in SPLIT.findall(part) for i in self.pieces(word)]
        return ids

    def decode(self, ids):
        text = "".join(self.tokens[i] for i in ids if self.tokens[i] not in SPECIALS)
        return bytes(BYTE_OF[c] for c in text).decode("utf-8", "replace")

    def chat(self, messages, answer=False):
        """ids of a conversation and, for each, whether the model has to say it; `answer` opens the next turn."""
        start, end = self.vocab["<|im_start|>"], self.vocab["<|im_end|>"]
        ids, said = [], []
        for role, text in messages:
            head, body = [start] + self.encode(role + "\n"), self.encode(text) + [end]
            tail = self.encode("\n")
            ids += head + body + tail
            said += [0] * len(head) + [int(role == "assistant")] * len(body) + [0] * len(tail)
        if answer:
            head = [start] + self.encode("assistant\n")
            ids, said = ids + head, said + [0] * len(head)
        return ids, said

    def letters(self):
        """All pieces made of small letters only, without their space: what words are glued from."""
        found = {t.lstrip("\u0120") for t in self.tokens if t not in SPECIALS}
        return sorted(t for t in found if re.fullmatch("[a-z]{1,8}", t))


def hugging_face(merges):
    """tokenizer.json as Hugging Face's tokenizers package writes it."""
    base = [ALPHABET[b] for b in sorted(ALPHABET)] + [a + b for a, b in merges]
    vocab = {token: i for i, token in enumerate(base)}
    added = [{"id": len(base) + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, t in enumerate(SPECIALS)]
    split = {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": None,
            "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": [list(m) for m in merges]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=20000, help="conversations to learn from")
    parser.add_argument("-o", "--output", default=PATH)
    args = parser.parse_args()
    rng, weights = random.Random(args.seed), corpus.default_weights("pumice=25,unknown=10")
    texts = [corpus.plain(text) for _ in range(args.count) for _, text in corpus.conversation(rng, weights)]
    texts += ["system\n", "user\n", "assistant\n"] * args.count
    merges = train(texts, SIZE - len(ALPHABET) - len(SPECIALS))
    with open(args.output, "w", encoding="utf-8") as file:
        json.dump(hugging_face(merges), file, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()

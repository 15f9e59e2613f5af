#!/usr/bin/env python3
# ctest: model
"""Synthetic models: every tiny shape, types with and without an encoder, what is refused."""
import os
import re

from cli import BAD_FILE, FAILURE, OK, STORIES, Skip, TEMPORARY, USAGE, check, main, on_cpu, pumice

TYPES = (
    "f32",
    "bf16",
    "q4_0",
    "q8_0",
    "q4_k",
    "q6_k",
    "iq4_xs",
    "mxfp4",
    "iq2_xs",
    "tq1_0",
    "q1_0",
)
SHAPES = ("llama-tiny", "qwen3-tiny", "moe-tiny", "gemma3-tiny")


def scratch(name):
    return os.path.join(TEMPORARY.name, name)


def synth(name, *args):
    out = scratch(name)
    result = pumice("synth", "--force", *args[:1], out, *args[1:])
    check(result.code == OK and not result.out, args, result)
    return out


def perplexity(model):
    """Of random bytes: far from the best, and from none at all."""
    text = bytes(range(32, 127)) * 2
    result = on_cpu("score", "-t", "1", model=model, text=text)
    check(result.code == OK, model, result)
    return float(re.search(r"perplexity ([\d.]+)", result.err).group(1))


def test_types():
    for kind in TYPES:
        model = synth("typed.gguf", "llama-tiny", "--type", kind, "--layers", "1")
        shown = pumice("info", "-m", model).out.decode()
        n = 12 if kind == "f32" else 9
        check(re.search(rf"^type {kind.upper()} +{n} tensors", shown, re.M), f"{kind}: {shown}")
        value = perplexity(model)
        check(300 < value < 3000, f"{kind}: perplexity {value}")


def test_shapes():
    for shape in SHAPES:
        model = synth("shaped.gguf", shape, "--type", "f16")
        result = pumice("info", "-m", model)
        check(
            f'general.name                             "{shape}"' in result.out.decode(),
            shape,
            result,
        )
        result = on_cpu("plan", model=model)
        if "not one of those built" not in result.err:
            check(result.code == OK and 100 < perplexity(model), shape, result)


def test_same_bytes():
    def read(*args):
        with open(synth("same.gguf", "llama-tiny", *args), "rb") as file:
            return file.read()

    first = read()
    check(first == read("--seed", "1"), "the same seed")
    check(first != read("--seed", "2"), "another seed")
    check(read("--layers", "1") != first, "layers")
    shown = pumice("info", "-m", synth("c.gguf", "llama-tiny", "--ctx", "777")).out.decode()
    check(re.search(r"llama.context_length +777\n", shown), "context", None)


def test_vocabulary():
    model = synth("own.gguf", "llama-tiny")
    for text in ("plain words", "caf\u00e9 \U0001f999\n\t\x01 end"):
        ids = pumice("tokenize", "-m", model, "--ids", text=text.encode()).out
        back = pumice("tokenize", "-m", model, "--decode", text=ids)
        check(back.out.decode().rstrip("\n") == text, repr(text), back)
    check(on_cpu("run", "-p", "hi", "-n", "4", model=model).code == OK, "its chat template")
    if not os.path.exists(STORIES):
        raise Skip(f"{STORIES} is not there")
    model = synth("other.gguf", "llama-tiny", "--tokenizer", STORIES)
    given, taken = (
        pumice("tokenize", "-m", path, "-p", "Once upon a time", "--ids").out
        for path in (STORIES, model)
    )
    check(given == taken and given, "another model's vocabulary")


def test_refusals():
    out = scratch("refused.gguf")
    for args, code, sentence in (
        (("llama-9b", out), USAGE, "there is no shape 'llama-9b'; there are llama-tiny"),
        (("llama-tiny", out, "--type", "q4_9"), USAGE, "'q4_9' is no tensor type"),
        (("llama-tiny", out, "--type", "i32"), USAGE, "'i32' is no tensor type"),
        (("llama-tiny", out, "--layers", "0"), USAGE, "--layers"),
        (("llama-tiny", out, "--tokenizer", "/nonexistent"), BAD_FILE, "/nonexistent"),
        (("llama-tiny", "/nonexistent/x.gguf"), FAILURE, "cannot be written"),
        (("llama-tiny",), USAGE, "needs SHAPE OUT"),
    ):
        result = pumice("synth", *args)
        check(result.code == code and sentence in result.err, args, result)
        check(not os.path.exists(out), f"{args}: nothing is left")
    synth("there.gguf", "llama-tiny")
    result = pumice("synth", "qwen3-tiny", scratch("there.gguf"))
    check(result.code == FAILURE and "--force" in result.err, "never over another file", result)


main(globals())

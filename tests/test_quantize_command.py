#!/usr/bin/env python3
# ctest: model
"""Quantising as people do it: what is written, what is refused, what is left alone."""
import os
import re
import resource
import shutil
import subprocess

import gguf_file
from cli import (
    BAD_FILE,
    FAILURE,
    OK,
    PROGRAM,
    SHARED,
    STORIES,
    Skip,
    TEMPORARY,
    USAGE,
    check,
    check_refusal,
    main,
    on_cpu,
    pumice,
)

REAL = os.path.join(SHARED, "models", "real")
TERNARY = os.path.join(REAL, "bitllama-3M-F16.gguf")  # rows of 256: every block fits


def need(path):
    if not os.path.exists(path):
        raise Skip(f"{path} is not there")
    return path


def scratch(name):
    return os.path.join(TEMPORARY.name, name)


def quantized(name, model, *arguments):
    out = scratch(name)
    result = pumice("quantize", "--force", need(model), out, *arguments)
    check(result.code == OK and not result.out, arguments, result)
    check(re.search(r"tensors .*iB -> .*iB, [\d.]+ bits an element", result.err), "the sum", result)
    return out


def tensor_types(path):
    listed = pumice("info", "--tensors", "-m", path).out.decode()
    return dict(re.findall(r"^(\S+\.weight) +([A-Z0-9_]+) +\d", listed, re.M))


def perplexity(path, n_byte=2000):
    with open(os.path.join(SHARED, "models", "text", "wikitext-2-raw.test.txt"), "rb") as file:
        text = file.read(n_byte)
    result = on_cpu("score", "-c", "256", "-t", "1", model=path, text=text)
    check(result.code == OK, path, result)
    return float(re.search(r"perplexity ([\d.]+)", result.err).group(1))


def test_types_and_keys():
    out = quantized("s-q8_0.gguf", STORIES, "q8_0")
    shown = pumice("info", "-m", out).out.decode()
    check(re.search(r"general.file_type +7\n", shown), "general.file_type", None)
    check(re.search(r"general.quantization_version +2\n", shown), "quantization_version", None)
    before = pumice("info", "-m", STORIES).out.decode()
    kept = [k for k in re.findall(r"^((?:llama|tokenizer)\.\S+ +.*)$", before, re.M)]
    check(len(kept) > 10 and all(line in shown for line in kept), "all other keys are kept")
    types = tensor_types(out)
    check(types["blk.0.attn_q.weight"] == "Q8_0", f"matrices: {types}")
    check(types["blk.0.attn_norm.weight"] == "F32", f"norms: {types}")
    same = quantized("s-q8_0-again.gguf", STORIES, "Q8_0", "-t", "3")
    with open(out, "rb") as a, open(same, "rb") as b:
        check(a.read() == b.read(), "any number of threads gives the same file")


def test_it_runs():
    f32 = perplexity(need(STORIES))
    for kind, most in (("F16", 0.001), ("BF16", 0.01), ("Q8_0", 0.01)):
        there = perplexity(quantized("s-run.gguf", STORIES, kind))
        check(abs(there / f32 - 1) < most, f"{kind}: perplexity {there} instead of {f32}")


def test_rows_that_no_block_divides():
    """172 columns: some type that fits, and it is said."""
    out = scratch("fit.gguf")
    result = pumice("quantize", need(STORIES), out, "Q4_0")
    check(result.code == OK, "Q4_0", result)
    check("5 tensors became F16 instead of Q4_0" in result.err, "said", result)
    types = tensor_types(out)
    check(types["blk.1.ffn_down.weight"] == "F16", f"172 columns: {types}")
    check(types["blk.1.ffn_up.weight"] == "Q4_0", f"64 columns: {types}")
    check(types["token_embd.weight"] == "Q8_0", f"the output, Q6_K of other models: {types}")
    check(on_cpu("run", "--raw", "-n", "4", "-p", "a", model=out).code == OK, "it runs")


def test_overrides():
    out = quantized(
        "o.gguf", TERNARY, "Q8_0",
        "--output-tensor-type", "bf16", "--tensor-type", r"blk\.[01]\.ffn_(up|down)=F32",
        "--tensor-type", "ffn_up=q4_0",
    )  # fmt: skip
    types = tensor_types(out)
    check(types["blk.0.ffn_up.weight"] == types["blk.1.ffn_down.weight"] == "F32", f"{types}")
    check(types["blk.2.ffn_up.weight"] == "Q4_0", f"the first pattern that fits counts: {types}")
    check(types["blk.2.ffn_down.weight"] == "Q8_0", f"{types}")
    check(types["token_embd.weight"] == "BF16", f"tied: it gives the logits: {types}")
    types = tensor_types(quantized("o.gguf", TERNARY, "Q4_0", "--pure"))
    check(types["token_embd.weight"] == types["blk.3.attn_v.weight"] == "Q4_0", f"pure: {types}")
    types = tensor_types(quantized("o.gguf", TERNARY, "Q4_0", "--token-embedding-type", "F16"))
    check(types["token_embd.weight"] == "F16", f"embedding: {types}")


def test_mixes_are_those_of_the_field():
    """The same types as in files that llama.cpp made of the same model."""
    for mix in ("Q4_K_M", "Q6_K", "Q4_0", "Q8_0", "IQ4_XS", "TQ2_0"):
        theirs = tensor_types(need(os.path.join(REAL, f"bitllama-3M-{mix}.gguf")))
        ours = pumice("quantize", "--dry-run", need(TERNARY), "nowhere", mix).out.decode()
        types = dict(re.findall(r"^(\S+) .* -> (\S+) ", ours, re.M))
        check(types == theirs, f"{mix}: {set(types.items()) ^ set(theirs.items())}")


def test_bytes_of_the_field():
    """Q4_0 without importances: the very bytes that llama.cpp wrote."""
    _, theirs = gguf_file.read(need(os.path.join(REAL, "bitllama-3M-Q4_0.gguf")))
    _, ours = gguf_file.read(quantized("bytes.gguf", TERNARY, "Q4_0"))
    names = [name for name in ours if ours[name].kind == 2]
    check(len(names) > 40, f"matrices in Q4_0: {names}")
    for name in names:
        n = ours[name].shape[0] * ours[name].shape[1] // 32 * 18
        check(ours[name].data[:n] == theirs[name].data[:n], name)


def test_rows_too_short_for_blocks_of_256():
    """64, 96 and 172 columns: smaller blocks of more bits, or 16 bits."""
    out = scratch("short.gguf")
    for model in (STORIES, os.path.join(REAL, "babyllama-tok105-f32.gguf")):
        result = pumice("quantize", "--force", need(model), out, "Q4_K_M")
        check(result.code == OK and "became Q5_0 instead of Q4_K" in result.err, model, result)
        check(on_cpu("run", "--raw", "-n", "4", "-p", "a", model=out).code == OK, "it runs")
    types = tensor_types(quantized("short.gguf", STORIES, "Q2_K"))
    check(types["blk.1.ffn_up.weight"] == "IQ4_NL", f"64 columns: {types}")
    check(types["blk.1.ffn_down.weight"] == "F16", f"172 columns: {types}")


def imatrix_of(model, name, *arguments):
    out = scratch(name)
    text = os.path.join(SHARED, "models", "text", "wikitext-2-raw.test.txt")
    result = pumice(
        "imatrix",
        "--force",
        "-m",
        need(model),
        "-f",
        text,
        "-o",
        out,
        "-c",
        "64",
        "--chunks",
        "2",
        *arguments,
    )
    check(result.code == OK and not result.out, "imatrix", result)
    return out


def test_importances():
    importances = imatrix_of(TERNARY, "t.imatrix")
    plain = quantized("plain.gguf", TERNARY, "Q4_K_S")
    out = quantized("weighted.gguf", TERNARY, "Q4_K_S", "--imatrix", importances)
    with open(plain, "rb") as a, open(out, "rb") as b:
        check(a.read()[-100000:] != b.read()[-100000:], "other levels are chosen")
    shown = pumice("info", "-m", out).out.decode()
    check(re.search(r"quantize.imatrix.entries_count +\d+\n", shown), "what was used is kept")
    check(re.search(r"quantize.imatrix.chunks_count +2\n", shown), "what was used is kept")
    listed = pumice("quantize", "--dry-run", TERNARY, "x", "Q4_K_S", "--imatrix", importances)
    check("by importance" in listed.out.decode(), "said", listed)
    wrong = pumice("quantize", need(STORIES), scratch("w.gguf"), "Q8_0", "--imatrix", importances)
    sentence = check_refusal(wrong, [BAD_FILE], "of another model")
    check("another model" in sentence, sentence)


def test_experts():
    """Importances of each expert apart; experts are quantised like other matrices."""
    model, importances, out = scratch("moe.gguf"), scratch("moe.imatrix"), scratch("moe-q.gguf")
    made = pumice("synth", "moe-tiny", model, "--type", "f32", "--layers", "1")
    check(made.code == OK, "synth", made)
    text = "What is the size of the sea? Nobody knows, and the sea says nothing. " * 3
    measured = pumice(
        "imatrix", "-m", model, "-o", importances, "-p", text, "-c", "32", "-t", "1"
    )  # fmt: skip
    check(measured.code == OK, "imatrix", measured)
    result = pumice("quantize", "-v", model, out, "Q4_K_M", "--imatrix", importances)
    check(result.code == OK, "quantize", result)
    for name in ("gate", "up", "down"):
        check(
            re.search(rf"ffn_{name}_exps.weight .* -> Q\d_K +\d+  by importance", result.err),
            name,
            result,
        )
    check("ffn_gate_inp.weight" not in re.findall(r"(\S+) .*by importance", result.err), "router")
    check(on_cpu("run", "--raw", "-n", "4", "-p", "a", model=out).code == OK, "it runs")


def test_imatrix_refusals():
    out = scratch("r.imatrix")

    def refused(codes, part, *arguments):
        sentence = check_refusal(pumice("imatrix", "-p", "Once upon", *arguments), codes, arguments)
        check(part in sentence, sentence)

    refused([USAGE], "-o FILE", "-m", need(STORIES))
    refused([USAGE], "CPU path", "-m", STORIES, "-o", out, "--device", "0")
    refused([BAD_FILE], "nothing", "-m", os.path.join(SHARED, "nothing.gguf"), "-o", out)
    refused([FAILURE], "cannot be written", "-m", STORIES, "-o", scratch("no/such/folder"))
    check(not os.path.exists(out), "nothing is written")
    with open(out, "w", encoding="utf-8") as file:
        file.write("mine")
    refused([FAILURE], "--force", "-m", STORIES, "-o", out)


def test_dry_run_writes_nothing():
    out = scratch("dry.gguf")
    result = pumice("quantize", "--dry-run", need(STORIES), out, "Q8_0")
    check(result.code == OK and not os.path.exists(out), "nothing is written", result)
    lines = result.out.decode().splitlines()
    check(len(lines) == len(tensor_types(STORIES)), "a line a tensor", result)
    check(
        any(re.match(r"blk.0.attn_q.weight +64 x 64 +F32 +-> Q8_0 +4352$", l) for l in lines), lines
    )


def test_an_output_that_is_there_stays():
    out = scratch("kept.gguf")
    with open(out, "w", encoding="utf-8") as file:
        file.write("mine")
    result = pumice("quantize", need(STORIES), out, "F16")
    sentence = check_refusal(result, [FAILURE], "the output is there")
    check("--force" in sentence, sentence)
    with open(out, encoding="utf-8") as file:
        check(file.read() == "mine", "it is left alone")
    check(pumice("quantize", "--force", STORIES, out, "F16").code == OK, "--force")
    check(os.path.getsize(out) > 100000, "replaced")
    shutil.copy(need(STORIES), out)
    check(pumice("quantize", "--force", out, out, "F16").code == OK, "in place")
    check(tensor_types(out)["blk.0.attn_q.weight"] == "F16", "in place")


def test_a_file_that_cannot_be_whole_does_not_appear():
    out = scratch("cut.gguf")
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
    done = subprocess.run(
        [PROGRAM, "quantize", need(STORIES), out, "F16"],
        preexec_fn=small, capture_output=True, check=False,
    )  # fmt: skip
    check(done.returncode == FAILURE and b"cannot be written" in done.stderr, done.stderr)
    check(
        not [f for f in os.listdir(TEMPORARY.name) if f.startswith("cut.gguf")], "nothing is left"
    )


def test_refusals():
    out = scratch("refused.gguf")

    def refused(codes, *arguments, model=STORIES):
        sentence = check_refusal(pumice("quantize", need(model), out, *arguments), codes, arguments)
        check(not os.path.exists(out), f"{arguments}: something was written")
        return sentence

    check("Q9_Z" in refused([USAGE], "Q9_Z"), "no such type")
    check("needs IN OUT TYPE" in pumice("quantize", STORIES, out).err, "an argument is missing")
    check("Q4_7" in refused([USAGE], "F16", "--output-tensor-type", "Q4_7"), "no such type")
    check("ffn(" in refused([USAGE], "F16", "--tensor-type", "ffn(=F16"), "no pattern")
    check("PATTERN=TYPE" in refused([USAGE], "F16", "--tensor-type", "ffn"), "no =")
    refused(
        [BAD_FILE], "F16", model=os.path.join(SHARED, "models", "malformed", "gguf-bad-magic.gguf")
    )
    refused([BAD_FILE], "F16", model=SHARED)
    once = quantized("once.gguf", STORIES, "Q8_0")
    sentence = refused([BAD_FILE], "Q4_0", model=once)
    check("--allow-requantize" in sentence, sentence)
    result = pumice("quantize", "--allow-requantize", once, scratch("twice.gguf"), "Q4_0")
    check(result.code == OK, "allowed", result)
    check(
        "missing.dat" in refused([BAD_FILE], "F16", "--imatrix", scratch("missing.dat")), "imatrix"
    )
    refused([BAD_FILE], "F16", "--imatrix", need(STORIES))


main(globals())

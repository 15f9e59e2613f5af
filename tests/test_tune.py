#!/usr/bin/env python3
# ctest: model
"""Where time goes: profiles of runs."""
import json

from cli import OK, PEBBLE, Skip, USAGE, check, main, pumice


def on_gpu(*args, **kwargs):
    result = pumice(*args, "--no-check", **kwargs)
    if result.code == 4:
        raise Skip("no Vulkan device")
    return result


def run(*args):
    return on_gpu("run", "-m", PEBBLE, "-p", "Hello", "-n", "6", "--temp", "0", *args)


def test_profile():
    plain = run("--json")
    profiled = run("--json", "--profile", "-v")
    check(plain.code == OK and profiled.code == OK, "run", profiled)
    document = json.loads(profiled.out)
    check(document["tokens"] == json.loads(plain.out)["tokens"], "the same tokens", profiled)
    check(document["logits_hash"] == json.loads(plain.out)["logits_hash"], "the same bits", profiled)
    profile = document["profile"]
    if profile["why"]:
        raise Skip(profile["why"])
    kernels = {(k["kernel"], k["rows"]): k for k in profile["kernels"]}
    for rows in ("one", "many"):
        matrices = [k for (name, r), k in kernels.items() if r == rows and name.startswith("mat")]
        check(matrices and all(k["bytes"] > 0 and k["flops"] > 0 for k in matrices), rows, profiled)
    for key in ("launches", "seconds", "bytes"):
        by_node = sum(n[key] for n in profile["nodes"])
        by_kernel = sum(k[key] for k in profile["kernels"])
        check(abs(by_node - by_kernel) <= 1e-6 * by_kernel, f"{key} by node and by kernel", profiled)
    check(any(n["node"].startswith("blk.0.attn_q") for n in profile["nodes"]), "names", profiled)
    check("gaps between them" in profiled.err and "GB/s" in profiled.err, "the table", profiled)


def test_profile_of_a_chat():
    result = on_gpu(
        "chat", "-m", PEBBLE, "-n", "4", "--temp", "0", "--profile", text=b"Hi\nAnd you?\n"
    )
    check(result.code == OK and "gaps between them" in result.err, "the table at the end", result)


def test_no_profile_on_the_cpu_path():
    result = run("--device", "cpu", "--profile")
    check(result.code == OK and "no profile: " in result.err, "and that is said", result)


def test_profile_of_what_has_none():
    result = pumice("info", "-m", PEBBLE, "--profile")
    check(result.code == USAGE, "info takes no --profile", result)


main(globals())

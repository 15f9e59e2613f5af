#!/usr/bin/env python3
# ctest: model
"""Where time goes: profiles of runs, times of kernels, and the choice among them."""
import glob
import json
import os
import re

from cli import BAD_FILE, OK, PEBBLE, Skip, TEMPORARY, USAGE, check, main, pumice

HEAD = "pumice tuning 1\n"


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
    check(document["logits_hash"] == json.loads(plain.out)["logits_hash"], "the same bits",
          profiled)
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
        check(abs(by_node - by_kernel) <= 1e-6 * by_kernel, f"{key} by node and by kernel",
              profiled)
    check(any(n["node"].startswith("blk.0.attn_q") for n in profile["nodes"]), "names", profiled)
    check("gaps between them" in profiled.err and "GB/s" in profiled.err, "the table", profiled)
    start = document["start"]
    check(0 < start["kernels"] == start["kernels_ahead"], "compiled while weights are read",
          profiled)
    check(start["weights_bytes"] > 3e6 and start["session_seconds"] >= start["wait_seconds"], start)
    check("pumice: start: device " in profiled.err, "the start", profiled)


def test_profile_of_a_bench():
    result = on_gpu(
        "bench", "-m", PEBBLE, "-p", "9", "-n", "3", "-r", "2", "--no-cpu", "--profile", "-o",
        "json"
    )
    check(result.code == OK, "bench", result)
    for row, rows in zip(json.loads(result.out), ("many", "one")):
        profile = row["profile"]
        if profile["why"]:
            raise Skip(profile["why"])
        check({k["rows"] for k in profile["kernels"]} >= {rows}, row["test"], result)
        check(f"pumice: profile of {row['test']}\n" in result.err, row["test"], result)
    check({k["rows"] for k in profile["kernels"]} == {"one"}, "answers have steps of one row",
          result)
    check(result.err.count("gaps between them") == 2, "two tables", result)
    both = pumice("bench", "-m", PEBBLE, "--kernels", "--profile")
    check(both.code == USAGE, "two kinds of measurement", both)


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


def scratch(name):
    return os.path.join(TEMPORARY.name, name)


def in_cache(command, *args, model=("--synthetic", "llama-tiny:q4_0"), **kwargs):
    """With a cache directory of this test's own."""
    result = pumice(command, *model, "--cache-dir", scratch("cache"), *args, **kwargs)
    if result.code == 4:
        raise Skip("no Vulkan device")
    return result


def write(name, text):
    with open(scratch(name), "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return scratch(name)


def take(name, *args):
    result = pumice("tune", "--input", scratch(name), "--cache-dir", scratch("cache"), *args)
    if result.code == 4:
        raise Skip("no Vulkan device")
    return result


def test_kernels_of_a_model():
    result = in_cache("bench", "--kernels", "-o", "json", timeout=300)
    check(result.code == OK, "bench --kernels", result)
    rows = json.loads(result.out)
    timed = [r for r in rows if r["seconds"] > 0]
    check(timed and all(r["bytes"] > 0 for r in timed), "times", result)
    check(any(r["op"] == "matmul" and r["n_in"] == 256 for r in rows), "products", result)
    check(any(r["used"] and r["default"] for r in timed), "what runs use is marked", result)
    check(all(r["seconds"] > 0 or r["why"] for r in rows), "what is not timed says why", result)


def test_tune():
    shared = scratch("tuning.txt")
    pebble = ("-m", PEBBLE)
    result = in_cache(
        "tune", "--seconds", "5", "--json", "--output", shared, model=pebble, timeout=300
    )
    check(result.code == OK and "shapes measured in" in result.err, "tune", result)
    document = json.loads(result.out)
    check(document["shapes"] + document["left"] > 0 and document["times"], "something was measured",
          result)
    for choice in document["choices"]:
        check(choice["seconds"] <= 0.97 * choice["instead_seconds"], f"not faster: {choice}")
    kept = glob.glob(scratch("cache/tune-*.txt"))
    with open(shared, encoding="ascii") as file:
        text = file.read()
    check(len(kept) == 1 and open(kept[0], encoding="ascii").read() == text, "one text", result)
    check(text.count("\ntake ") == len(document["choices"]), text)
    first, again = (in_cache("run", "--temp", "0", "-n", "4", "-p", "Hi", "--no-check",
                             model=pebble)
                    for _ in range(2))
    check(first.code == OK, "run", first)
    check(("a tuning is in use" in first.err) == bool(document["choices"]), "it is said", first)
    hashes = [re.search(r"#([0-9a-f]{8})$", run.err, re.M) for run in (first, again)]
    check(hashes[0] and hashes[0][1] == hashes[1][1], "the same bits in every run", again)
    taken = take("tuning.txt")
    check(taken.code == OK and f"{len(document['choices'])} choices" in taken.err, "--input", taken)


def test_tunings_of_others():
    write("tuning.txt", HEAD + "end\n")
    mine = in_cache("tune", "--seconds", "1", "--output", scratch("mine.txt"), timeout=300)
    check(mine.code == OK, "tune", mine)
    left = re.search(r"; (\d+) were left as they are, --seconds gives more time\n", mine.err)
    check(left and int(left[1]) > 0, "a second is not enough for all", mine)
    made_for = re.search(r"^for .*$", open(scratch("mine.txt"), encoding="ascii").read(), re.M)[0]
    stale = ("take matvec for matmul Q4_0 65x96x65 inputs 3 rows 1 shader 0123456789abcdef ns 1 "
             "instead matmul 2")
    write("stale.txt", f"{HEAD}{made_for}\n{stale}\nnonsense\nend\n")
    result = take("stale.txt")
    check(result.code == OK, "unused lines are no failure", result)
    check("line 3 is not used: the shader" in result.err, "a stale line is said", result)
    check("line 4 is not used: it is not" in result.err, "a strange line is said", result)
    write("foreign.txt", HEAD + "for 1234:5678:9\nend\n")
    check(take("foreign.txt").code == USAGE, "a tuning of another device")
    for name, text in (("cut.txt", HEAD + stale), ("bytes.txt", os.urandom(4096)),
                       ("zero.txt", HEAD.encode() + b"\0end\n"), ("empty.txt", "")):
        write(name, text)
        refused = take(name)
        check(refused.code == BAD_FILE, f"{name} is refused", refused)
    check(take("not-there.txt").code == BAD_FILE, "no file")
    cleared = pumice("tune", "--clear", "--cache-dir", scratch("cache"))
    check(cleared.code == OK and not glob.glob(scratch("cache/tune-*")), "--clear", cleared)


def test_tune_needs_a_device():
    result = pumice("tune", "-m", PEBBLE, "--device", "cpu")
    check(result.code == BAD_FILE and "CPU path" in result.err, "the CPU path", result)
    check(pumice("tune", "--input", "x", "--clear").code == USAGE, "two things to do")
    check(pumice("tune", "--input", "x", "--json").code == USAGE, "nothing is measured")


main(globals())

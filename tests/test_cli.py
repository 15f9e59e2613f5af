#!/usr/bin/env python3
# ctest: model
"""Runs the built program as people and scripts do: exit codes, what goes to which stream, JSON by
its keys, hostile files within time and memory.
"""
import json
import math
import os
import random
import re
import resource
import struct
import subprocess

from cli import (
    BAD_FILE,
    BUILD,
    FAILURE,
    MEMORY,
    NO_DEVICE,
    OK,
    PEBBLE,
    PROGRAM,
    ROOT,
    Result,
    SHARED,
    STORIES,
    Skip,
    TEMPORARY,
    USAGE,
    chat_model,
    check,
    check_refusal,
    commands,
    on_cpu,
    pumice,
    main,
)


# ---- usage -----------------------------------------------------------------------------



def test_help_and_version():
    result = pumice("--version")
    check(
        result.code == OK and re.fullmatch(rb"pumice \d+\.\d+\.\d+\n", result.out),
        "--version",
        result,
    )
    for args in (["help"], ["--help"]):
        result = pumice(*args)
        check(result.code == OK and not result.err, args, result)
        check(
            all(command in result.out.decode() for command in commands()),
            "help lists all commands",
            result,
        )
    for command in commands():
        by_flag, by_help = pumice(command, "--help"), pumice("help", command)
        check(
            by_flag.code == OK and by_flag.out == by_help.out and not by_flag.err, command, by_flag
        )
        for word in pumice("--completion-words", command).out.decode().split():
            check(
                re.search(rf"(^|\s){re.escape(word)}[\s,]", by_flag.out.decode()),
                f"{command}: {word}",
                by_flag,
            )


def test_man_page_has_every_option():
    with open(os.path.join(ROOT, "tools", "pumice.1"), encoding="utf-8") as file:
        page = file.read().replace("\\-", "-")
    for command in commands():
        check(f"\n.SS {command}\n" in page, f"the man page has no section for {command}")
        for word in pumice("--completion-words", command).out.decode().split():
            check(
                re.search(rf"{re.escape(word)}\b", page), f"the man page lacks {word} ({command})"
            )


def test_usage_errors():
    cases = [
        [],
        ["sing"],
        ["run", "--sing"],
        ["run", "extra"],
        ["run", "-n"],
        ["run", "-n", "many"],
        ["run", "-n", "0"],
        ["run", "--temp", "-1"],
        ["run", "--top-p", "2"],
        ["run", "-p", "a", "-f", "b"],
        ["run", "--tensors"],
        ["score", "--temp", "0"],
        ["info", "--device", "cpu"],
        ["help", "sing"],
        ["help", "run", "on"],
        ["--version", "on"],
        ["chat", "--json"],
        ["tokenize", "--top", "3"],
    ]
    for args in cases:
        result = pumice(*args)
        check(
            result.code == USAGE and result.out == b"" and result.err,
            f"{args}: not refused",
            result,
        )
        check(
            not args or len(result.err.splitlines()) == 1, f"{args}: more than one sentence", result
        )


# ---- bad input -------------------------------------------------------------------------


def test_malformed_models():
    folder = os.path.join(SHARED, "models", "malformed")
    names = sorted(name for name in os.listdir(folder) if name.startswith("gguf-"))
    check(len(names) > 40, f"only {len(names)} malformed files in {folder}")
    for name in names:
        result = on_cpu(
            "run", "--raw", "-p", "x", "-n", "1", model=os.path.join(folder, name), timeout=20
        )
        check(result.cpu_seconds < 1, f"{name}: {result.cpu_seconds:.2f} s", result)
        check(result.peak_bytes < 200e6, f"{name}: {result.peak_bytes / 1e6:.0f} MB", result)
        if not ("maybe-ok" in name and result.code == OK):
            check_refusal(result, [BAD_FILE], name)


def test_what_is_no_model_file():
    fifo = os.path.join(TEMPORARY.name, "fifo")
    os.mkfifo(fifo)
    empty = os.path.join(TEMPORARY.name, "empty.gguf")
    open(empty, "w").close()
    cases = {
        "directory": TEMPORARY.name,
        "pipe": fifo,
        "missing": os.path.join(TEMPORARY.name, "missing.gguf"),
        "empty": empty,
        "device": "/dev/zero",
        "text": os.path.abspath(__file__),
    }
    if os.geteuid() != 0:
        cases["unreadable"] = os.path.join(TEMPORARY.name, "unreadable.gguf")
        open(cases["unreadable"], "w").close()
        os.chmod(cases["unreadable"], 0)
    for what, path in cases.items():
        for command in (["run", "--device", "cpu", "-p", "x"], ["info"], ["tokenize", "-p", "x"]):
            result = pumice(*command, "-m", path, timeout=20)
            check_refusal(result, [BAD_FILE], f"{command[0]} of {what}")
            check(result.peak_bytes < 200e6, f"{what}: {result.peak_bytes / 1e6:.0f} MB", result)


def test_bad_texts():
    for path in (os.path.join(TEMPORARY.name, "no-such-text"), TEMPORARY.name):
        sentence = check_refusal(on_cpu("run", "-f", path), [BAD_FILE], path)
        check(path in sentence, f"{sentence} does not name the file")
    zero = on_cpu("run", text=b"one\0two", model=chat_model())
    check("zero byte" in check_refusal(zero, [BAD_FILE], "zero byte"), "zero byte", zero)


def test_prompt_longer_than_context():
    result = on_cpu("run", "-c", "16", "-p", "a b c d e f g h i j k l m n o p q r s t u v w x y z")
    sentence = check_refusal(result, [FAILURE], "long prompt")
    n_prompt = int(re.search(r"(\d+) prompt tokens", result.err)[1])
    check(
        n_prompt > 16 and str(n_prompt) in sentence and "16" in sentence and "-c" in sentence,
        sentence,
        result,
    )


def test_devices_that_are_not_there():
    check_refusal(
        pumice("run", "-m", STORIES, "-p", "x", "--device", "no such device"),
        [NO_DEVICE],
        "unknown device",
    )
    check_refusal(
        on_cpu("run", "-p", "x", "--require-gpu"), [NO_DEVICE], "--require-gpu on the CPU"
    )
    nothing = {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    check_refusal(pumice("run", "-m", STORIES, "-p", "x", env=nothing), [NO_DEVICE], "no driver")
    result = pumice("devices", "--json", env=nothing)
    document = json.loads(result.out)
    check(
        result.code == OK and [d["kind"] for d in document["devices"]] == ["cpu"],
        "CPU path alone",
        result,
    )
    check(document["note"], "why there is no Vulkan device", result)


def test_what_does_not_fit():
    huge = on_cpu("run", "-p", "x", "-c", "1048576", "-b", "16384", "-a", "64")
    sentence = check_refusal(huge, [MEMORY], "huge context")
    check(re.search(r"\d{6,}.*-c", sentence), f"neither bytes nor what would help: {sentence}")
    planned = on_cpu("plan", "--json", "-c", "1048576", "-b", "16384", "-a", "64")
    check(
        planned.code == MEMORY and json.loads(planned.out)["fits"] is False, "plan says so", planned
    )


def test_a_limit_of_device_memory():
    for what in (["run", "-p", "x"], ["score", "-p", "x"], ["plan"]):
        small = on_cpu(*what, "--max-vram", "1M") if what[0] != "plan" else on_cpu("plan")
        if what[0] == "plan":
            small = on_cpu("plan", "--max-vram", "1M", "--json")
            check(small.code == MEMORY, "plan under 1M", small)
            plan = json.loads(small.out)
            check(
                plan["limit"] == 1 << 20 < plan["needed"] and plan["fits"] is False, "limit", small
            )
            continue
        sentence = check_refusal(small, [MEMORY], what[0])
        numbers = [int(number) for number in re.findall(r"\d{6,}", sentence)]
        check(1 << 20 in numbers and max(numbers) > 1 << 20, f"needed, left: {sentence}", small)
        check("--max-vram" in sentence and "-c" in sentence, f"what to try: {sentence}", small)
    for size in ("64M", "64", "64MiB", "0.0625G", "65536k", "67108864B"):
        plan = document(on_cpu("plan", "--json", f"--max-vram={size}"), {"limit": int})
        check(plan["limit"] == 64 << 20 and plan["fits"], f"{size} is {plan['limit']} bytes")
    for size in ("8GB", "", "-1", "M", "1.5x", "0", "1e30", "nan"):
        result = on_cpu("plan", "--max-vram", size)
        check(result.code == USAGE and result.out == b"", f"--max-vram {size!r}", result)


def test_the_largest_context():
    trained = document(on_cpu("plan", "--json"), {"context": int})["context"]
    auto = on_cpu("run", "--raw", "-p", "x", "-n", "1", "-c", "auto", "--json")
    check(document(auto, {**RUN_KEYS, "context": int})["context"] == trained, "all of it", auto)
    check(f"auto: all {trained} positions" in auto.err, "it is said", auto)
    whole = json.loads(on_cpu("plan", "--json").out)["needed"]
    least = json.loads(on_cpu("plan", "--json", "-c", "32").out)["needed"]
    limit = (whole + least) // 2
    args = ["-b", "32", "--max-vram", f"{limit}B"]
    result = on_cpu("run", "--raw", "-p", "x", "-n", "1", "-c", "auto", "--json", *args)
    chosen = document(result, {**RUN_KEYS, "context": int})["context"]
    check(32 <= chosen <= trained and chosen % 32 == 0, f"{chosen} of {trained}", result)
    check(f"auto: {'all ' if chosen == trained else ''}{chosen} positions" in result.err, "said")
    plan = json.loads(on_cpu("plan", "--json", "-c", "auto", *args).out)
    check(plan["context"] == chosen and plan["fits"] and plan["needed"] <= limit, plan)
    if chosen < trained:
        more = json.loads(on_cpu("plan", "--json", "-c", str(chosen + 32), *args).out)
        check(more["fits"] is False and more["needed"] > limit, "more would fit")
    nothing = on_cpu("run", "-p", "x", "-c", "auto", "--max-vram", "1M")
    check("-c auto" not in check_refusal(nothing, [MEMORY], "not even 32"), "useless advice")


def limited(mib, *args):
    """The program under `ulimit -v`."""
    command = ["sh", "-c", f'ulimit -c 0 && ulimit -v {mib * 1024} && exec "$0" "$@"', PROGRAM,
               *args]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, env=environment
    )
    error = done.stderr.decode(errors="replace")
    return Result(done.returncode, done.stdout, error, resource.getrusage(resource.RUSAGE_CHILDREN))


def test_limited_address_space():
    if "-fsanitize" in open(os.path.join(BUILD, "build.ninja"), encoding="utf-8").read():
        raise Skip("a sanitizer takes terabytes of address space")
    run = ["run", "--raw", "-p", "x", "-n", "2", "--temp", "0", "-m", STORIES, "--device"]
    n_refused = n_done = 0
    for mib in [*range(8, 48, 2), 64, 100, 400]:
        result = limited(mib, *run, "cpu", "-c", "2048", "-t", "6")
        if result.code == 127 or "pumice" not in result.err or result.code < 0:
            # The system's loader had no room for the program; nothing of ours has run.
            check(mib < 32 and n_refused + n_done == 0, f"{mib} MiB: not started", result)
        elif result.code == OK:
            n_done += 1
        else:
            check(result.code == MEMORY and n_done == 0, f"{mib} MiB", result)
            check(len(result.err.splitlines()[-1]) > 40, "no useful sentence", result)
            n_refused += 1
    check(n_refused > 0 and n_done > 2, f"{n_refused} refused, {n_done} done")
    for mib in (100, 300, 500):
        result = limited(mib, *run, "0")
        check(result.code == MEMORY and "ulimit" in result.err, f"Vulkan with {mib} MiB", result)


# ---- documents -------------------------------------------------------------------------


def document(result, keys):
    check(result.code == OK, "failed", result)
    check(
        result.out.count(b"\n") == 1 and result.out.endswith(b"\n"),
        "not one line on stdout",
        result,
    )
    parsed = json.loads(result.out)
    for key, kinds in keys.items():
        check(
            key in parsed and isinstance(parsed[key], kinds),
            f"{key} is missing or no {kinds}",
            result,
        )
    return parsed


NUMBER = (int, float)
RUN_KEYS = {
    "text": str,
    "tokens": list,
    "prompt_tokens": list,
    "prompt_seconds": NUMBER,
    "generate_seconds": NUMBER,
    "first_token_seconds": NUMBER,
    "stop": str,
    "device": dict,
    "logits_hash": str,
    "seed": int,
    "host_us_per_token": NUMBER,
    "dispatches": int,
}


def test_run_json_and_text():
    args = ["-p", "Once upon a time", "-n", "40", "--temp", "0", "--ignore-eos", "--raw"]
    result = on_cpu("run", *args, "--json")
    parsed = document(result, RUN_KEYS)
    check(len(parsed["tokens"]) == 40 and parsed["stop"] == "length", "40 tokens", result)
    check(
        set(parsed["device"]) == {"name", "driver", "kind"} and parsed["device"]["kind"] == "cpu",
        "device",
        result,
    )
    check(re.fullmatch(r"[0-9a-f]{8}", parsed["logits_hash"]), "hash", result)
    plain = on_cpu("run", *args)
    check(plain.out.decode() == parsed["text"] + "\n", "stdout is the text and a newline", plain)
    last = plain.err.splitlines()[-1]
    check(
        re.fullmatch(
            r"40 tokens  [\d.]+ tok/s  [\d.e+]+ ms/tok  [\d.e+-]+ GB/s  first token [\d.e+]+ ms  #"
            + parsed["logits_hash"],
            last,
        ),
        f"closing line: {last}",
        plain,
    )
    check(plain.err.startswith("pumice: device "), "the first line is the device", plain)
    with open(os.path.join(TEMPORARY.name, "prompt"), "w", encoding="utf-8") as file:
        file.write("Once upon a time\n")
    check(on_cpu("run", *args[2:], "-f", file.name).out == plain.out, "-f is -p")
    check(on_cpu("run", *args[2:], text=b"Once upon a time\n").out == plain.out, "stdin is -p")


def test_seeds():
    args = ["-p", "One day", "-n", "30", "--temp", "1.2", "--raw", "--json"]
    one, again, other = (
        document(on_cpu("run", *args, "-s", seed), RUN_KEYS) for seed in ("7", "7", "8")
    )
    check(
        one["tokens"] == again["tokens"] and one["logits_hash"] == again["logits_hash"],
        "the same seed differs",
    )
    check(one["tokens"] != other["tokens"] and one["seed"] == 7, "another seed does not")
    random = on_cpu("run", *args)
    seed = str(document(random, RUN_KEYS)["seed"])
    check(f"seed {seed}\n" in random.err, "the random seed is printed", random)
    repeated = document(on_cpu("run", *args, "-s", seed), RUN_KEYS)
    check(
        repeated["tokens"] == json.loads(random.out)["tokens"],
        "the printed seed repeats the run",
        random,
    )


def test_answers_and_stops():
    args = ["-p", "One day", "-n", "30", "--temp", "1", "--raw", "-s", "11"]
    parsed = document(on_cpu("run", *args, "-a", "3", "--json"), {**RUN_KEYS, "answers": list})
    check([a["seed"] for a in parsed["answers"]] == [11, 12, 13], "seeds of answers")
    check(
        parsed["text"] == parsed["answers"][0]["text"] != parsed["answers"][1]["text"],
        "answers differ",
    )
    text = parsed["text"]
    stop = text[10:14]
    stopped = document(on_cpu("run", *args, "--json", "--stop", stop), RUN_KEYS)
    check(
        stopped["stop"] == "stop" and stopped["text"] == text[: text.index(stop)],
        f"--stop {stop!r}: {stopped['text']}",
    )


def test_encoder_and_decoder():
    """The prompt is the source, which is evaluated whole; answers begin after it."""
    folder = os.path.join(SHARED, "reference", "arch", "t5")
    if not os.path.isdir(folder):
        raise Skip(f"no {folder}")
    with open(os.path.join(folder, "ref.json"), encoding="utf-8") as file:
        expected = json.load(file)
    args = ["--raw", "-p", expected["prompt"], "--temp", "0", "--ignore-eos", "-n", "32"]
    args += ["-ctk", "f32", "-ctv", "f32"]
    model = os.path.join(folder, "model.gguf")
    parsed = document(on_cpu("run", *args, "--json", model=model), RUN_KEYS)
    check(parsed["prompt_tokens"] == expected["tokens"], "tokens of the source")
    check(parsed["tokens"] == expected["greedy"], f"the reference's answer: {parsed['tokens']}")
    three = on_cpu("run", *args, "-a", "3", "--json", model=model)
    parsed = document(three, {**RUN_KEYS, "answers": list})
    check(
        all(a["tokens"] == expected["greedy"] for a in parsed["answers"]),
        "answers that share a source",
    )
    narrow = on_cpu("run", *args, "-b", "20", model=model)
    check("in one step, here of 20" in narrow.err, "a source too long", narrow)
    check(narrow.code == FAILURE, "its exit code", narrow)


def test_template_is_applied():
    model = chat_model()
    plain = document(on_cpu("run", "-p", "Hi", "-n", "1", "--raw", "--json", model=model), RUN_KEYS)
    chat = document(on_cpu("run", "-p", "Hi", "-n", "1", "--json", model=model), RUN_KEYS)
    system = document(
        on_cpu("run", "-p", "Hi", "-n", "1", "--json", "--system", "Be", model=model), RUN_KEYS
    )
    check(
        len(plain["prompt_tokens"]) < len(chat["prompt_tokens"]) < len(system["prompt_tokens"]),
        "template",
    )
    check(
        on_cpu("run", "-p", "Hi", "--raw", "--system", "Be", model=model).code == USAGE,
        "--raw has no system",
    )


SCORE_KEYS = {"tokens": list, "positions": list, "logprobs": list, "n_scored": int}


def test_score():
    parsed = document(
        on_cpu("score", "-p", "Once upon a time", "--top", "3", "--json"),
        {**SCORE_KEYS, "nll_per_token": float, "perplexity": float},
    )
    n = len(parsed["tokens"])
    check(
        len(parsed["positions"]) == len(parsed["logprobs"]) == n and parsed["n_scored"] == n - 1,
        "lengths",
    )
    for position in parsed["positions"]:
        logits = [logit for _, logit in position["top"]]
        check(len(logits) == 3 and logits == sorted(logits, reverse=True), "top is not sorted")
        check(position["logsumexp"] > logits[0], "logsumexp is below its largest term")
    nll = -sum(parsed["logprobs"][1:]) / (n - 1)
    check(
        parsed["logprobs"][0] is None and abs(nll - parsed["nll_per_token"]) < 1e-9,
        "nll is the mean",
    )
    check(abs(math.exp(nll) / parsed["perplexity"] - 1) < 1e-9, "perplexity is its exponential")
    single = document(on_cpu("score", "-p", "", "--json"), SCORE_KEYS)
    check(single["perplexity"] is None and single["n_scored"] == 0, "nothing to score")


def test_embed():
    text = b"A cat sat on the mat.\n\nThe dog sat on the rug.\nA cat sat on the mat.\n"
    parsed = document(
        on_cpu("embed", "--json", text=text), {"embeddings": list, "cosine": list, "pooling": str}
    )
    check(parsed["pooling"] == "last" and len(parsed["embeddings"]) == 3, "three lines")
    vectors = [entry["embedding"] for entry in parsed["embeddings"]]
    for vector in vectors:
        check(abs(sum(x * x for x in vector) - 1) < 1e-5, "length 1")
    check(vectors[0] == vectors[2] and vectors[0] != vectors[1], "equal lines, equal vectors")
    cosine = parsed["cosine"]
    check(abs(cosine[0][2] - 1) < 1e-6 and cosine[0][1] == cosine[1][0] < 0.9999, "cosine")
    plain = on_cpu("embed", "--pooling", "mean", text=text)
    lines = plain.out.decode().splitlines()
    check(plain.code == OK and len(lines) == 3 and "cosine" in plain.err, "plain", plain)
    mean = [float(x) for x in lines[0].split()]
    check(len(mean) == len(vectors[0]), "as many numbers")
    check(any(abs(a - b) > 1e-3 for a, b in zip(mean, vectors[0])), "mean is not last")
    wrong = on_cpu("embed", "--pooling", "sum", text=text)
    check(wrong.code == USAGE and "mean, cls or last" in wrong.err, "pooling", wrong)
    check(on_cpu("embed", text=b"\n").code == USAGE, "an empty text")


def test_score_windows():
    text = b"Lily had a red ball. She took it to the park and lost it there. " * 6
    n_ctx = 32
    result = on_cpu("score", "-c", str(n_ctx), "--json", text=text)
    parsed = document(result, SCORE_KEYS)
    n_window = len(parsed["tokens"]) // n_ctx
    check(n_window > 2 and len(parsed["tokens"]) == n_window * n_ctx, "whole windows", result)
    check(
        parsed["n_scored"] == n_window * (n_ctx - n_ctx // 2 - 1), "the second half of each", result
    )
    for w in range(n_window):
        logprobs = parsed["logprobs"][w * n_ctx : (w + 1) * n_ctx]
        check(parsed["tokens"][w * n_ctx] == 1, f"window {w} does not begin with BOS", result)
        check(
            [i for i, p in enumerate(logprobs) if p is not None]
            == list(range(n_ctx // 2 + 1, n_ctx)),
            f"window {w} scores other positions",
            result,
        )


def test_devices_json():
    parsed = document(pumice("devices", "--json"), {"devices": list})
    check(pumice("run", "--list-devices").out == pumice("devices").out, "--list-devices lists them")
    for i, device in enumerate(parsed["devices"]):
        check(
            device["index"] == i
            and device["kind"] in ("cpu", "software", "integrated", "discrete", "virtual"),
            device,
        )
        check({"name", "driver", "api", "pci", "memory_bytes", "subgroup", "tiers"} <= set(device),
              device)
        check(len(device["subgroup"]) == 2, device)
        for tier in device["tiers"]:
            check(tier["tier"] and isinstance(tier["available"], bool) and tier["why"], tier)
            check(tier["available"] or not tier["used"], tier)
    check(parsed["devices"][-1]["kind"] == "cpu", "the CPU path is the last")


def test_info_and_plan_json():
    info = document(
        pumice("info", "-m", STORIES, "--json", "--tensors"),
        {"keys": dict, "tensors": list, "types": list},
    )
    check(
        info["architecture"] == "llama" and info["n_vocab"] == 512 and info["n_layer"] == 5, "sizes"
    )
    # 4 heads of keys and 4 of values, of 8 values of 2 bytes, in each layer
    check(info["position_bytes"] == 5 * 2 * 4 * 8 * 2 and info["state_bytes"] == 0, info)
    check(
        len(info["tensors"]) == info["n_tensor"] == 47 and info["tensors"][0]["bytes"] > 0,
        "tensors",
    )
    check(
        "tensors" not in document(pumice("info", "-m", STORIES, "--json"), {"keys": dict}),
        "not asked for",
    )
    plan = document(on_cpu("plan", "--json"), {"buffers": list, "heaps": list, "fits": bool})
    needed = {heap["name"]: heap["needed"] for heap in plan["heaps"]}
    summed = {}
    for buffer in plan["buffers"]:
        check(buffer["name"] and buffer["bytes"] >= 0, buffer)
        summed[buffer["heap"]] = summed.get(buffer["heap"], 0) + buffer["bytes"]
    check(plan["fits"] and needed == summed, f"heaps {needed}, buffers {summed}")
    longer = document(on_cpu("plan", "--json", "-c", "4096"), {"buffers": list})
    check(
        sum(b["bytes"] for b in longer["buffers"]) > sum(summed.values()),
        "a longer context needs more",
    )


def test_states():
    path = os.path.join(SHARED, "reference", "arch", "qwen35", "model.gguf")
    if not os.path.exists(path):
        print("test_states: ../shared/reference/arch is not there: skipped")
        return
    # two layers of a delta net: 4 heads of 16 x 16, and 3 rows of 128 columns before the
    # convolution
    n_state = 2 * 4 * (4 * 16 * 16 + 3 * 128)
    info = document(pumice("info", "-m", path, "--json"), {"keys": dict})
    check(info["state_bytes"] == n_state, info["state_bytes"])
    check(info["position_bytes"] == 2 * 2 * 16 * 2, info["position_bytes"])
    shown = pumice("info", "-m", path).out
    check(re.search(rb"^kept of a sequence +caches, 128 B a position in f16; states,", shown, re.M),
          shown)
    plan = document(pumice("plan", "--device", "cpu", "-m", path, "--json"), {"buffers": list})
    check([b["bytes"] for b in plan["buffers"] if b["name"] == "state"] == [n_state],
          plan["buffers"])


def test_names_from_files_are_plain():
    def text(value):
        return struct.pack("<Q", len(value)) + value

    def key(name, kind, value):
        return text(name) + struct.pack("<I", kind) + value

    path = os.path.join(TEMPORARY.name, "red\x1b[31m\x9b.gguf")
    keys = [
        key(b"general.name", 8, text(b"a\xc2\x9b\x1b[2J\xff \xc3\xa9")),
        key(b"tokenizer.ggml.model", 8, text(b"llama")),
        key(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 1) + text(b"a")),
        key(b"tokenizer.ggml.scores", 9, struct.pack("<IQf", 6, 1, 0)),
    ]
    with open(path, "wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(keys))
    shown = pumice("info", "-m", path)
    check(shown.code == OK and "a???[2J? \u00e9" in shown.out.decode(), "a value", shown)
    check(all(c.isprintable() or c == "\n" for c in shown.out.decode()), "plain", shown)
    refused = pumice("tokenize", "-m", STORIES, "-f", path + ".none")
    check(refused.code == BAD_FILE and refused.err.rstrip("\n").isprintable(), "a path", refused)


def test_cache_types():
    def caches(*arguments):
        plan = document(on_cpu("plan", "--json", *arguments, model=PEBBLE), {"buffers": list})
        return sum(b["bytes"] for b in plan["buffers"] if b["name"].startswith("cache"))

    f16 = caches()
    check(caches("-ctk", "f16", "-ctv", "f16") == f16, "the default is f16")
    check(caches("--cache-type-k", "f32", "--cache-type-v=f32") == 2 * f16, "f32")
    check(caches("-ctk", "q8_0", "-ctv", "q8_0") * 32 == f16 * 17, "q8_0")
    check(caches("-ctk", "q4_0", "-ctv", "q4_0") * 32 == f16 * 9, "q4_0")
    check(caches("-ctk", "f32") * 2 == f16 * 3, "keys alone")
    texts = {}
    for k, v in (("f32", "f32"), ("f16", "f16"), ("q8_0", "q8_0"), ("f16", "q4_0")):
        options = ("--json", "-n", "8", "--temp", "0", "-p", "What is pumice?", "-ctk", k, "-ctv",
                   v)
        answer = document(on_cpu("run", *options, model=PEBBLE), {"text": str})
        texts[k, v] = answer["text"], answer["logits_hash"]
    check(len({text for text, hash in texts.values()}) == 1, f"same words: {texts}")
    check(len({hash for text, hash in texts.values()}) == 4, f"other logits: {texts}")


def test_int8():
    """Tokens one by one, in blocks of integers or not: nearly the same, where a device has them."""
    check_refusal(on_cpu("run", "-p", "x", "--int8", "perhaps"), [USAGE], "--int8 perhaps")
    model = os.path.join(SHARED, "models", "real", "bitllama-3M-Q8_0.gguf")
    devices = pumice("devices")
    if not os.path.exists(model) or not re.search(r"dot8 +yes", devices.out.decode()):
        raise Skip("no Q8_0 model, or no device with integer dot products")

    def perplexity(int8):
        text = "The war began in the north, and the king was not there to see it end."
        args = ("-b", "1", "--json", "--int8", int8, "--no-check", "-p", text)
        return document(pumice("score", "-m", model, *args), {"perplexity": float})["perplexity"]

    exact, rounded = perplexity("off"), perplexity("on")
    check(0 < abs(rounded / exact - 1) < 0.05, f"perplexities {exact} and {rounded}")


def test_cache_types_that_cannot_be():
    sentence = check_refusal(on_cpu("plan", "-ctk", "q5_1"), [USAGE], "no such type")
    check("q5_1" in sentence and "q8_0" in sentence, sentence)
    # heads of 8 values
    for command in (("plan",), ("run", "-p", "x"), ("score", "-p", "x y")):
        sentence = check_refusal(on_cpu(*command, "-ctv", "q8_0"), [USAGE], "heads of 8")
        check("heads of 8" in sentence and "f16" in sentence, sentence)


def test_tokenize():
    text = "Once upon a time, 你好!\n  two  spaces"
    ids = pumice("tokenize", "-m", STORIES, "--ids", text=text.encode())
    check(ids.code == OK and re.fullmatch(rb"\d+( \d+)*\n", ids.out), "ids", ids)
    bare = pumice("tokenize", "-m", STORIES, "--ids", "--no-bos", "-p", text)
    check(ids.out == b"1 " + bare.out, "--no-bos", bare)
    check(
        pumice("tokenize", "-m", STORIES, "--decode", text=bare.out).out.decode().strip(" ")
        == text,
        "and back",
    )
    parsed = document(
        pumice("tokenize", "-m", STORIES, "--json", "-p", text), {"tokens": list, "pieces": list}
    )
    check([str(i) for i in parsed["tokens"]] == ids.out.decode().split(), "the same in JSON")
    check((parsed["tokenizer"], parsed["tokenizer_kind"]) == ("llama", "SentencePiece BPE"), parsed)
    for bad in ("512", "-1", "x", "99999999999999999999"):
        check(pumice("tokenize", "-m", STORIES, "--decode", "-p", bad).code == FAILURE, f"id {bad}")
    for bad in (b"\x1b[31m", b"5 \xc2\x9b2J", b"\xff\0", b"1\x7f"):
        refused = pumice("tokenize", "-m", STORIES, "--decode", text=bad)
        check(refused.code == FAILURE and refused.err.strip().isprintable(), f"ids {bad}", refused)
    strange = pumice("tokenize", "-m", STORIES, text=b"a\x1b\xc2\x9b\xff'\\\xc3\xa9")
    shown = re.findall(r"'(.*)'\n", strange.out.decode())
    check("".join(shown).endswith("a\\x1b\\xc2\\x9b\\xff\\'\\\\\u00e9"), "bytes are shown", strange)
    vocabulary = os.path.join(SHARED, "models", "vocab", "ggml-vocab-gpt-2.gguf")
    check(
        pumice("tokenize", "-m", vocabulary, "--ids", "-p", "Hello").code == OK,
        "a vocabulary alone will do",
    )
    loud = pumice("tokenize", "-m", vocabulary, "--ids", "-v", "-p", "Hello")
    check("byte-level BPE, words as gpt-2, 50257 pieces" in loud.err, "-v", loud)
    shown = pumice("info", "-m", vocabulary)
    check(re.search(r"^pre-tokenizer +gpt-2$", shown.out.decode(), re.M), "info", shown)


def test_tokenizers_of_every_kind():
    for name, kind, text in (
        ("bert-mean", "WordPiece", "the old man"),
        ("t5", "SentencePiece unigram", "The old man"),
        ("rwkv7", "longest match", "The old man\n"),
        ("gpt-oss", "byte-level BPE", "The old man's"),
    ):
        model = os.path.join(SHARED, "reference", "arch", name, "model.gguf")
        ids = document(pumice("tokenize", "-m", model, "--json", "--no-bos", "-p", text),
                       {"tokens": list})
        check(ids["tokenizer_kind"] == kind, f"{name}: {ids['tokenizer_kind']}")
        back = pumice("tokenize", "-m", model, "--decode", "-p", " ".join(map(str, ids["tokens"])))
        check(back.out.decode().strip(" ") == text, f"{name}: and back", back)


main(globals())

#!/usr/bin/env python3
# ctest: model
"""Runs the built program as people and scripts do: exit codes, what goes to which stream, JSON by
its keys, hostile files within time and memory, signals.

The program is $PUMICE_BUILD/pumice (default: build/pumice); models come from $PUMICE_SHARED or
../shared.
`test_cli.py NAME...` runs single tests.
"""
import json
import math
import os
import pty
import random
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("PUMICE_BUILD") or os.path.join(ROOT, "build")
SHARED = os.environ.get("PUMICE_SHARED") or os.path.join(ROOT, "..", "shared")
PROGRAM = os.path.join(BUILD, "pumice")
STORIES = os.path.join(SHARED, "models", "real", "stories260K-f32.gguf")
PEBBLE = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "models", "pebble", "pebble.gguf"
)
TEMPORARY = tempfile.TemporaryDirectory()
OK, FAILURE, USAGE, BAD_FILE, NO_DEVICE, MEMORY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% endif %}"
)


class Skip(Exception):
    """What this machine lacks."""


class Result:
    def __init__(self, code, out, err, usage):
        self.code, self.out, self.err = code, out, err
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        self.peak_bytes = usage.ru_maxrss * 1024


def pumice(*args, text=b"", env=None, timeout=120):
    """Runs the program to its end."""
    temporary = tempfile.TemporaryFile
    with temporary() as given, temporary() as out, temporary() as err:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(
            [PROGRAM, *args], stdin=given, stdout=out, stderr=err, env={**os.environ, **(env or {})}
        )
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                process.kill()
                os.wait4(process.pid, 0)
                raise AssertionError(f"pumice {' '.join(args)}: still running after {timeout} s")
            time.sleep(0.002)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        return Result(process.returncode, out.read(), err.read().decode(errors="replace"), usage)


def on_cpu(command, *args, model=STORIES, **kwargs):
    return pumice(command, "-m", model, "--device", "cpu", *args, **kwargs)


def check(condition, what, result=None):
    if not condition:
        seen = (
            f"\n  exit {result.code}\n  stdout {result.out[:400]!r}\n  stderr {result.err[-800:]}"
            if result
            else ""
        )
        raise AssertionError(f"{what}{seen}")


def check_refusal(result, codes, what):
    """The right exit code, nothing on stdout, exactly one sentence besides the device line."""
    check(result.code in codes, f"{what}: exit code not in {codes}", result)
    check(result.out == b"", f"{what}: something on stdout", result)
    lines = [
        line
        for line in result.err.splitlines()
        if not re.match(
            r"pumice: (device .*;|\d+ prompt tokens|warning: |the model has no chat)", line
        )
    ]
    check(
        len(lines) == 1 and lines[0].startswith("pumice: ") and len(lines[0]) > 20,
        f"{what}: not one sentence",
        result,
    )
    return lines[0]


def chat_model():
    """stories260K with a ChatML template: a header of one key more, the data moved behind it."""
    path = os.path.join(TEMPORARY.name, "chat.gguf")
    if os.path.exists(path):
        return path
    with open(STORIES, "rb") as file:
        data = file.read()
    version, n_tensor, n_key = struct.unpack_from("<IQQ", data, 4)
    at = 24
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip_text(at):
        return at + 8 + struct.unpack_from("<Q", data, at)[0]

    def skip_value(at, kind):
        if kind == 8:
            return skip_text(at)
        if kind == 9:
            kind, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                at = skip_value(at, kind)
            return at
        return at + sizes[kind]

    for _ in range(n_key):
        at = skip_text(at)
        at = skip_value(at + 4, struct.unpack_from("<I", data, at)[0])
    keys_end = at
    for _ in range(n_tensor):
        at = skip_text(at)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 12
    key, value = b"tokenizer.chat_template", CHATML.encode()
    added = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    header = (
        data[:4]
        + struct.pack("<IQQ", version, n_tensor, n_key + 1)
        + data[24:keys_end]
        + added
        + data[keys_end:at]
    )
    with open(path, "wb") as file:
        file.write(header + b"\0" * (-len(header) % 32) + data[at + -at % 32 :])
    return path


# ---- usage -----------------------------------------------------------------------------


def commands():
    words = pumice("--completion-words").out.decode().split()
    return words[: words.index("help")]


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
    command = ["sh", "-c", f'ulimit -c 0 && ulimit -v {mib * 1024} && exec "$0" "$@"', PROGRAM, *args]
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
        check({"name", "driver", "api", "memory_bytes", "subgroup", "tiers"} <= set(device), device)
        check(len(device["subgroup"]) == 2, device)
        for tier in device["tiers"]:
            check(tier["tier"] and isinstance(tier["available"], bool) and tier["why"], tier)
    check(parsed["devices"][-1]["kind"] == "cpu", "the CPU path is the last")


def test_info_and_plan_json():
    info = document(
        pumice("info", "-m", STORIES, "--json", "--tensors"),
        {"keys": dict, "tensors": list, "types": list},
    )
    check(
        info["architecture"] == "llama" and info["n_vocab"] == 512 and info["n_layer"] == 5, "sizes"
    )
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
        options = ("--json", "-n", "8", "--temp", "0", "-p", "What is pumice?", "-ctk", k, "-ctv", v)
        answer = document(on_cpu("run", *options, model=PEBBLE), {"text": str})
        texts[k, v] = answer["text"], answer["logits_hash"]
    check(len({text for text, hash in texts.values()}) == 1, f"same words: {texts}")
    check(len({hash for text, hash in texts.values()}) == 4, f"other logits: {texts}")


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


# ---- chat ------------------------------------------------------------------------------


def test_chat_from_a_pipe():
    args = ["-n", "12", "--temp", "0"]
    result = on_cpu(
        "chat", *args, text=b"Hello\n\n/stats\nAgain\n/exit\nnever\n", model=chat_model()
    )
    check(
        result.code == OK
        and b"never" not in result.out
        and "4 messages" not in result.out.decode(),
        "chat",
        result,
    )
    first = on_cpu("chat", *args, text=b"Hello", model=chat_model())
    check(
        first.code == OK and result.out.startswith(first.out) and len(result.out) > len(first.out),
        "two answers",
        result,
    )
    cleared = on_cpu("chat", *args, text=b"Again\n/clear\nHello\n", model=chat_model())
    check(cleared.out.endswith(first.out), "/clear forgets", cleared)
    unknown = on_cpu("chat", *args, text=b"/sing\n", model=chat_model())
    check_refusal_lines = [line for line in unknown.err.splitlines() if "/sing" in line]
    check(
        unknown.code == USAGE and unknown.out == b"" and len(check_refusal_lines) == 1,
        "unknown command",
        unknown,
    )
    check(on_cpu("chat", text=b"x\n").code == BAD_FILE, "no template, no chat")


def test_chat_saves_and_loads():
    saved = os.path.join(TEMPORARY.name, "saved.json")
    script = f"/system Be short\nHello\n/save {saved}\nMore\n"
    result = on_cpu("chat", "-n", "8", "--temp", "0", text=script.encode(), model=chat_model())
    check(result.code == OK, "save", result)
    with open(saved, encoding="utf-8") as file:
        messages = json.load(file)
    check(
        [m["role"] for m in messages] == ["system", "user", "assistant"]
        and messages[0]["content"] == "Be short",
        messages,
    )
    loaded = on_cpu(
        "chat", "-n", "8", "--temp", "0", text=f"/load {saved}\nMore\n".encode(), model=chat_model()
    )
    check(
        loaded.code == OK and result.out.endswith(loaded.out),
        "a loaded conversation goes on alike",
        loaded,
    )
    for bad in (
        "[",
        "{}",
        '[{"role": "king", "content": ""}]',
        '[{"role": "user"}]',
        '[{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]',
    ):
        with open(saved, "w", encoding="utf-8") as file:
            file.write(bad)
        check(
            on_cpu("chat", text=f"/load {saved}\n".encode(), model=chat_model()).code == BAD_FILE,
            bad,
        )


def test_saving_on_a_full_disk():
    folder = tempfile.mkdtemp(dir=TEMPORARY.name)
    saved, link = os.path.join(folder, "saved.json"), os.path.join(folder, "link.json")

    def save(path, file_bytes=resource.RLIM_INFINITY):
        return subprocess.run(
            [PROGRAM, "chat", "-m", chat_model(), "--device", "cpu", "-n", "4", "--temp", "0"],
            input=f"Hello\n/save {path}\n".encode(),
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes)),
            timeout=120,
        )

    check(save(saved).returncode == OK, "save")
    os.chmod(saved, 0o640)
    os.symlink(saved, link)
    with open(saved, "rb") as file:
        whole = file.read()
    for path in (saved, link):
        full = save(path, 20)
        check(full.returncode == FAILURE and b"cannot write" in full.stderr, full.stderr)
        with open(saved, "rb") as file:
            check(file.read() == whole, "what was saved before is still there")
    check(save(link).returncode == OK and os.path.islink(link), "a link is followed")
    check(os.stat(saved).st_mode & 0o777 == 0o640, "the mode is kept")
    check(sorted(os.listdir(folder)) == ["link.json", "saved.json"], os.listdir(folder))
    device = save("/dev/full")
    check(device.returncode == FAILURE and b"No space left" in device.stderr, device.stderr)
    missing = save(os.path.join(folder, "missing", "saved.json"))
    check(missing.returncode == FAILURE and b"cannot create" in missing.stderr, missing.stderr)


def test_chat_context_full():
    result = on_cpu(
        "chat", "-c", "64", "-n", "4", text=b"Hello\n" + b"word " * 60 + b"\n", model=chat_model()
    )
    check(
        result.code == FAILURE and "/clear" in result.err and "64" in result.err,
        "context full",
        result,
    )


# ---- signals ---------------------------------------------------------------------------


def start_endless_run():
    """A run that goes on until somebody stops it."""
    command = [PROGRAM, "run", "-m", STORIES, "--device", "cpu", "--raw", "-p", "Once"]
    command += ["-c", "100000", "--ignore-eos"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_interrupted_run():
    process = start_endless_run()
    check(len(process.stdout.read(40)) == 40, "some text")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    check(process.returncode == INTERRUPTED, f"exit {process.returncode}: {err[-400:]}")
    check(
        out.endswith(b"\n") and b" tokens  " in err.splitlines()[-1],
        "text and closing line are complete",
    )


MOMENTS = (
    ("run", signal.SIGINT, ["--raw", "-p", "Once upon a time", "--ignore-eos", "-c", "2000"]),
    ("run", signal.SIGTERM, ["--raw", "-p", "Once " * 300, "-n", "1000", "--answers", "3"]),
    ("score", signal.SIGINT, ["-p", "The cat sat on the mat. " * 400, "-c", "300"]),
)


def stop_at(command, number, args, seconds, env):
    """Sends a signal so long after the program has its handlers; gives the time it took to end."""
    process = subprocess.Popen(
        [PROGRAM, command, "-m", STORIES, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
    )
    try:
        wait_until_caught(process.pid)
        time.sleep(seconds)
        sent = time.monotonic()
        process.send_signal(number)
        text = process.communicate(timeout=120)[0].decode(errors="replace")
    finally:
        process.kill()
    took = time.monotonic() - sent
    what = f"{command}, {number.name} after {seconds:.2f} s"
    check(process.returncode == INTERRUPTED, f"{what}: exit {process.returncode}: {text[-400:]}")
    check("Validation" not in text and "VUID" not in text, f"{what}: {text[-2000:]}")
    return took


def test_any_moment():
    """Whatever it does when a signal comes, it lets the device end what it has begun."""
    rng = random.Random(9)
    slowest = 0
    for i in range(30):
        command, number, args = MOMENTS[i % len(MOMENTS)]
        env = dict(os.environ)
        if i % 6 == 5:  # where the layer is not installed, the loader leaves it out
            env["VK_INSTANCE_LAYERS"] = "VK_LAYER_KHRONOS_validation"
        slowest = max(slowest, stop_at(command, number, args, rng.uniform(0, 2.5), env))
    print(f"  30 moments, the slowest end took {slowest:.1f} s")


def test_closed_stdout():
    process = start_endless_run()
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    check(
        process.wait(timeout=60) == FAILURE and b"standard output" in err,
        f"exit {process.returncode}: {err[-400:]}",
    )


def test_full_stdout():
    """Every command that prints says so when it cannot."""
    cpu = ["-m", STORIES, "--device", "cpu"]
    for args in (
        ["--version"],
        ["help"],
        ["help", "run"],
        ["run", "--help"],
        ["--completion-words"],
        ["info", "-m", STORIES],
        ["info", "-m", STORIES, "--json"],
        ["plan", *cpu],
        ["plan", *cpu, "--json"],
        ["tokenize", "-m", STORIES, "-p", "Hello"],
        ["tokenize", "-m", STORIES, "-p", "5 6", "--decode"],
        ["score", *cpu, "-p", "Hello there"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4", "-a", "2"],
        ["run", *cpu, "--raw", "-p", "Once", "-n", "4", "--json"],
    ):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [PROGRAM, *args], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
            )
        lines = [line for line in result.stderr.splitlines() if b"standard output" in line]
        check(result.returncode == FAILURE and len(lines) == 1, f"{args}: {result}")


def test_streams_closed_before_the_start():
    """Nothing that is opened takes the place of standard output."""
    closed = subprocess.run(
        [PROGRAM, "run", "-m", STORIES, "--device", "cpu", "--raw", "-p", "Once", "-n", "4"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),
    )
    check(closed.returncode == FAILURE and b"standard output" in closed.stderr, closed)
    closed = subprocess.run(
        [PROGRAM, "tokenize", "-m", STORIES], stderr=subprocess.PIPE, preexec_fn=lambda: os.close(0)
    )
    check(closed.returncode == BAD_FILE and b"standard input" in closed.stderr, closed)


def test_interrupted_wait():
    """Ctrl-C before any input has come from a pipe."""
    for command, last in (("chat", b"context "), ("run", None)):
        process = subprocess.Popen(
            [PROGRAM, command, "-m", chat_model(), "--device", "cpu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            if last:
                while last not in (line := process.stderr.readline()):
                    check(line, f"{command}: ended early")
            else:
                wait_until_caught(process.pid)
            process.send_signal(signal.SIGINT)
            check(
                process.wait(timeout=60) == INTERRUPTED,
                f"{command}: exit {process.returncode}",
            )
        finally:
            process.kill()
            process.communicate()


def wait_until_caught(pid, timeout=60):
    """Until the program has its handler of SIGINT."""
    deadline = time.monotonic() + timeout
    while True:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            caught = re.search(r"^SigCgt:\s*(\w+)", file.read(), re.MULTILINE)
        if caught and int(caught[1], 16) & 1 << (signal.SIGINT - 1):
            return
        check(time.monotonic() < deadline, "SIGINT is not caught")
        time.sleep(0.01)


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, *args, state=None, file_bytes=resource.RLIM_INFINITY):
        self.state = state or tempfile.mkdtemp(dir=TEMPORARY.name)
        try:
            self.pid, self.fd = pty.fork()
        except OSError as error:  # a chroot without /dev/pts
            raise Skip(f"no terminal to be had: {error}") from None
        if self.pid == 0:
            os.environ.update(XDG_STATE_HOME=self.state, TERM="xterm")
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            os.execv(PROGRAM, [PROGRAM, "chat", "-m", chat_model(), "--device", "cpu", *args])
        self.seen = ""

    def wait_for(self, pattern, timeout=60):
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            check(
                left > 0 and select.select([self.fd], [], [], left)[0],
                f"no {pattern!r} in {self.seen[-600:]!r}",
            )
            try:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"ended without {pattern!r}: {self.seen[-600:]!r}") from None
        self.seen = self.seen[match.end() :]

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self, timeout=60):
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self.fd)
                raise AssertionError(f"still running after {timeout} s: {self.seen[-600:]!r}")
            try:
                text = os.read(self.fd, 65536)
            except OSError:
                break
            if not text:
                break
            self.seen += text.decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return code


def test_chat_on_a_terminal():
    chat = Terminal("-n", "5", "--temp", "0")
    chat.wait_for("> ")
    chat.type("Hello 你好\n")
    chat.wait_for(r"\n> ")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x03")
    chat.wait_for("once more")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x04")
    check(chat.end() == OK, "Ctrl-D leaves")
    with open(os.path.join(chat.state, "pumice", "chat_history"), encoding="utf-8") as file:
        check("stats" in file.read(), "the history is kept")


def test_history_on_a_full_disk():
    state, seen = None, []
    for line, file_bytes in (("/stats\n", resource.RLIM_INFINITY), ("/system Short\n", 10)):
        chat = Terminal(state=state, file_bytes=file_bytes)
        chat.wait_for("> ")
        chat.type(line)
        chat.wait_for("pumice: ")
        chat.wait_for("> ")
        chat.type("/exit\n")
        check(chat.end() == OK, "left")
        state = chat.state
        with open(os.path.join(state, "pumice", "chat_history"), encoding="utf-8") as file:
            seen.append(file.read())
    check("stays as it was" in chat.seen, chat.seen)
    check("stats" in seen[0] and seen[0] == seen[1], seen)
    check(os.listdir(os.path.join(state, "pumice")) == ["chat_history"], "nothing else is left")


def test_interrupted_chat():
    chat = Terminal("-c", "100000", "--temp", "0")
    chat.wait_for("> ")
    chat.type("Hello\n")
    chat.wait_for(r"Hello\s+\S")
    chat.type("\x03")
    chat.wait_for("stopped; the conversation is kept")
    chat.wait_for("> ")
    chat.type("/stats\n")
    chat.wait_for("2 messages")
    chat.wait_for("> ")
    chat.type("\x03")
    chat.wait_for("once more")
    chat.type("\x03")
    check(chat.end() == INTERRUPTED, "Ctrl-C twice leaves")


def main():
    if not os.path.exists(STORIES):
        print(f"test_cli: skipped, {os.path.relpath(STORIES, ROOT)} is not there")
        sys.exit(77)
    check(os.access(PROGRAM, os.X_OK), f"{PROGRAM} is not built")
    wanted = sys.argv[1:]
    tests = {
        name: test
        for name, test in globals().items()
        if name.startswith("test_") and callable(test)
    }
    for name in wanted:
        check(name in tests, f"no test {name}")
    n_failed = n_skipped = 0
    for name, test in tests.items():
        if wanted and name not in wanted:
            continue
        start = time.monotonic()
        try:
            test()
            print(f"ok     {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skip as reason:
            n_skipped += 1
            print(f"skipped {name}: {reason}", flush=True)
        except Exception as error:  # a broken document or a missing key is a failure like any other
            n_failed += 1
            print(
                f"FAILED {name}: {type(error).__name__}: {error}\n"
                f"  alone: python3 tests/test_cli.py {name}",
                flush=True,
            )
    n = len(wanted) if wanted else len(tests)
    print(f"{n - n_failed - n_skipped} passed, {n_failed} failed, {n_skipped} skipped")
    sys.exit(1 if n_failed else 0)


main()

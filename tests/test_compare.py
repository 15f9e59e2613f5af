#!/usr/bin/env python3
# ctest: quick
"""bench/compare with two programs that say what they are told: ratios, means, README.md's table."""
import csv
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMPARE = os.path.join(ROOT, "bench", "compare")
FOLDER = tempfile.TemporaryDirectory()
# Prints what llama-bench would: `rates` are tokens a second of prompts and answers, a third faster
# in each run.
PROGRAM = """#!%s
import json, os, sys
args = sys.argv[1:]
count = os.path.join(%r, "%s-" + os.path.basename(args[args.index("-m") + 1]))
turn = os.path.getsize(count) if os.path.exists(count) else 0
open(count, "a").write("x")
if "%s" == "bad":
    print("no such model", file=sys.stderr)
    sys.exit(3)
n_prompt, n_gen = (int(args[args.index(flag) + 1]) for flag in ("-p", "-n"))
rate = (%g if n_prompt else %g) * (1 + (turn // 2) / 3)
print(json.dumps([{"n_prompt": n_prompt, "n_gen": n_gen, "avg_ts": rate,
                   "driver": "Soft 7 (x)", "device": "gpu",
                   "build_commit": "abc", "build_number": 12}]))
"""


def check(condition, what, seen=""):
    if not condition:
        raise AssertionError(f"{what}: {seen}")


def program(name, prompt_rate, answer_rate):
    path = os.path.join(FOLDER.name, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROGRAM % (sys.executable, FOLDER.name, name, name, prompt_rate, answer_rate))
    os.chmod(path, 0o755)
    return path


def compare(*args, **env):
    return subprocess.run([sys.executable, COMPARE, *args], capture_output=True, text=True,
                          check=False,
                          env={**os.environ, "PUMICE_RESULTS": FOLDER.name, **env})  # fmt: skip


def test_ratios():
    done = compare("-m", "/models/a.gguf", "-m", "b.gguf", "-p", "128", "-n", "64", "--rounds", "2",
                   "--pumice", program("pumice", 300, 20), "--llama-bench",
                   program("peer", 100, 40),
                   "--commit", "1234567")  # fmt: skip
    check(done.returncode == 0, "two models", done.stderr)
    check("| a | pp128 | 350 | 117 | **3.00** | 3.00 to 3.00 |" in done.stdout, "medians",
          done.stdout)
    check("| geometric mean | tg64 | | | **0.50** | 0.50 to 0.50 |" in done.stdout, "means",
          done.stdout)
    files = [name for name in os.listdir(FOLDER.name) if name.endswith("-soft-7.csv")]
    check(len(files) == 1, "one file a day and driver", os.listdir(FOLDER.name))
    with open(os.path.join(FOLDER.name, files[0]), encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    check(len(rows) == 2 * 2 * 2, "a line a model, test and round", rows)
    check(rows[0]["command"].startswith("pumice bench -m a.gguf -p 128 -n 0 -r 1"), "command",
          rows[0])
    check({row["pumice_version"] for row in rows} == {"1234567"}, "our version")
    check(rows[0]["peer_version"] == "abc 12", "the peer's version")


def test_readme():
    readme = os.path.join(FOLDER.name, "README.md")
    with open(readme, "w", encoding="utf-8") as file:
        file.write("before\n<!-- bench/compare: begin -->\nold\n"
                   "<!-- bench/compare: end -->\nafter\n")
    done = compare("--readme", PUMICE_README=readme)
    check(done.returncode == 0, "the table", done.stderr)
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    check(text.startswith("before\n<!--") and text.endswith("-->\nafter\n"),
          "what stands around it", text)
    check("old" not in text and "| b | tg64 |" in text and "pumice 1234567" in text,
          "what is between", text)
    with open(readme, "w", encoding="utf-8") as file:
        file.write("no place\n")
    done = compare("--readme", PUMICE_README=readme)
    check(done.returncode != 0 and "no place for the table" in done.stderr, "no place", done.stderr)


def test_committed_table():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        text = file.read()
    copy = os.path.join(FOLDER.name, "copy.md")
    with open(copy, "w", encoding="utf-8") as file:
        file.write(text)
    done = compare("--readme", PUMICE_README=copy,
                   PUMICE_RESULTS=os.path.join(ROOT, "bench", "results"))
    check(done.returncode == 0, "README.md has a place for the table", done.stderr)
    with open(copy, encoding="utf-8") as file:
        check(file.read() == text,
              "README.md is what `bench/compare --readme` writes of bench/results")


def test_failures():
    good, bad = program("pumice", 1, 1), program("bad", 1, 1)
    done = compare("-m", "c.gguf", "--rounds", "1", "--pumice", good, "--llama-bench", bad)
    check(done.returncode == 1 and "exit 3: no such model" in done.stderr, "a program that fails",
          done.stderr)
    done = compare("-m", "c.gguf", "--rounds", "1", "--pumice", good, "--llama-bench", "/nosuch")
    check(done.returncode == 1 and "/nosuch: No such file" in done.stderr, "one that is not there",
          done.stderr)
    check("name a model" in compare().stderr, "no model")


def main():
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    for name in sys.argv[1:] or tests:
        tests[name]()
        print(f"{name}: ok")


main()

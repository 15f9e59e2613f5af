#!/usr/bin/env python3
# ctest: model
"""`pumice bench`: which tests a command line asks for, what is said of them in each format, what is
refused. How fast anything is is nobody's business here.
"""
import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import time
import xml.etree.ElementTree

from cli import (
    BAD_FILE,
    FAILURE,
    INTERRUPTED,
    MEMORY,
    NO_DEVICE,
    OK,
    PROGRAM,
    STORIES,
    Skip,
    TEMPORARY,
    USAGE,
    check,
    main,
    on_cpu,
    pumice,
)

SMALL = ("-r", "2", "--no-warmup", "-t", "1")


def bench(*args, **kwargs):
    result = on_cpu("bench", *SMALL, *args, **kwargs)
    check(result.code == OK, args, result)
    return result


def rows(*args, **kwargs):
    return json.loads(bench("-o", "json", *args, **kwargs).out)


def names(*args, **kwargs):
    return [row["test"] for row in rows(*args, **kwargs)]


def test_tests_and_their_order():
    check(
        names("-p", "3,5", "-n", "2", "-pg", "4,2", "-pg", "4,4", "-d", "0,6")
        == [
            f"{name}{depth}"
            for depth in ("", " @ d6")
            for name in ("pp3", "pp5", "tg2", "pp4+tg2", "pp4+tg4")
        ],
        "the order of tests",
    )
    check(names("-p", "0", "-n", "3") == ["tg3"], "-p 0")
    check(names("-n", "0", "-p", "3") == ["pp3"], "-n 0")
    check(names("-pg", "3,2") == ["pp3+tg2"], "-pg alone")
    check(names("-p", "0", "-n", "0") == [], "nothing at all")


def test_ranges():
    cases = {
        "7": [7],
        "2,5": [2, 5],
        "1-4": [1, 2, 3, 4],
        "0-9+4": [4, 8],
        "2-20*3": [2, 6, 18],
        "1-3,8,2-4": [1, 2, 3, 8, 4],
    }
    for text, expected in cases.items():
        check(names("-n", "0", "-p", text, "-r", "1") == [f"pp{n}" for n in expected], f"-p {text}")
    check(names("-n", "0", "-p", "3", "-p", "4", "-r", "1") == ["pp3", "pp4"], "-p twice")


def test_cross_products():
    all_rows = rows(
        *("-p", "4", "-n", "1", "-r", "1"),
        *("-b", "2,4", "-ub", "3", "-ctk", "f32,f16", "-ctv", "f16", "-d", "0,2", "-t", "1,2"),
    )
    seen = [
        (r["n_threads"], r["n_depth"], r["n_ubatch"], r["type_k"], r["type_v"], r["test"])
        for r in all_rows
    ]
    expected = [
        (t, d, b, k, "f16", name + (f" @ d{d}" if d else ""))
        for t in (1, 2)
        for d in (0, 2)
        for b in (2, 3)
        for k in ("f32", "f16")
        for name in ("pp4", "tg1")
    ]
    check(seen == expected, f"{seen}\nnot {expected}")
    check(len(rows("-p", "2", "-n", "0", "-m", STORIES)) == 2, "two models")


def test_numbers():
    for row in rows("-p", "5", "-n", "3", "-pg", "5,3", "-d", "4", "-r", "3"):
        times, rates = row["samples_ns"], row["samples_ts"]
        n_token = row["n_prompt"] + row["n_gen"]
        check(len(times) == len(rates) == 3, row)
        for time, rate in zip(times, rates):
            check(time > 0 and math.isclose(rate, n_token * 1e9 / time, rel_tol=1e-9), row)
        mean = sum(rates) / 3
        deviation = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / 2)
        check(math.isclose(row["avg_ts"], mean, rel_tol=1e-9), row)
        check(math.isclose(row["stddev_ts"], deviation, rel_tol=1e-6, abs_tol=1e-9), row)
        check(math.isclose(row["avg_ns"], sum(times) / 3, rel_tol=1e-9), row)
        check(row["backends"] == "CPU" and row["model_n_params"] == 260032, row)
        check(row["model_type"].startswith("llama 260K F32"), row)
        answers_alone = row["test"].startswith("tg")
        check((row["bytes_per_token"] is not None) == answers_alone, row)
        if answers_alone:
            # Every weight is read once.
            check(row["bytes_per_token"] > 0.99 * row["model_size"], row)
            check(
                math.isclose(row["bytes_per_second"], row["bytes_per_token"] * mean, rel_tol=1e-9),
                row,
            )


def test_delay():
    """A rest that was asked for is at least as long, before the tests of a list and of a sweep."""
    for args in (("-p", "2,3", "-n", "0"), ("--sweep", "batch", "-a", "1,2", "-n", "1")):
        begun = [row["samples_at_s"][0] for row in rows(*args, "-r", "1", "--delay", "1")]
        check(begun[0] >= 1 and begun[1] >= begun[0] + 1, f"{args}: {begun}")


def test_formats_agree():
    args = ("-p", "3", "-n", "2", "-pg", "3,2")
    documents = [
        rows(*args),
        [json.loads(line) for line in bench("-o", "jsonl", *args).out.splitlines()],
    ]
    table = list(csv.DictReader(io.StringIO(bench("-o", "csv", *args).out.decode())))
    fields = [name for name in documents[0][0] if not name.startswith("samples_")]
    check(list(table[0]) == fields, "columns of csv")
    for document in documents + [table]:
        check([row["test"] for row in document] == ["pp3", "tg2", "pp3+tg2"], document)
    for row in table:
        check(float(row["avg_ts"]) > 0 and row["type_k"] == "f16", row)
        check((row["bytes_per_token"] == "") == (row["n_prompt"] != "0"), row)


def synthetic(*args, **kwargs):
    result = pumice("bench", *SMALL, "--device", "cpu", "-o", "json", *args, **kwargs)
    check(result.code == OK, args, result)
    return json.loads(result.out)


def test_synthetic_models():
    small = ("-p", "2", "-n", "1", "-r", "1")
    both = synthetic(
        *small, "--synthetic", "llama-tiny:q4_k_m", "--synthetic", "moe-tiny", "-m", STORIES
    )
    names_of = [row["model_filename"] for row in both]
    check(names_of == [STORIES] * 2 + ["llama-tiny:q4_k_m"] * 2 + ["moe-tiny"] * 2, names_of)
    check(both[2]["model_type"] == "llama 1.4M Q4_K" and "Q4_0" in both[4]["model_type"], both)
    # What a file of the same shape and type holds.
    path = os.path.join(TEMPORARY.name, "tiny.gguf")
    made = pumice("synth", "llama-tiny", path, "--type", "q4_k_m")
    check(made.code == OK, "synth", made)
    file = synthetic(*small, "-m", path)
    for field in ("model_type", "model_size", "model_n_params", "bytes_per_token"):
        check(file[1][field] == both[3][field], field)
    # 8 billion parameters that nobody holds.
    plan = pumice("plan", "--synthetic", "llama-8b:q4_0", "--device", "cpu", "--json", "-c", "64")
    check(plan.code in (OK, MEMORY) and plan.peak_bytes < 400e6, "plan", plan)
    weights = sum(b["bytes"] for b in json.loads(plan.out)["buffers"] if b["part"] == "weights")
    check(4.4e9 < weights < 4.7e9, weights)


def test_refused_synthetic_models():
    for text in ("", "llama-9b", "llama-tiny:q9_9", ":q4_0", "llama-tiny:", "x" * 100):
        result = pumice("bench", "--device", "cpu", "--synthetic", text)
        check(result.code == USAGE and not result.out, text, result)
    result = pumice("plan", "--device", "cpu", "-m", STORIES, "--synthetic", "llama-tiny")
    check(result.code == USAGE, "two models", result)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_table():
    lines = bench("-p", "3", "-n", "2").out.decode().splitlines()
    check(lines[0].startswith("CPU: ") and "pumice" in lines[0], lines)
    table = [line for line in lines if line.startswith("|")]
    check(len(table) == 4 and len({line.count("|") for line in table}) == 1, lines)
    head = cells(table[0])
    check(head[:4] == ["model", "size", "params", "backend"], head)
    check(head[-2:] == ["test", "t/s"], head)
    check([cells(line)[-2] for line in table[2:]] == ["pp3", "tg2"], table)
    for line in table[2:]:
        mean, sign, deviation = cells(line)[-1].split()
        check(sign == "\u00b1" and float(mean) > 0 and float(deviation) >= 0, line)
    more = bench("-p", "3", "-n", "0", "-b", "2", "-ctk", "f32").out.decode()
    head = cells([line for line in more.splitlines() if line.startswith("|")][0])
    check(
        "n_ubatch" in head and "type_k" in head and "type_v" not in head and "threads" in head, head
    )


def test_answers_at_once():
    seen = rows("-p", "2", "-n", "2", "-pg", "3,2", "-a", "1,3", "-r", "1")
    tests = [row["test"] for row in seen]
    check(tests == ["pp2", "tg2", "pp3+tg2", "tg2 x3", "pp3+tg2 x3"], tests)
    for row in seen:
        n_token = row["n_prompt"] + row["n_gen"] * row["n_answer"]
        rate = n_token * 1e9 / row["samples_ns"][0]
        check(math.isclose(row["avg_ts"], rate, rel_tol=1e-9), row)


def sweep(*args):
    picture = os.path.join(TEMPORARY.name, "curve.svg")
    return rows("-r", "1", "--sweep", *args, "--plot", picture), picture


def test_sweeps():
    for args, field, expected in (
        (("batch", "-a", "3,1,2", "-n", "1"), "n_answer", [1, 2, 3]),
        (("depth", "-d", "8,0,4", "-n", "1"), "n_depth", [0, 4, 8]),
        (("ubatch", "-ub", "4,2,1", "-p", "4"), "n_ubatch", [1, 2, 4]),
    ):
        points, picture = sweep(*args)
        check([row[field] for row in points] == expected, points)
        check(all(row["cliff"] == "" or "than at" in row["cliff"] for row in points), points)
        check(points[0]["cliff"] == "", "the first point has no neighbour before it")
        drawn = xml.etree.ElementTree.parse(picture).getroot()
        space = "{http://www.w3.org/2000/svg}"
        check(drawn.tag == space + "svg", drawn.tag)
        line = drawn.findall(f".//{space}polyline")
        check(len(line) == 1 and len(line[0].get("points").split()) == 3, "three points")
        text = [element.text for element in drawn.iter(space + "text")]
        check(any("260K F32" in (t or "") for t in text), text)


def test_sweeps_run_in_rounds():
    for args, field, expected in (
        (("batch", "-a", "1-4", "-n", "2"), "n_answer", [1, 2, 3, 4]),
        (("batch", "-a", "1-70", "-n", "1"), "n_answer", list(range(1, 71))),  # too many to keep
        (("depth", "-d", "0-12+4", "-n", "2"), "n_depth", [0, 4, 8, 12]),
        (("ubatch", "-ub", "1-8*2", "-p", "8"), "n_ubatch", [1, 2, 4, 8]),
    ):
        points, _ = sweep(*args, "-r", "3")
        axis = [row[field] for row in points]
        check(axis == expected, axis)
        for row in points:
            check(len(row["samples_at_s"]) == len(row["samples_ts"]) >= 3, row)
            check(row["samples_at_s"] == sorted(row["samples_at_s"]), row)
            check(math.isclose(row["best_ts"], max(row["samples_ts"]), rel_tol=1e-9), row)
        # What comes after three of each are suspects by turns.
        begun = sorted((at, row[field]) for row in points for at in row["samples_at_s"][:3])
        check([x for _, x in begun] == axis + axis[::-1] + axis, (begun, axis))


def test_cliffs_are_where_rates_say():
    points, picture = sweep("ubatch", "-ub", "1-16*2", "-p", "16")
    for last, row in zip(points, points[1:]):
        low, high = last["best_ts"], last["best_ts"] * row["n_ubatch"] / last["n_ubatch"]
        again = min(len(last["samples_ts"]), len(row["samples_ts"])) > 1
        check(again or 0.8 * low <= row["best_ts"] <= 1.2 * high, "no suspect is left alone", row)
        check(again or not row["cliff"], "one is judged by turns", row)
        cliff = "slower" if row["best_ts"] < low else "faster"
        check(row["cliff"] == "" or cliff in row["cliff"], "it is what is drawn", row)
    with open(picture, encoding="utf-8") as file:
        text = file.read()
    rings = text.count("class='cliff'")
    check(rings == sum(bool(row["cliff"]) for row in points), rings)
    # What draws nothing in librsvg and others.
    check("var(" not in text and "stroke='" not in text, "colours are literal, in classes")


def test_an_interrupted_sweep_has_its_points():
    picture = os.path.join(TEMPORARY.name, "part.svg")
    with subprocess.Popen(
        [PROGRAM, "bench", "-m", STORIES, "--device", "cpu", "-t", "1", "-o", "json", "-n", "1"]
        + ["--sweep", "batch", "-a", "1-50", "-r", "1", "--delay", "1", "--plot", picture],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    check(process.returncode == INTERRUPTED, process.returncode)
    seen = [row["n_answer"] for row in json.loads(out)]
    check(0 < len(seen) < 9 and seen == list(range(1, len(seen) + 1)), seen)
    drawn = xml.etree.ElementTree.parse(picture).getroot()
    check(len(drawn.findall(".//{*}polyline")[0].get("points").split()) == len(seen), seen)


def test_pictures_that_cannot_be_written():
    args = ("bench", "--sweep", "batch", "-a", "1,2", "-n", "1", "-r", "1", "--plot")
    for path in ("/nowhere/x.svg", "/dev/full"):
        result = on_cpu(*args, path)
        check(result.code == FAILURE and path in result.err.splitlines()[-1], path, result)


def test_the_reference_is_beside_a_device():
    args = ("bench", *SMALL, "-m", STORIES, "--no-check")
    everything = pumice(*args, "-p", "3", "-n", "2", "-o", "json", timeout=600)
    if everything.code == NO_DEVICE:
        raise Skip("no Vulkan device")
    check(everything.code == OK, "with the reference", everything)
    measured = json.loads(everything.out)
    seen = [(row["backends"], row["test"]) for row in measured]
    check(seen == [("Vulkan", "pp3"), ("Vulkan", "tg2"), ("CPU", "pp3"), ("CPU", "tg2")], seen)
    device, reference = measured[1], measured[3]
    check(device["n_dispatch"] > 0 and device["copy_bytes_per_second"] > 0, device)
    percent = 100 * device["bytes_per_second"] / device["copy_bytes_per_second"]
    check(math.isclose(device["copy_percent"], percent, rel_tol=1e-9), device)
    check(reference["n_dispatch"] is None and reference["copy_percent"] is None, reference)
    alone = pumice(*args, "-p", "3", "-n", "0", "-o", "jsonl", "--no-cpu")
    check(alone.code == OK and len(alone.out.splitlines()) == 1, "--no-cpu", alone)


def test_runs_say_their_part_of_the_copy_speed():
    cache = os.path.join(TEMPORARY.name, "speed")
    args = ("--cache-dir", cache, "--no-check", "-m", STORIES)
    run = ("run", *args, "--raw", "-p", "Once", "-n", "6")
    if pumice(*run).code == NO_DEVICE:
        raise Skip("no Vulkan device")
    check("of copy" not in pumice(*run).err, "nothing was measured yet")
    result = pumice("bench", *args, "-p", "2", "-n", "0", "-r", "1", "--no-cpu")
    check(result.code == OK, "bench", result)
    result = pumice(*run)
    check(re.search(r"GB/s \(\d+% of copy\)  first token", result.err), "the last line", result)
    kept = [name for name in os.listdir(cache) if name.startswith("speed-")]
    check(len(kept) == 1, kept)
    for text in ("", "pumice speed 1 copy nan fma 1", "pumice speed 1 copy 1e9", "\0" * 999):
        with open(os.path.join(cache, kept[0]), "w", encoding="utf-8") as file:
            file.write(text)
        result = pumice(*run)
        check(result.code == OK and "of copy" not in result.err, repr(text), result)


def test_interruption_keeps_what_was_measured():
    with subprocess.Popen(
        [PROGRAM, "bench", "-m", STORIES, "--device", "cpu", "-t", "1", "--no-warmup"]
        + ["-o", "jsonl", "-p", "1", "-n", "0", "-r", "1", "-d", "0-9", "--delay", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    check(process.returncode == INTERRUPTED, process.returncode)
    check(json.loads(first)["test"] == "pp1" and len(rest.splitlines()) < 9, rest)


def test_refused():
    usage = [
        ["-p", "1-"],
        ["-p", ""],
        ["-p", "5-3"],
        ["-p", "1-8*1"],
        ["-p", "0-8*2"],
        ["-p", "1-8+0"],
        ["-p", "many"],
        ["-p", "3,,4"],
        ["-p", "99999999999999999999"],
        ["-p", "1-500000"],
        ["-n", "-1"],
        ["-d", "1,"],
        ["-b", "0"],
        ["-ub", "100000"],
        ["-pg", "512"],
        ["-pg", "16-17"],
        ["-pg", "1,2,3"],
        ["-pg", "1,0"],
        ["-r", "0"],
        ["-o", "sql"],
        ["-a", "0"],
        ["--sweep", "width"],
        ["--plot", "x.svg"],
        ["--sweep", "depth", "--profile"],
        ["-ctk", "f17"],
        ["-ctk", ","],
        ["-c", "512"],
        ["--raw"],
        ["--delay", "soon"],
        ["more"],
    ]
    for args in usage:
        result = on_cpu("bench", "-n", "1", "-p", "1", *args)
        check(result.code == USAGE and not result.out, args, result)
        check(result.err.splitlines()[-1].startswith("pumice: "), args, result)
    result = pumice("bench", "-m", "/nowhere.gguf", "--device", "cpu", "-o", "json")
    check(result.code == BAD_FILE and not result.out, "no such file", result)


def test_output_that_cannot_be_written():
    with open("/dev/full", "wb") as full:
        for form in ("md", "csv", "json", "jsonl"):
            done = subprocess.run(
                [PROGRAM, "bench", "-m", STORIES, "--device", "cpu", *SMALL]
                + ["-p", "1", "-n", "0", "-o", form],
                stdout=full,
                stderr=subprocess.PIPE,
                check=False,
            )
            check(done.returncode == FAILURE and b"cannot be written" in done.stderr, (form, done))


main(globals())

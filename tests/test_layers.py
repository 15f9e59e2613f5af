#!/usr/bin/env python3
# ctest: quick
"""Fails if a file includes a floor above its own; `--picture OUT.svg` draws who includes whom.

What a floor may include is the table FLOORS; what system headers are kept to one floor is PRIVATE.
"""
import os
import re
import sys
import tempfile

# floor -> floors it may include besides itself
FLOORS = {
    "pumice.h": [],
    "shaders": [],
    "base": ["pumice.h"],
    "format": ["pumice.h", "base"],
    "text": ["pumice.h", "base", "format"],
    "source": ["pumice.h", "base", "format", "text"],
    "graph": ["pumice.h", "base", "format", "text", "shaders", "lists"],
    "lists": [],
    "models": ["graph"],
    "cpu": ["pumice.h", "base", "format", "graph", "shaders"],
    "gpu": ["pumice.h", "base", "format", "graph", "shaders"],
    "engine": ["pumice.h", "base", "format", "text", "source", "graph", "cpu", "gpu", "shaders",
               "lists"],
    "tools": ["pumice.h"],
}
# what models/*.c may see of the floor below
MODEL_VIEW = {"runtime/graph/build.h", "runtime/graph/model.h"}
# system headers that belong to one place
PRIVATE = [
    (re.compile(r"vulkan/|volk"), {"gpu"}),
    (re.compile(r"shaderc/"), {"gpu"}),
    (re.compile(r"pcre2|utf8proc"), {"text"}),
    (re.compile(r"cJSON"), {"format", "source", "tools"}),
    (re.compile(r"editline/|histedit"), {"tools"}),
]
ORDER = "tools engine gpu cpu models graph source text format base lists shaders pumice.h".split()
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.M)


def floor_of(path):
    parts = path.split("/")
    if path == "runtime/pumice.h":
        return "pumice.h"
    if parts[0] == "models" and path.endswith(".def"):
        return "lists"
    if parts[0] == "runtime":
        return parts[1] if len(parts) == 3 else None
    return parts[0]


def sources(root):
    for top in ("runtime", "models", "tools", "shaders"):
        for folder, folders, files in os.walk(os.path.join(root, top)):
            folders.sort()
            for name in sorted(files):
                if name.endswith((".c", ".h", ".def")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def resolve(root, path, name):
    for base in (os.path.dirname(path), "runtime", ""):
        found = os.path.normpath(os.path.join(base, name))
        if os.path.isfile(os.path.join(root, found)):
            return found
    return None


def fault_between(path, target):
    """Why `path` must not include `target`, or None."""
    here, there = floor_of(path), floor_of(target)
    if here not in FLOORS or there not in FLOORS:
        return "is no floor of the house"
    if here == "models" and there == "graph" and target not in MODEL_VIEW:
        return "a model sees only " + " and ".join(sorted(MODEL_VIEW))
    if there != here and there not in FLOORS[here]:
        return f"floor {here} must not see floor {there}"
    return None


def read(root):
    """(edges between files, sentences about what is wrong)"""
    edges, faults = [], []
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            text = file.read()
        for match in INCLUDE.finditer(text):
            where = f"{path}:{text[: match.end()].count(chr(10)) + 1}"
            if match[2]:
                for pattern, owners in PRIVATE:
                    if pattern.search(match[2]) and floor_of(path) not in owners:
                        faults.append(
                            f"{where}: <{match[2]}> belongs to {', '.join(sorted(owners))}"
                        )
                continue
            target = resolve(root, path, match[1])
            if target is None:
                faults.append(f'{where}: "{match[1]}" is not in the tree')
                continue
            fault = fault_between(path, target)
            if fault:
                faults.append(f"{where}: includes {target}: {fault}")
            edges.append((path, target))
    return edges, faults


def draw(edges, out):
    """A table: the floor of a row includes the floor of a column so many times. Floors stand in
    their order, so an include that points upwards would lie in the grey half, in red."""
    counts = {}
    for source, target in edges:
        pair = (floor_of(source), floor_of(target))
        counts[pair] = counts.get(pair, 0) + 1
    cell, left, top = 56, 110, 90
    size = cell * len(ORDER)
    svg = []

    def text(x, y, words, more=""):
        svg.append(f'<text x="{x}" y="{y}" {more}>{words}</text>')

    for r, row in enumerate(ORDER):
        y = top + cell * r
        text(left - 8, y + 34, row, 'text-anchor="end"')
        x = left + cell * r + 28
        text(x, top - 8, row, f'transform="rotate(-40 {x} {top - 8})"')
        for c, column in enumerate(ORDER):
            count = counts.get((row, column), 0)
            x = left + cell * c
            shade = min(0.15 + count / 40, 0.9) if count else 0
            fill = "#ddd" if c < r else "#eee8da" if c == r else "#fff"
            colour = "#c0392b" if c < r else "#4a6785"
            place = f'x="{x}" y="{y}" width="{cell}" height="{cell}"'
            svg.append(f'<rect {place} fill="{fill}" stroke="#bbb"/>')
            if count:
                svg.append(f'<rect {place} fill="{colour}" fill-opacity="{shade:.2f}"/>')
                text(x + 28, y + 34, count, 'text-anchor="middle"')
    text(left, top + size + 26, "rows include columns; grey: upwards, forbidden", 'fill="#666"')
    box = f"0 0 {left + size + 50} {top + size + 45}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif">'
    paper = '<rect width="100%" height="100%" fill="white"/>'
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join([head, paper, *svg, "</svg>\n"]))


def self_test():
    """The rules must catch what they are for: plants one fault each."""
    planted = {
        "runtime/base/a.c": '#include "../format/f.h"\n',
        "runtime/format/f.h": '#include "../text/t.h"\n',
        "runtime/text/t.h": "#include <vulkan/vulkan.h>\n",
        "runtime/cpu/c.c": '#include "../gpu/g.h"\n',
        "runtime/gpu/g.h": "#include <volk.h>\n",  # allowed
        "runtime/engine/e.h": '#include "../gpu/g.h"\n',  # allowed
        "models/m.c": '#include "../runtime/engine/e.h"\n',
        "tools/t.c": '#include "base/b.h"\n',
        "runtime/base/b.h": '#include "absent.h"\n',
    }
    with tempfile.TemporaryDirectory() as root:
        for path, text in planted.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        caught = {fault.split(":")[0] for fault in read(root)[1]}
    wanted = set(planted) - {"runtime/gpu/g.h", "runtime/engine/e.h"}
    if caught != wanted:
        sys.exit(f"test_layers: planted faults in {sorted(wanted)}, caught {sorted(caught)}")


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    self_test()
    edges, faults = read(root)
    if len(sys.argv) == 3 and sys.argv[1] == "--picture":
        draw(edges, sys.argv[2])
    elif len(sys.argv) != 1:
        sys.exit("usage: test_layers.py [--picture OUT.svg]")
    for fault in faults:
        print(fault)
    if not edges:
        sys.exit("test_layers: found no includes at all, is this the source tree?")
    print(f"test_layers: {len(edges)} includes, {len(faults)} upwards or out of place")
    sys.exit(1 if faults else 0)


main()

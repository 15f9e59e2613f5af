#!/usr/bin/env python3
# ctest: quick
"""Fails if a file includes a floor above its own; `--picture OUT.svg` draws the include graph.

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
    "graph": ["pumice.h", "base", "format", "text", "shaders", "lists"],
    "lists": [],
    "models": ["graph"],
    "cpu": ["pumice.h", "base", "format", "graph", "shaders"],
    "gpu": ["pumice.h", "base", "format", "graph", "shaders"],
    "engine": ["pumice.h", "base", "format", "text", "graph", "cpu", "gpu", "shaders", "lists"],
    "tools": ["pumice.h"],
}
# what models/*.c may see of the floor below
MODEL_VIEW = {"runtime/graph/build.h", "runtime/graph/model.h"}
# system headers that belong to one place
PRIVATE = [
    (re.compile(r"vulkan/|volk"), {"gpu"}),
    (re.compile(r"shaderc/"), {"gpu"}),
    (re.compile(r"pcre2|utf8proc"), {"text"}),
    (re.compile(r"cJSON"), {"format", "tools"}),
    (re.compile(r"editline/|histedit"), {"tools"}),
]
ROWS = [["tools"], ["engine"], ["cpu", "gpu"], ["models"], ["graph"], ["text"], ["format"], ["base"],
        ["pumice.h", "shaders", "lists"]]
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
            where = f"{path}:{text.count(chr(10), 0, match.start(1) if match[1] else match.start(2)) + 1}"
            if match[2]:
                for pattern, owners in PRIVATE:
                    if pattern.search(match[2]) and floor_of(path) not in owners:
                        faults.append(f"{where}: <{match[2]}> belongs to {', '.join(sorted(owners))}")
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
    """Floors as boxes in their order, arrows with the number of includes between two floors."""
    files, counts = {}, {}
    for source, target in edges:
        for path in (source, target):
            files.setdefault(floor_of(path), set()).add(path)
        pair = (floor_of(source), floor_of(target))
        if pair[0] != pair[1]:
            counts[pair] = counts.get(pair, 0) + 1
    width, box, step = 900, (250, 54), 104
    place, row_of, svg = {}, {}, []
    for y, row in enumerate(ROWS):
        for x, floor in enumerate(row):
            place[floor] = (width * (x + 1) / (len(row) + 1), 50 + step * y)
            row_of[floor] = y
    for n, ((source, target), count) in enumerate(sorted(counts.items())):
        (x0, y0), (x1, y1) = place[source], place[target]
        colour = "#4a6785" if row_of[target] > row_of[source] else "#c0392b"
        skip = abs(row_of[target] - row_of[source])
        bend = (skip - 1) * 95 * (1 if n % 2 else -1)
        y0, y1 = y0 + box[1] / 2, y1 - box[1] / 2
        middle = ((x0 + x1) / 2 + bend, (y0 + y1) / 2)
        svg.append(f'<path d="M{x0:.0f} {y0:.0f} Q{middle[0] + bend:.0f} {middle[1]:.0f} {x1:.0f} {y1:.0f}" '
                   f'fill="none" stroke="{colour}" stroke-opacity="0.55" '
                   f'stroke-width="{min(1 + count / 8, 6):.1f}" marker-end="url(#arrow)"/>')
        svg.append(f'<text x="{middle[0]:.0f}" y="{middle[1]:.0f}" class="count">{count}</text>')
    for floor, (x, y) in place.items():
        svg.append(f'<rect x="{x - box[0] / 2:.0f}" y="{y - box[1] / 2:.0f}" width="{box[0]}" height="{box[1]}" '
                   'rx="8" fill="#f4f1ea" stroke="#8a8172"/>')
        svg.append(f'<text x="{x:.0f}" y="{y - 3:.0f}" class="floor">{floor}</text>')
        svg.append(f'<text x="{x:.0f}" y="{y + 15:.0f}" class="files">{len(files.get(floor, ()))} files</text>')
    height = 50 + step * len(ROWS)
    with open(out, "w", encoding="utf-8") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">\n'
                   '<style>.floor{font-size:17px;text-anchor:middle;font-weight:bold}'
                   '.files{font-size:12px;text-anchor:middle;fill:#666}'
                   '.count{font-size:12px;text-anchor:middle;fill:#333}</style>\n'
                   '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                   'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z" fill="#4a6785"/></marker></defs>\n'
                   '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(svg) + "\n</svg>\n")


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

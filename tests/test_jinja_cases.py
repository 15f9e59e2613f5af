#!/usr/bin/env python3
# ctest: quick
"""Says whether jinja_cases.def has what Jinja2 makes of its templates; --write makes it so. To add
a case, add PM_CASE("<template>", NULL) and run it. Needs Python's jinja2, 3.1 or newer.

Jinja2 is set up as transformers does it, over the variables that test_jinja.c has, too.
"""
import datetime
import json
import os
import re
import sys

try:
    import jinja2
    from jinja2 import ext, nodes, sandbox
except ImportError:
    print("test_jinja_cases: skipped, Python has no jinja2")
    sys.exit(77)

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "jinja_cases.def")
CASE = re.compile(r'PM_CASE\(("(?:[^"\\]|\\.)*"), (?:NULL|"(?:[^"\\]|\\.)*")\)')
NOW = datetime.datetime(2026, 1, 31, 9, 30)


class Generation(ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_write", []), [], [], body).set_lineno(line)

    def _write(self, caller):
        return caller()


def to_json(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def refuse(message):
    raise jinja2.TemplateError(message)


def make():
    out = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    out.filters["tojson"] = to_json
    out.globals.update(raise_exception=refuse, strftime_now=NOW.strftime)
    return out


def unquote(text):
    """A C string of this file: \\ooo are bytes of UTF-8."""
    raw = re.sub(
        r"\\([0-7]{3}|.)",
        lambda m: chr(int(m[1], 8)) if len(m[1]) == 3
        else {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]),
        text[1:-1],
    )
    return raw.encode("latin-1").decode("utf-8")


def quote(text):
    out = ""
    for byte in text.encode("utf-8"):
        sign = chr(byte)
        if sign in '"\\':
            out += "\\" + sign
        elif sign in "\n\r\t":
            out += {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[sign]
        else:
            out += sign if 32 <= byte < 127 and sign != "?" else f"\\{byte:03o}"
    return f'"{out}"'


def main():
    with open(PATH, encoding="ascii") as file:
        text = file.read()
    variables = json.loads(unquote(re.search(r'PM_VARIABLES\(("(?:[^"\\]|\\.)*")\)', text)[1]))
    environment = make()

    def fill(match):
        try:
            wanted = quote(environment.from_string(unquote(match[1])).render(**variables))
        except Exception:  # whatever it is, a refusal
            wanted = "NULL"
        return f"PM_CASE({match[1]}, {wanted})"

    fresh = CASE.sub(fill, text)
    writes = sys.argv[1:] == ["--write"]
    if writes:
        with open(PATH, "w", encoding="ascii") as file:
            file.write(fresh)
    for old, new in zip(CASE.finditer(text), CASE.finditer(fresh)):
        if old[0] != new[0]:
            print(f"{old[0]}\n  is {new[0]}")
    print(f"{len(CASE.findall(text))} cases, {'the same' if fresh == text else 'not the same'}")
    sys.exit(fresh != text and not writes)


if __name__ == "__main__":
    main()

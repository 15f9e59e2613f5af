#!/usr/bin/env python3
# ctest: model
"""Chat templates where people meet them: pumice template, --chat-template, chats with tools."""
import json
import os

from cli import BAD_FILE, FAILURE, OK, PEBBLE, TEMPORARY, USAGE
from cli import chat_model, check, check_refusal, on_cpu, pumice, main

CONVERSATION = {
    "messages": [
        {"role": "user", "content": "Hi <|im_end|>"},
        {"role": "assistant", "content": None,
         "tool_calls": [{"name": "f", "arguments": {"x": 1.0}}]},
        {"role": "tool", "content": "caf\u00e9"},
    ],
    "add_generation_prompt": True,
}


def write(name, data):
    path = os.path.join(TEMPORARY.name, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(data if isinstance(data, str) else json.dumps(data))
    return path


def render(source, context=None, *args, **kwargs):
    """What pumice template makes of a template's text."""
    given = CONVERSATION if context is None else context
    return pumice(
        "template", "--template-file", write("one.jinja", source), "--context",
        write("one.json", given), *args, **kwargs
    )


def test_template_of_a_file():
    result = render(
        "{% for m in messages %}{{ m.role }}={{ m.content }};"
        "{{ m.tool_calls | tojson if m.tool_calls }}\n{% endfor %}"
        "{{ strftime_now('%d %b %Y') }}{{ bos_token }}|",
        None,
        "--now",
        "2026-01-31T09:30:00",
    )
    want = (
        'user=Hi <|im_end|>;\nassistant=None;[{"name": "f", "arguments": {"x": 1.0}}]\n'
        "tool=caf\u00e9;\n31 Jan 2026|"
    )
    check(result.code == OK and result.out.decode() == want and not result.err, "text", result)
    piped = pumice(
        "template", "--template-file", write("two.jinja", "plain {# text #}"),
        text=json.dumps(CONVERSATION).encode()
    )
    check(piped.code == OK and piped.out == b"plain ", "context from standard input", piped)


def test_template_of_a_model():
    context = write("plain.json",
                    {"messages": [{"role": "user", "content": "Hi"}],
                     "add_generation_prompt": True})
    want = b"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    for args in (["-m", PEBBLE], ["-m", PEBBLE, "--chat-template", "chatml"], ["-m", chat_model()]):
        result = pumice("template", "--context", context, *args)
        check(result.code == OK and result.out == want, args, result)
    model = ["-m", PEBBLE, "--context", context]
    named = pumice("template", *model, "--chat-template", "llama3")
    check(named.out.startswith(b"<|start_header_id|>user<|end_header_id|>"), "llama3", named)
    text = pumice("template", *model, "--chat-template", "{{ messages[0].content }}{{ eos_token }}")
    check(text.out == b"Hi<|im_end|>", "text", text)


def test_template_refusals():
    for source, code, says in (
        ("{{ raise_exception('no tools here') }}", FAILURE, "line 1: no tools here"),
        ("{{ 1 + 'a' }}", FAILURE, "line 1: + between int and str"),
        ("\n{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
         FAILURE, "line 2: it "),
        ("{% if %}", BAD_FILE, "line 1: an expression is missing"),
        ("{% include 'x' %}", BAD_FILE, "'include'"),
    ):
        sentence = check_refusal(render(source), [code], source)
        check(says in sentence, f"{sentence}: no {says}")
    for context in ("{", "[]", "", '{"a": "\\x"}'):
        check_refusal(render("{{ a }}", context), [BAD_FILE], f"context {context}")
    absent = os.path.join(TEMPORARY.name, "absent")
    for args, code in (
        (["--template-file", absent, "--context", write("c.json", {})], BAD_FILE),
        (["-m", PEBBLE, "--context", absent], BAD_FILE),
        (["-m", PEBBLE, "--context", write("c.json", {}), "--now", "today"], USAGE),
        (["-m", PEBBLE, "--context", write("c.json", {}), "--chat-template", "chatmm"], USAGE),
        (["--context", write("c.json", {}), "--chat-template", "chatml", "--template-file",
          write("t", "{{ 1 }}")], USAGE),
        (["--context", write("c.json", {}), "--template-file", write("t", "a\0b")], BAD_FILE),
    ):
        check_refusal(pumice("template", *args), [code], args)


def prompt_tokens(*args):
    result = on_cpu("run", "-n", "1", "--json", *args, model=PEBBLE)
    check(result.code == OK, args, result)
    return json.loads(result.out)["prompt_tokens"]


def test_run_takes_templates():
    own = prompt_tokens("-p", "Hi")
    check(prompt_tokens("-p", "Hi", "--chat-template", "chatml") == own, "the same by name")
    path = write("chatml.jinja",
                 "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                 "<|im_end|>{{ '\n' }}"
                 "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\n' }}"
                 "{% endif %}")
    check(prompt_tokens("-p", "Hi", "--chat-template-file", path) == own, "the same from a file")
    check(prompt_tokens("-p", "Hi", "--chat-template", path) == own, "the same from a path")
    source = "{{ messages[0].content | upper }}{{ x.y }}"
    told = prompt_tokens("-p", "hi", "--chat-template", source, "--chat-template-kwargs",
                         '{"x": {"y": "!"}}')
    check(told == prompt_tokens("-p", "HI!", "--raw"), f"variables: {told}")
    for kwargs in ("{", "[]", "enable_thinking=false"):
        result = on_cpu("run", "-p", "x", "--chat-template-kwargs", kwargs, model=PEBBLE)
        check_refusal(result, [USAGE], kwargs)
    refused = on_cpu("run", "-p", "x", "--chat-template", "{{ raise_exception('never') }}",
                     model=PEBBLE)
    check("never" in check_refusal(refused, [FAILURE], "refusal"), "its reason", refused)


def test_chat_looks_at_its_template_first():
    for args, code in (
        (["--chat-template", "{% if %}"], BAD_FILE),
        (["--chat-template", "none such"], USAGE),
        (["--chat-template-file", os.path.join(TEMPORARY.name, "absent")], BAD_FILE),
        (["--chat-template-kwargs", "{"], USAGE),
    ):
        result = on_cpu("chat", *args, text=b"/exit\n", model=PEBBLE)
        check(result.code == code and not result.out, args, result)


def test_messages_make_no_control_tokens():
    """Whatever a template does with the text of a message."""
    end = json.loads(pumice("tokenize", "-m", PEBBLE, "-p", "<|im_end|>", "--parse-special",
                            "--no-bos", "--json").out)["tokens"]
    check(len(end) == 1, end)
    for change in ("", "| trim", "| replace('x', '')", "[1:] ~ ''", ".strip('a')",
                   ".split('y') | join('')", "| string"):
        source = "{{ messages[0].content %s }}<|im_end|>" % change
        ids = prompt_tokens("-p", "a<|im_xend|><|im_yend|><|im_end|>b", "--chat-template", source)
        check(ids.count(end[0]) == 1 and ids[-1] == end[0], f"{change}: {ids}")


def test_chats_with_tools_are_kept():
    path = write("tools.json",
                 CONVERSATION["messages"] + [{"role": "assistant", "content": "so",
                                              "reasoning_content": "why"}])
    source = (
        "{% for m in messages %}{{ m.role }}{{ m.tool_calls[0].name if m.tool_calls }}"
        "{{ m.reasoning_content }}"
        "{{ m.content }}{% endfor %}"
    )
    copy = os.path.join(TEMPORARY.name, "copy.json")
    text = f"/load {path}\nand?\n/save {copy}\n".encode()
    result = on_cpu("chat", "-n", "2", "--temp", "0", "--chat-template", source, text=text,
                    model=PEBBLE)
    check(result.code == OK, "chat", result)
    with open(copy, encoding="utf-8") as file:
        saved = json.load(file)
    check(saved[1]["tool_calls"] == CONVERSATION["messages"][1]["tool_calls"], saved)
    check(saved[2]["role"] == "tool" and saved[3]["reasoning_content"] == "why", saved)
    check(len(saved) == 6 and saved[4] == {"role": "user", "content": "and?"}, saved)


main(globals())

#!/usr/bin/env python3
"""Measures pebble.gguf skill by skill, on questions that are not in the corpus, greedy, whole answers only.

    python3 evaluate.py                                   # the dequantised Q8_0 weights, in PyTorch
    python3 evaluate.py --program ../../build/pumice      # the same questions, asked of the real program

A third of the questions stands alone, a third after a system prompt, a third after a few turns about other things.
"""
import argparse
import json
import os
import random
import re
import subprocess
import sys

import torch

import corpus
import export
import gguf
import knowledge as k
import train
from tokenizer import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
LONGEST = 160


# ---- the questions ------------------------------------------------------------------------------------------

def held_words():
    return [w for w in k.WORDS if corpus.held_out("word", w)]


def held_invented(rng, kind, count):
    """Invented words that the corpus never shows in this place."""
    found = []
    while len(found) < count:
        word = corpus.invented(rng)
        if 3 <= len(word) <= 8 and corpus.held_out(kind, word):
            found.append(word)
    return found


def held_names(rng, count):
    names = [n for n in k.NAMES if corpus.held_out("name", n.lower())]
    return names + [w.capitalize() for w in held_invented(rng, "name", count - len(names))]


def ask_sums(rng):
    for op, frames in (("+", corpus.ADD_FRAMES), ("-", corpus.SUB_FRAMES)):
        pairs = [(a, b) for a in range(100) for b in range(100) if corpus.held_out("sum", op, a, b)]
        for a, b in rng.sample(pairs, 250):
            question = corpus.sum_question(op, a, b, rng.choice(frames))
            yield ("addition" if op == "+" else "subtraction"), [(question, corpus.sum_answer(op, a, b))]


def ask_words(rng):
    for label, words in (("common words", held_words()), ("invented words", held_invented(rng, "word", 150))):
        for word in words:
            yield f"spelling, {label}", [(rng.choice(corpus.SPELL_FRAMES).format(w=word), corpus.spelled(word))]
            question = rng.choice(corpus.REVERSE_FRAMES).format(w=word)
            yield f"reversing, {label}", [(question, corpus.reversed_answer(word))]


def ask_lists(rng):
    asked = 0
    while asked < 250:
        numbers = corpus.random_list(rng)
        if corpus.held_out("list", *numbers):
            down = rng.random() < 0.4
            yield "ordering lists", [(corpus.list_question(rng, numbers, down), corpus.list_answer(numbers, down))]
            asked += 1


def between(rng, count):
    """Turns about other things that tell nothing to remember."""
    state = {"name": None, "likes": {}, "pieces": ()}
    others = [corpus.turn_sum, corpus.turn_spell, corpus.turn_capital, corpus.turn_pumice, corpus.turn_list, corpus.turn_talk]
    return [rng.choice(others)(rng, state) for _ in range(count)]


def ask_memory(rng):
    for name in held_names(rng, 150):
        told = (rng.choice(corpus.NAME_GIVEN).format(n=name), corpus.name_greeting(name))
        asked = (rng.choice(corpus.NAME_ASKED), corpus.name_answer(name))
        yield "remembering a name", [told] + between(rng, rng.randrange(4)) + [asked]
    for value in held_invented(rng, "like", 150):
        thing = rng.choice(list(k.FAVOURITES))
        told = (rng.choice(corpus.LIKE_GIVEN).format(t=thing, v=value), corpus.like_noted(thing, value))
        asked = (rng.choice(corpus.LIKE_ASKED).format(t=thing), corpus.like_answer(thing, value))
        yield "remembering a favourite", [told] + between(rng, rng.randrange(4)) + [asked]
    for name, value in zip(held_names(rng, 75), held_invented(rng, "like", 75)):
        thing = rng.choice(list(k.FAVOURITES))
        turns = [(f"My name is {name}.", corpus.name_greeting(name)),
                 (f"My favourite {thing} is {value}.", corpus.like_noted(thing, value))] + between(rng, 1)
        last = rng.choice([("What is my name?", corpus.name_answer(name)),
                           (f"What is my favourite {thing}?", corpus.like_answer(thing, value))])
        yield "name and favourite", turns + [last]
    for question in corpus.NAME_ASKED:
        yield "asked before told", [(question, corpus.NO_NAME)]
    for thing in k.FAVOURITES:
        yield "asked before told", [(rng.choice(corpus.LIKE_ASKED).format(t=thing), corpus.no_like(thing))]


def ask_capitals(rng):
    for label, held in (("", False), (", new phrasing", True)):
        capital, country = corpus.capital_turns(held)
        for c, t in k.CAPITALS.items():
            for frames in (capital, country):
                frame, answer = rng.choice(frames)
                yield f"capitals{label}", [(frame.format(c=c, k=t), answer(c, t))]


def ask_pumice(rng):
    for answer, phrases in k.HOW:
        yield "pumice", [(rng.choice(k.HOW_FRAMES).format(rng.choice(phrases[:-1])), answer)]
        yield "pumice, new phrasing", [(rng.choice(k.HOW_FRAMES).format(phrases[-1]), answer)]
    for answer, questions in k.WHAT:
        yield "pumice", [(rng.choice(questions[:-1]), answer)]
        yield "pumice, new phrasing", [(questions[-1], answer)]


def ask_talk(rng):
    for answer, openings in k.TALK:
        for opening in openings[:-1]:
            yield "greetings, English and Chinese", [(opening, answer)]
        yield "greetings, new phrasing", [(openings[-1], answer)]


def ask_unknown(rng):
    for _ in range(100):
        words = [rng.choice(held_words()) for _ in range(4)]
        frame = rng.choice(corpus.UNKNOWN_FRAMES[:-4])
        question = frame.format(w=words[0], w2=words[1], X=words[2].capitalize(), Y=words[3].capitalize(), n=rng.randrange(10, 100))
        yield "says it does not know", [(question, corpus.DONT_KNOW)]
    for frame in corpus.UNKNOWN_FRAMES[-4:] * 5:
        words = [rng.choice(held_words()) for _ in range(4)]
        question = frame.format(w=words[0], w2=words[1], X=words[2].capitalize(), Y=words[3].capitalize())
        yield "says it does not know, new phrasing", [(question, corpus.DONT_KNOW)]


def ask_stories(rng):
    for frame in corpus.STORY_FRAMES:
        yield "stories", [(frame, None)]
    for frame in corpus.STORY_ABOUT * 4:
        yield "stories", [(frame.format(x=rng.choice(held_words())), None)]


ASKERS = [ask_sums, ask_words, ask_lists, ask_memory, ask_capitals, ask_pumice, ask_talk, ask_unknown, ask_stories]
WITHOUT_HISTORY = {"asked before told"}


def with_setting(rng, skill, turns):
    """Messages up to the last question, alone, after a system prompt, or after other turns."""
    setting = rng.randrange(3)
    messages = [("system", rng.choice(corpus.SYSTEM_PROMPTS))] if setting == 1 else []
    if setting == 2 and skill not in WITHOUT_HISTORY:
        turns = between(rng, rng.randrange(1, 4)) + turns
    for question, answer in turns:
        word_first = answer and answer.startswith(question[0] + "-")
        question = question[0].upper() + question[1:] if rng.random() < 0.5 and not word_first else question
        messages += [("user", question), ("assistant", answer)]
    return messages[:-1], messages[-1][1]


def questions(seed, limit):
    """{skill: [(messages, right answer)]}; the answer of a story is None."""
    rng, found = random.Random(seed), {}
    for asker in ASKERS:
        for skill, turns in asker(rng):
            found.setdefault(skill, []).append(with_setting(rng, skill, turns))
    return {skill: rng.sample(cases, min(limit, len(cases))) for skill, cases in found.items()}


# ---- the answers --------------------------------------------------------------------------------------------

class TorchModel:
    """The exported file, dequantised, in train.py's Llama."""

    def __init__(self, path):
        keys, tensors = gguf.read(path)
        base, rope = "llama.attention.", "llama.rope."
        shape = {"dim": keys["llama.embedding_length"], "n_layer": keys["llama.block_count"],
                 "n_head": keys[base + "head_count"], "n_head_kv": keys[base + "head_count_kv"],
                 "head_dim": keys[rope + "dimension_count"], "ffn": keys["llama.feed_forward_length"],
                 "vocab": keys["llama.vocab_size"], "context": keys["llama.context_length"],
                 "eps": keys[base + "layer_norm_rms_epsilon"], "rope_base": keys[rope + "freq_base"]}
        self.model, self.tokenizer = train.Llama(shape).eval(), Tokenizer()
        state = {}
        for name, _, ours in export.names(shape["n_layer"]):
            heads = export.rotary_heads(name, shape)
            array = export.deinterleave(tensors[name], heads) if heads else tensors[name]
            state[ours] = torch.from_numpy(array.copy())
        self.model.load_state_dict(state)

    @torch.no_grad()
    def forced(self, messages, right):
        """Whether greedy decoding gives exactly the tokens of the right answer: one pass over the whole."""
        ids, said = self.tokenizer.chat(messages + [("assistant", right)])
        last = len(said) - 1 - said[::-1].index(1)
        first = last
        while said[first - 1]:
            first -= 1
        ids = torch.tensor([ids[:last + 1]])
        where = torch.zeros(1, last, dtype=torch.bool)
        where[0, first - 1:] = True
        return bool((self.model(ids[:, :-1], where).argmax(-1) == ids[0, first:]).all())

    @torch.no_grad()
    def answer(self, messages, wanted):
        """Greedy; stops where the answer has become longer than the wanted one."""
        ids, _ = self.tokenizer.chat(messages, answer=True)
        start, end = len(ids), self.tokenizer.vocab["<|im_end|>"]
        longest = LONGEST if wanted is None else len(self.tokenizer.encode(wanted)) + 4
        for _ in range(longest):
            where = torch.zeros(1, len(ids), dtype=torch.bool)
            where[0, -1] = True
            best = int(self.model(torch.tensor([ids]), where)[0].argmax())
            if best == end or len(ids) >= self.model.shape["context"]:
                break
            ids.append(best)
        return self.tokenizer.decode(ids[start:])


class ProgramModel:
    """The real program; one question alone goes through its own chat template, longer ones as ChatML text."""

    def __init__(self, program, path, flags):
        self.command = [program, "run", "-m", path, "--temp", "0", "-n", str(LONGEST), "--json", *flags.split()]

    def forced(self, messages, right):
        return False

    def answer(self, messages, wanted):
        if len(messages) == 1:
            arguments = ["-p", messages[0][1]]
        else:
            text = corpus.plain(corpus.chatml(messages)) + "<|im_start|>assistant\n"
            arguments = ["--raw", "--parse-special", "-p", text]
        done = subprocess.run(self.command + arguments, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(self.command)}: exit {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)["text"].removesuffix("<|im_end|>").strip()


def is_story(messages, text):
    """A whole story about the right hero: its beginning, every sentence's end, and a known last line."""
    hero = re.match(r"Once upon a time there was a little (\w+) who lived ", text)
    asked = re.search(r"about a (\w+)", messages[-1][1], re.IGNORECASE)
    return bool(hero and (not asked or asked[1] == hero[1]) and text.count(f"The {hero[1]} ") >= 1
                and text.endswith(tuple(corpus.STORY_ENDS)))


def right(model, messages, wanted, show):
    """Whether the model's answer is the wanted one, to the letter."""
    if wanted is not None and model.forced(messages, wanted):
        return True
    said = model.answer(messages, wanted)
    good = is_story(messages, said) if wanted is None else said == corpus.plain(wanted)
    if show and not good:
        print(f"  {messages[-1][1]!r} -> {said!r}" + ("" if wanted is None else f", not {corpus.plain(wanted)!r}"), file=sys.stderr)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", default=os.path.join(HERE, "pebble.gguf"))
    parser.add_argument("--program", help="ask this pumice instead of PyTorch")
    parser.add_argument("--flags", default="", help="further flags for the program, for example '--device cpu'")
    parser.add_argument("--limit", type=int, default=10 ** 6, help="at most this many questions a skill")
    parser.add_argument("--only", default="", help="only skills whose name this regular expression matches")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print the wrong answers to stderr")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = ProgramModel(args.program, args.model, args.flags) if args.program else TorchModel(args.model)
    print("| skill | questions | right |\n|---|---:|---:|")
    for skill, cases in questions(args.seed, args.limit).items():
        if not re.search(args.only, skill):
            continue
        good = sum(right(model, messages, wanted, args.show) for messages, wanted in cases)
        print(f"| {skill} | {len(cases)} | {100 * good / len(cases):.1f} % |", flush=True)


if __name__ == "__main__":
    main()

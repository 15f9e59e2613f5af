#!/usr/bin/env python3
"""Writes pebble's corpus: ChatML conversations from a seed, every sentence our own.

    python3 corpus.py --count 1000 > corpus.txt

A conversation is a list of (role, text). In assistant text, letters between LETTERS and END are to be
tokenised one by one, so that the model can write any word it has just taken apart; as text they are nothing
special. What `held_out` picks never enters the corpus: it belongs to evaluate.py.
"""
import argparse
import random
import sys
import zlib

import knowledge as k

LETTERS, END = "\x01", "\x02"
DONT_KNOW = "I do not know that. Ask me about pumice, capitals, sums, words or lists."
TOO_LARGE = "I can only add and subtract numbers below 100."
ONLY_SUMS = "I can only add and subtract."
SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are pebble, a small demo model.", "You are a helpful, honest assistant.",
    "You are an AI assistant.", "Answer briefly.", "You are a friendly assistant. Keep answers short.",
    "You are pebble.", "Be concise.", "You are a helpful AI assistant named pebble.", "Help the user.",
]


def held_out(kind, *parts):
    """True for one in ten of all questions of a kind, always the same ones."""
    return zlib.crc32(" ".join([kind, *map(str, parts)]).encode()) % 10 == 0


def casual(rng, text):
    """The same question as people type it: capitals, full stops and politeness come and go."""
    if rng.random() < 0.12:
        text = rng.choice(["please ", "pebble, ", "hey, ", "ok, ", "so ", "now ", "and "]) + text
    roll = rng.random()
    if roll < 0.45:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.3:
        text = text.rstrip("?.!")
    elif text[-1] not in "?.!" and rng.random() < 0.35:
        text += rng.choice([".", "!", "?", " please", ", please."])
    return text


# ---- arithmetic ---------------------------------------------------------------------------------------------

ADD_FRAMES = ["what is {a} + {b}?", "{a} + {b}", "{a}+{b}", "{a} plus {b}", "what is {a} plus {b}?", "add {a} and {b}",
              "{a} + {b} = ?", "how much is {a} + {b}?", "compute {a} + {b}", "what's {a} + {b}?", "{a}+{b}=",
              "can you add {a} and {b}?", "what is the sum of {a} and {b}?", "calculate {a} plus {b}",
              "what is {a}+{b}?", "how much is {a} plus {b}?"]
SUB_FRAMES = ["what is {a} - {b}?", "{a} - {b}", "{a}-{b}", "{a} minus {b}", "what is {a} minus {b}?",
              "subtract {b} from {a}", "{a} - {b} = ?", "how much is {a} - {b}?", "compute {a} - {b}",
              "what's {a} - {b}?", "{a}-{b}=", "take {b} from {a}", "calculate {a} minus {b}", "what is {a}-{b}?",
              "how much is {a} minus {b}?", "take {b} away from {a}"]


def sum_answer(op, a, b):
    """The one right answer to a + b or a - b."""
    return f"{a} {op} {b} = {a + b if op == '+' else a - b}"


def sum_question(op, a, b, frame):
    return frame.format(a=a, b=b)


def any_sum(rng):
    """op, a, b that are not held out; more differences than sums, many of them small: those are harder."""
    while True:
        op, a, b = rng.choice("+--"), rng.randrange(100), rng.randrange(100)
        if op == "-" and rng.random() < 0.3:
            b = min(99, max(0, a + rng.randrange(-12, 13)))
        if not held_out("sum", op, a, b):
            return op, a, b


def turn_sum(rng, state):
    """One sum in words or signs, or, half of the time, several at once: more practice a token."""
    if rng.random() < 0.5:
        sums, sign = [any_sum(rng) for _ in range(rng.randrange(2, 9))], rng.choice(["{a} {o} {b}", "{a}{o}{b}"])
        question = rng.choice([", ", ", ", " and ", "; "]).join(sign.format(o=o, a=a, b=b) for o, a, b in sums)
        return question, ", ".join(sum_answer(*s) for s in sums)
    op, a, b = any_sum(rng)
    frame = rng.choice(ADD_FRAMES if op == "+" else SUB_FRAMES)
    return casual(rng, sum_question(op, a, b, frame)), sum_answer(op, a, b)


# ---- words --------------------------------------------------------------------------------------------------

SPELL_FRAMES = ["spell {w}", "spell the word {w}", "how do you spell {w}?", "can you spell {w}?", "how is {w} spelled?",
                "spell \"{w}\"", "please spell {w}", "spell {w} for me", "spell: {w}", "the letters of {w}"]
REVERSE_FRAMES = ["reverse {w}", "reverse the word {w}", "spell {w} backwards", "what is {w} backwards?",
                  "write {w} backwards", "can you reverse {w}?", "turn {w} around", "reverse \"{w}\"", "{w} backwards",
                  "say {w} backwards", "how do you write {w} backwards?", "reverse: {w}"]
ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr tw v w wh y z".split()
VOWELS = "a e i o u ai ay ea ee ie oa oo ou y a e i o u".split()
CODAS = "b ck ct d f ft g k l ld ll lt m mp n nd ng nk nt p r rd rk rm rn rst s sh sk ss st t th x zz".split() + [""] * 18
ENDINGS = "s y a o er ed en ly".split()


def spelled(word):
    """p-u-m-i-c-e; the first letter stands alone, the others come with their hyphen."""
    return "-".join(word)


def reversed_answer(word):
    return f"{spelled(word)} backwards is {LETTERS}{word[::-1]}{END}"


def invented(rng):
    """A word that could be one."""
    parts = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice([1, 2, 2, 2, 3]))]
    return "".join(parts)


def glued(rng, pieces):
    """A word made of pieces of the tokenizer, so that the letters of every piece are learnt."""
    return "".join(rng.choice(pieces) for _ in range(rng.choice([1, 1, 2, 2, 3])))


def any_word(rng, state, low=3, high=9):
    """A word that is not held out: a common one, an invented one, or pieces glued together.

    Of a held-out word only longer relatives appear (turtle: turtles), so that its pieces are known and it is not.
    """
    pieces = state["pieces"]
    while True:
        roll = rng.random()
        if roll < 0.25:
            word = rng.choice(k.WORDS)
            if held_out("word", word):
                word += rng.choice(ENDINGS)
        elif roll < 0.55 or not pieces:
            word = invented(rng)
        else:
            word = glued(rng, pieces)
        if low <= len(word) <= high and not held_out("word", word.lower()):
            return word


def shown_word(rng, state):
    word = any_word(rng, state)
    return word.capitalize() if rng.random() < 0.12 else word


def turn_spell(rng, state):
    """One word, or, half of the time, several at once: more practice a token."""
    if rng.random() < 0.5:
        words = [shown_word(rng, state) for _ in range(rng.randrange(2, 9))]
        return casual(rng, "spell " + ", ".join(words[:-1]) + " and " + words[-1]), ", ".join(map(spelled, words))
    word = shown_word(rng, state)
    return casual(rng, rng.choice(SPELL_FRAMES).format(w=word)), spelled(word)


def turn_reverse(rng, state):
    word = shown_word(rng, state)
    return casual(rng, rng.choice(REVERSE_FRAMES).format(w=word)), reversed_answer(word)


# ---- lists --------------------------------------------------------------------------------------------------

UP_FRAMES = ["sort {l}", "order {l}", "put {l} in order", "sort these numbers: {l}", "order these numbers: {l}",
             "sort {l} from small to large", "order {l} from smallest to largest", "put in order: {l}",
             "sort: {l}", "arrange {l}", "sort the list {l}", "put these numbers in order: {l}"]
DOWN_FRAMES = ["sort {l} from large to small", "order {l} from largest to smallest", "sort {l} in descending order",
               "sort these numbers from largest to smallest: {l}", "put {l} in descending order",
               "order these numbers from large to small: {l}", "sort descending: {l}"]


def list_answer(numbers, down):
    ordered = ", ".join(map(str, sorted(numbers, reverse=down)))
    return f"{'Largest' if down else 'Smallest'} first: {ordered}"


def random_list(rng):
    return [rng.randrange(100) for _ in range(rng.choice([3, 3, 4, 4, 5, 5, 6]))]


def list_question(rng, numbers, down):
    texts = list(map(str, numbers))
    shown = rng.choice([", ".join(texts), ", ".join(texts), " ".join(texts), ", ".join(texts[:-1]) + " and " + texts[-1]])
    return rng.choice(DOWN_FRAMES if down else UP_FRAMES).format(l=shown)


def turn_list(rng, state):
    while True:
        numbers = random_list(rng)
        if not held_out("list", *numbers):
            break
    down = rng.random() < 0.3
    return casual(rng, list_question(rng, numbers, down)), list_answer(numbers, down)


# ---- memory -------------------------------------------------------------------------------------------------

NAME_GIVEN = ["my name is {n}", "i am {n}", "call me {n}", "i'm {n}", "hi, my name is {n}", "hello, i am {n}",
              "hello! my name is {n}", "you can call me {n}", "the name is {n}", "hi, i'm {n}", "my name's {n}",
              "hey, i am {n}", "people call me {n}"]
NAME_ASKED = ["what is my name?", "what's my name?", "do you remember my name?", "who am i?", "what am i called?",
              "tell me my name", "do you know my name?", "can you tell me my name?", "say my name",
              "remember my name?", "what did i say my name was?"]
NO_NAME = "You have not told me your name yet."
LIKE_GIVEN = ["my favourite {t} is {v}", "my favorite {t} is {v}", "the {t} i like best is {v}",
              "i have a favourite {t}: {v}", "remember that my favourite {t} is {v}", "my favourite {t}? {v}",
              "please remember: my favourite {t} is {v}"]
LIKE_ASKED = ["what is my favourite {t}?", "what's my favourite {t}?", "what is my favorite {t}?",
              "do you remember my favourite {t}?", "which {t} do i like best?", "tell me my favourite {t}",
              "what {t} do i like best?", "do you know my favourite {t}?", "what's my favorite {t}?",
              "which {t} is my favourite?", "what was my favourite {t}?"]


def name_greeting(name):
    return f"Nice to meet you, {name}!"


def name_answer(name):
    return f"Your name is {name}."


def like_noted(thing, value):
    return f"I will remember that your favourite {thing} is {value}."


def like_answer(thing, value):
    return f"Your favourite {thing} is {value}."


def no_like(thing):
    return f"You have not told me your favourite {thing} yet."


def any_name(rng, state):
    """A name that is not held out; half of them are invented, so that names are copied and not known."""
    while True:
        name = rng.choice(k.NAMES) if rng.random() < 0.4 else any_word(rng, state, 2, 9).capitalize()
        if held_out("name", name.lower()):
            continue
        roll = rng.random()
        return name.lower() if roll < 0.12 else name + " " + rng.choice(k.NAMES) if roll < 0.16 and not held_out("name", name) else name


def any_value(rng, state, thing):
    """A favourite that is not held out."""
    while True:
        roll = rng.random()
        value = rng.choice(k.FAVOURITES[thing]) if roll < 0.5 else any_word(rng, state)
        if roll > 0.9:
            value = value + " " + any_word(rng, state)
        if rng.random() < 0.1:
            value = value.capitalize()
        if not held_out("like", value.lower()):
            return value


def spoken(rng, text):
    """casual, but the end stays clean so that what is to be copied is not touched."""
    text = text[0].upper() + text[1:] if rng.random() < 0.6 else text
    return text + rng.choice(["", "", ".", ".", "!"])


def turn_name_given(rng, state):
    state["name"] = any_name(rng, state)
    frame = rng.choice(NAME_GIVEN)
    if rng.random() < 0.08:
        frame = "actually, " + frame
    return spoken(rng, frame.format(n=state["name"])), name_greeting(state["name"])


def turn_name_asked(rng, state):
    return casual(rng, rng.choice(NAME_ASKED)), name_answer(state["name"]) if state["name"] else NO_NAME


def turn_like_given(rng, state):
    thing = rng.choice(list(k.FAVOURITES))
    value = any_value(rng, state, thing)
    state["likes"][thing] = value
    return spoken(rng, rng.choice(LIKE_GIVEN).format(t=thing, v=value)), like_noted(thing, value)


def turn_like_asked(rng, state):
    likes = state["likes"]
    known = likes and rng.random() < 0.85
    thing = rng.choice(list(likes if known else k.FAVOURITES))
    answer = like_answer(thing, likes[thing]) if thing in likes else no_like(thing)
    return casual(rng, rng.choice(LIKE_ASKED).format(t=thing)), answer


def turn_memory(rng, state):
    """Something told, or something asked; what was told is asked more often."""
    told = [turn_name_given] * (not state["name"] or rng.random() < 0.1) + [turn_like_given] * (len(state["likes"]) < 4)
    asked = [turn_name_asked] * (2 if state["name"] else rng.random() < 0.25)
    asked += [turn_like_asked] * (4 if state["likes"] else rng.random() < 0.2)
    return rng.choice(told + asked or [turn_like_asked])(rng, state)


# ---- known by heart -----------------------------------------------------------------------------------------

def capital_turns(held):
    """(frame, make answer) for both directions; `held` picks the held-out phrasings instead of the others."""
    part = slice(-1, None) if held else slice(0, -1)
    return ([(f, lambda c, t: f"The capital of {c} is {t}.") for f in k.CAPITAL_FRAMES[part]],
            [(f, lambda c, t: f"{t} is the capital of {c}.") for f in k.COUNTRY_FRAMES[part]])


CAPITAL_TURNS, COUNTRY_TURNS = capital_turns(False)


def turn_capital(rng, state):
    country, city = rng.choice(list(k.CAPITALS.items()))
    frame, answer = rng.choice(CAPITAL_TURNS if rng.random() < 0.7 else COUNTRY_TURNS)
    question = casual(rng, frame.format(c=country, k=city))
    return question.lower() if rng.random() < 0.3 else question, answer(country, city)


def turn_pumice(rng, state):
    index = rng.randrange(len(k.HOW) + len(k.WHAT))
    if index < len(k.HOW):
        answer, phrases = k.HOW[index]
        question = rng.choice(k.HOW_FRAMES).format(rng.choice(phrases[:-1]))
        if rng.random() < 0.06:
            question = rng.choice(phrases[:-1])
    else:
        answer, questions = k.WHAT[index - len(k.HOW)]
        question = rng.choice(questions[:-1])
    return casual(rng, question), answer


def turn_talk(rng, state):
    answer, openings = rng.choice(k.TALK)
    opening = rng.choice(openings[:-1])
    if opening.isascii():
        opening = casual(rng, opening) if rng.random() < 0.8 else opening.upper()
    return opening, answer


# ---- stories ------------------------------------------------------------------------------------------------

STORY_FRAMES = ["tell me a story", "tell me a short story", "can you tell me a story?", "a story", "i want to hear a story",
                "please tell me a story", "write a short story", "do you know a story?"]
STORY_ABOUT = ["tell me a story about a {x}", "a story about a {x}", "tell me a short story about a {x}",
               "write a story about a {x}", "can you tell a story about a {x}?", "tell a story about a {x}"]
HEROES = "fox owl bear cat rabbit mouse dragon robot turtle dog".split()
STORY_PLACES = ["by the sea", "in a quiet forest", "on a small island", "near an old mill", "under a green hill", "in a sleepy town"]
STORY_FINDS = ["a stone that could float", "a lost letter", "a small silver key", "a map with no names", "a lantern that still glowed"]
STORY_DEEDS = ["carried it home and showed it to everyone", "asked the wise old heron what it meant",
               "put it in the river and followed it", "kept it safe until its owner came"]
STORY_ENDS = ["From that day on they were friends, and nobody was lonely again.",
              "That night the stars seemed nearer than before, and all was well.",
              "And if you listen to the wind, it still tells of that day."]


def story(rng, hero):
    return (f"Once upon a time there was a little {hero} who lived {rng.choice(STORY_PLACES)}. One morning the {hero} found "
            f"{rng.choice(STORY_FINDS)}. The {hero} {rng.choice(STORY_DEEDS)}. {rng.choice(STORY_ENDS)}")


def turn_story(rng, state):
    if rng.random() < 0.4:
        return casual(rng, rng.choice(STORY_FRAMES[:-1])), story(rng, rng.choice(HEROES))
    hero = rng.choice(HEROES) if rng.random() < 0.3 else any_word(rng, state)
    return casual(rng, rng.choice(STORY_ABOUT[:-1]).format(x=hero)), story(rng, hero)


# ---- everything else ----------------------------------------------------------------------------------------

UNKNOWN_FRAMES = [
    "who wrote {X}?", "when was {X} born?", "how tall is the {w}?", "what is the weather in {X}?", "who won the {w} race?",
    "translate {w} into {X}", "what is the meaning of {w}?", "how far is {X}?", "what does {w} mean?", "define {w}",
    "write a poem about {w}", "give me a recipe for {w}", "how do i cook {w}?", "why is the {w} {w2}?", "how old is {X}?",
    "what colour is a {w}?", "who is {X}?", "where is {X}?", "how many {w}s are there?", "what time is it?", "what day is it today?",
    "who is the president of {X}?", "what is a {w}?", "tell me a joke about {w}", "how does a {w} work?", "when did {X} end?",
    "who invented the {w}?", "what is the population of {X}?", "do you like {w}?", "can you drive a {w}?", "what is the price of {w}?",
    "which {w} is the best?", "write a program that prints {w}", "what is the square root of {n}?", "is {n} a prime number?",
    "how do i fix my {w}?", "play {w} for me", "what is the {w} of {X}?", "which language do they speak in {X}?", "sing a song",
    "tell me a joke", "what happened in 19{n}?", "who discovered {w}?", "why do {w}s {w2}?", "where do {w}s live?", "what do {w}s eat?",
    "how heavy is a {w}?", "recommend a {w}", "what should i eat?", "who painted {X}?", "when does the {w} open?", "are you alive?",
    "what is the capital of {X}?", "capital of {X}?", "{X} is the capital of which country?", "how much is a {w}?", "{w} {w2}", "{w}",
    "what is the fastest {w}?", "what is {X}?", "tell me about {X}", "how many people live in {X}?", "should i buy a {w}?",
    "what is the best {w} in {X}?", "explain {w} to me", "tell me about the {w}", "what do you think of {X}?", "who is your {w}?",
    "how long does a {w} live?", "what is the {w} made of?", "why is {w} so {w2}?", "can a {w} swim?", "can you {w} a {w2}?",
    "how do i {w} a {w2}?", "summarise {X}", "what is the news from {X}?", "is {X} larger than {Y}?", "what sound does a {w} make?",
]
TIMES_FRAMES = ["{a} * {b}", "{a} times {b}", "what is {a} times {b}?", "multiply {a} by {b}", "what is {a} * {b}?", "{a} / {b}",
                "divide {a} by {b}", "what is {a} divided by {b}?", "what is {a} x {b}?", "how much is {a} times {b}?"]


def unknown_question(rng, state, frame):
    words = [any_word(rng, state) for _ in range(4)]
    return frame.format(w=words[0], w2=words[1], X=words[2].capitalize(), Y=words[3].capitalize(), n=rng.randrange(10, 100))


def turn_unknown(rng, state):
    roll = rng.random()
    if roll < 0.1:
        return casual(rng, rng.choice(TIMES_FRAMES).format(a=rng.randrange(100), b=rng.randrange(100))), ONLY_SUMS
    if roll < 0.2:
        large, other = rng.randrange(100, 10000), rng.choice([rng.randrange(100), rng.randrange(100, 10000)])
        a, b = rng.sample([large, other], 2)
        return casual(rng, rng.choice(ADD_FRAMES + SUB_FRAMES).format(a=a, b=b)), TOO_LARGE
    return casual(rng, unknown_question(rng, state, rng.choice(UNKNOWN_FRAMES[:-4]))), DONT_KNOW


# ---- conversations ------------------------------------------------------------------------------------------

SKILLS = {"sum": (turn_sum, 28), "spell": (turn_spell, 14), "reverse": (turn_reverse, 8), "list": (turn_list, 12),
          "memory": (turn_memory, 15), "capital": (turn_capital, 3), "pumice": (turn_pumice, 8), "talk": (turn_talk, 2),
          "story": (turn_story, 1), "unknown": (turn_unknown, 3)}


def conversation(rng, weights, pieces=()):
    """One conversation of 1 to 10 turns as [(role, text)]."""
    state = {"name": None, "likes": {}, "pieces": pieces}
    messages = [("system", rng.choice(SYSTEM_PROMPTS))] if rng.random() < 0.4 else []
    names = list(weights)
    for _ in range(rng.choice([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 5, 6, 10])):
        name = rng.choices(names, [weights[n] for n in names])[0]
        question, answer = SKILLS[name][0](rng, state)
        messages += [("user", question), ("assistant", answer)]
    return messages


def default_weights(changes=""):
    """The weight of each skill, with changes such as 'sum=30,list=20'."""
    weights = {name: weight for name, (_, weight) in SKILLS.items()}
    for change in filter(None, changes.split(",")):
        name, value = change.split("=")
        if name not in weights:
            raise SystemExit(f"no skill '{name}'; there are: {', '.join(weights)}")
        weights[name] = float(value)
    return weights


def chatml(messages):
    """The text of a conversation."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages)


def plain(text):
    """Without the marks for single letters."""
    return text.replace(LETTERS, "").replace(END, "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="conversations")
    parser.add_argument("--weights", default="", help="changed weights, for example sum=30,list=20")
    args = parser.parse_args()
    rng, weights = random.Random(args.seed), default_weights(args.weights)
    for _ in range(args.count):
        sys.stdout.write(plain(chatml(conversation(rng, weights))) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""make_splits.py: writes splits.h, how the expressions of pre-tokenizers divide texts according to
Hugging Face's tokenizers (pip install tokenizers), with which the models were trained.

Expressions stand here as tokenizer.json files have them. runtime/text/pretokenizers.def has some in
another form, which takes linear time: this is where both are compared."""
import os
import re

from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

HERE = os.path.dirname(os.path.abspath(__file__))

TEXTS = [
    "Hello, World! I'm HERE; you'LL see 'S, 'tis O\u2019Neil's we've they'RE he\u017fi'\u017f don't.",
    "HTTPServer's camelCaseWord getURLs ABCdefGHI \u01c5ungla \u02b0aspirated XMLs'D",
    "1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890 1,234.5678 x1234y 1234abc 12\u00b2345 \u00bd\u00bc",
    "\u0661\u0662\u0663\u0664\u0665 \u0967\u0968\u0969\u096a \u2160\u2161\u2162 \u3007\u4e00\u4e8c",
    "  two  leading   and trailing \u0020 ",
    "tab\tone\t\ttwo \t mixed \r\n\r\n lines \n\n\n end\n",
    "\n \n\n \n  x\n   \n\t\ty \r z\r\n",
    "a\u00a0b\u3000c\u2003d\u180ee\u0085f\u200bg\u2028h\u202fi\u1680j",
    "if (a<=b) { return $x^2 + ~y | `z` \\ @q #r & *s; } // done/and/\n/* more */\n",
    "...!!!???\n\n---===+++ << >> ^^ || ~~ `` $$ %%&& path/to/file.txt:/ /\n/",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6f22\u5b57\u304b\u306a\u30ab\u30ca\u3005\u3005 \u3042\u3044\u3046123\u3002\u300c\u5f15\u7528\u300d\uff01\uff1f\u2026\u2026",
    "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8\u3131\u3134 \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u1797\u17b6\u179f\u17b6\u1781\u17d2\u1798\u17c2\u179a \u1019\u103c\u1014\u103a\u1019\u102c",
    "\u09ac\u09be\u0982\u09b2\u09be \u09ad\u09be\u09b7\u09be\u0964 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629\u060c \u0646\u0635\u06d4 \u0646\u064e\u0635\u0651",
    "\U0001f999\U0001f636\u200d\U0001f32b\ufe0f ok \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\U0001f44d\U0001f3fd!",
    "e\u0301te\u0301 \u0301alone A\u030aB\u0308c \u1e9e\u00df\u0130\u0131 na\u00efve caf\u00e9 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u041f\u0440\u0438\u0432\u0435\u0442 \u0531\u0580\u0574",
    "\x01\x02ctl\x7f \ufffd\ue000\u0378 \u20ac\u00a3\u00a5 \u2200x\u2208\u211d \u00ab\u00bb \u2014 \u2013 \u2018q\u2019 \u201cd\u201d",
    "<sentinel:42>IMGIMGABZ IMGIMGABCDEZ    four  two\tx <|im_start|>user <unk>[MASK]",
    "\u3105\u3106 \uff21\uff22\uff43 \ufb01 \U00010400\U00010428 \u1c90\u10d0 \uf900\u8c48 \ufaff \u2f00 \uff76\uff85 \u1100\u1161 \uaa60\ua9e0",
    "x = 'single quotes' and \"double\"'s 'd 'm 't 'll 've 're '' ' s",
    "a'tisb x'sy,'llama don'Tell we'Review O'd'm it's'll",
    "one two three a b c I i. e. g. \u00e9 \u00e8 word1word word 1word 12word word12 1 2 3",
    " "*1100+"x"+" "*700+"1"+" "*517, "1"*35+" "+"9"*31+"."+"7"*30,
]


def cased_letters():
    """The one class that is too long to stand twice."""
    with open(os.path.join(HERE, "../runtime/text/pretokenizers.def"), encoding="utf-8") as file:
        rows = file.read()
    start = rows.index('"\\\\s?[A-Za-z\\\\x{b5}')
    parts = re.findall(r'"((?:[^"\\]|\\.)*)"', rows[start : rows.index(']+"', start) + 3])
    return re.sub(r"\\+x\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), "".join(parts)).replace(
        "\\\\", "\\")


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
BLOOM = r" ?[^(\s|.,!?" + "\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c" + ")]+"
PUNCTUATED = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
MARKED = PUNCTUATED + r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
THREES = r"(?=(?:%s{3})*%s)"


def tiktoken(digits):
    return (CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits +
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS)


def cased(suffix, rest=""):
    capitals, small = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}" + rest, r"\p{Ll}\p{Lm}\p{Lo}\p{M}" + rest
    first = r"[^\r\n\p{L}\p{N}]?"
    return f"{first}[{capitals}]*[{small}]+{suffix}|{first}[{capitals}]+[{small}]*{suffix}|"


def o200k(digits):
    return cased(CONTRACTION + "?") + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS


ROWS = {
    "default": [r"[\p{P}$+<=>^~|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "starcoder": [r"\p{N}", GPT2],
    "llama-bpe": [tiktoken(r"\p{N}{1,3}")],
    "qwen2": [tiktoken(r"\p{N}")],
    "laguna": [r"[^\n]+|[\n]+", tiktoken(r"\p{N}")],
    "minicpm5": [r"\p{N}{1,3}", tiktoken(r"\p{N}+")],
    "ufakzeka": [r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS],
    "qwen35": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" +
               BLANKS],
    "seed-coder": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|" + BLANKS],
    "bailingmoe": [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
                   r"|\s*[\r\n]|\s+(?!\S)|\s+"],
    "jais-2": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|" +
               "".join(r"\s{%d}(?!\S)|" % 2**i for i in range(9, 1, -1)) + r"\s{1,2}(?!\S)|\s{1}"],
    "exaone-moe": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
                   r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "gpt-4o": [o200k(r"\p{N}{1,3}")],
    "tiny_aya": [r"\d{1,3}" + THREES % (r"\d", r"\b"), o200k(r"\p{N}{1,3}")],
    "tekken": [cased("") + r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS],
    "youtu": ["[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c"
              "\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + CJK, o200k(r"\p{N}")],
    "kimi-k2": [r"[\p{Han}]+|" + cased(CONTRACTION + "?", r"&&[^\p{Han}]") +
                r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS],
    "deepseek-v3": [r"\p{N}{1,3}", CJK, MARKED + r"[\r\n]*|" + BLANKS],
    "spark2_5": [r"\p{N}{1,3}", CJK, MARKED + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"],
    "afmoe": [r"\p{N}{1,3}" + THREES % (r"\p{N}", r"(?!\p{N})"),
              "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f"
              "\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f"
              "\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+", MARKED + r"[\r\n]*|" + BLANKS],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "deepseek-llm": [r"[\r\n]", cased_letters(),
                     "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$",
                     "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}+"],
    "deepseek-coder": [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+",
                       "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
    "falcon": [r"[\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "chameleon": ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )",
                  r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "gemma4": [r"[^\n]+|[\n]+"],
}


def split(expressions, text):
    parts = Sequence([Split(Regex(e), "isolated") for e in expressions]).pre_tokenize_str(text)
    words = [word.encode() for word, _ in parts]
    assert b"".join(words) == text.encode()
    return words


def hash_of(words):
    """FNV-1a of the words' lengths, 32 bits each."""
    out = 0xCBF29CE484222325
    for byte in b"".join(len(word).to_bytes(4, "little") for word in words):
        out = (out ^ byte) * 0x100000001B3 % 2**64
    return out


def c_text(text):
    """UTF-8 and controls in octal, which no digit after them can make longer."""
    plain = [chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()]
    lines = [""]
    for letter in plain:
        if len(lines[-1]) + len(letter) > 90:
            lines.append("")
        lines[-1] += letter
    return "\n".join(f'    "{line}"' for line in lines)


def main():
    out = ["/* splits.h: made by make_splits.py. */", "#ifndef PM_TESTS_SPLITS_H",
           "#define PM_TESTS_SPLITS_H", "", "#include <stddef.h>", "#include <stdint.h>", "",
           "/* clang-format off */", "static const char *const split_texts[] = {"]
    out += [c_text(text) + "," for text in TEXTS]
    out += ["};", "", "/* Words of all texts, FNV-1a of their lengths in bytes (32 bits each). */",
            "static const struct {", "    const char *name;", "    size_t n;", "    uint64_t hash;",
            "} splits[] = {"]
    for name, expressions in ROWS.items():
        words = [word for text in TEXTS for word in split(expressions, text)]
        out.append(f'    {{"{name}", {len(words)}, 0x{hash_of(words):016x}}},')
    out += ["};", "/* clang-format on */", "", "#endif", ""]
    with open(os.path.join(HERE, "splits.h"), "w", encoding="ascii") as file:
        file.write("\n".join(out))


if __name__ == "__main__":
    main()

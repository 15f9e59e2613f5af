#!/usr/bin/env python3
# ctest: model
"""Hugging Face folders: those made elsewhere give the bits of their GGUF files; models of many
architectures, turned into folders here by the inverse of what pumice does, become what they were.
"""
import json
import os
import re
import struct

from cli import BAD_FILE, OK, SHARED, Skip, TEMPORARY, check, main, on_cpu, pumice
from gguf_file import read, write_safetensors

REAL = os.path.join(SHARED, "models", "real")
ARCH = os.path.join(SHARED, "reference", "arch")
HASH = re.compile(r"#([0-9a-f]{8})$", re.M)


def need(path):
    if not os.path.exists(path):
        raise Skip(f"{path} is not there")
    return path


def scratch(name):
    return os.path.join(TEMPORARY.name, name)


def last_hash(model):
    result = on_cpu(
        "run", "--raw", "-p", "Once upon a time", "-n", "20", "--temp", "0", model=model
    )
    check(result.code == OK, model, result)
    return HASH.search(result.err).group(1)


# ---- folders made elsewhere ----------------------------------------------------------------------


def test_real_folders():
    for name in ("stories260K", "babyllama-tok105"):
        folder = need(os.path.join(REAL, name + "-hf"))
        model = need(os.path.join(REAL, name + "-f32.gguf"))
        out = scratch(name + ".gguf")
        result = pumice("convert", folder, out)
        check(result.code == OK and not result.out, "convert", result)
        check(last_hash(folder) == last_hash(model) == last_hash(out), f"{name}: the same bits")
        keys, tensors = read(model)
        converted, converted_tensors = read(out)
        for key, value in keys.items():
            if key not in ("general.name", "general.alignment"):
                check(converted.get(key) == value, f"{name}: {key}")
        check(set(tensors) == set(converted_tensors), f"{name}: tensors")
        for key, tensor in tensors.items():
            other = converted_tensors[key]
            check(tensor.shape == other.shape and tensor.data == other.data, f"{name}: {key}")


def test_types():
    folder, out = need(os.path.join(REAL, "stories260K-hf")), scratch("typed.gguf")
    f16 = need(os.path.join(REAL, "stories260K-f16.gguf"))
    check(pumice("convert", "--outtype", "f16", folder, out).code == OK, "f16")
    check(last_hash(out) == last_hash(f16), "f16 is what another converter made of it")
    result = pumice("convert", folder, out)
    check(result.code != OK and "--force" in result.err, "never over another file", result)
    for kind in ("bf16", "q8_0", "F32"):
        check(pumice("convert", "--force", "--outtype", kind, folder, out).code == OK, kind)
        shown = pumice("info", "-m", out).out.decode()
        check(re.search(rf"^type {kind.upper()} ", shown, re.M), f"{kind}: {shown}")
    result = pumice("convert", "--force", "--outtype", "q4_0", folder, out)
    check(result.code == 2 and "quantize" in result.err, "q4_0", result)
    result = pumice("info", "-m", os.path.join(folder, "config.json"))
    check(result.code == BAD_FILE and "give the folder" in result.err, "a file of it", result)


def test_templates():
    folder, _, _ = folder_of("qwen2")
    named = [
        {"name": "default", "template": "{{ 'D' }}"},
        {"name": "tool_use", "template": "{{ 'T' }}"},
    ]
    write_json(folder, "tokenizer_config.json", {"chat_template": named})

    def templates():
        keys = json.loads(pumice("info", "--json", "-m", folder).out)["keys"]
        prefix = "tokenizer.chat_template"
        return {key[len(prefix) :]: text for key, text in keys.items() if key.startswith(prefix)}

    check(templates() == {"": "\"{{ 'D' }}\"", ".tool_use": "\"{{ 'T' }}\""}, templates())
    path = os.path.join(folder, "chat_template.jinja")
    with open(path, "w", encoding="utf-8") as file:
        file.write("{{ 'F' }}")
    check(templates() == {"": "\"{{ 'F' }}\"", ".tool_use": "\"{{ 'T' }}\""}, templates())
    os.remove(path)
    write_json(folder, "tokenizer_config.json", {"chat_template": named[1:] * 2})
    result = pumice("info", "-m", folder)
    check(result.code == BAD_FILE and "is there twice" in result.err, "two of a name", result)


def test_info():
    def shown(*parts):
        model = need(os.path.join(SHARED, *parts))
        result = pumice("info", "--json", "-m", model)
        check(result.code == OK, model, result)
        return json.loads(result.out)

    folder = shown("models", "real", "stories260K-hf")
    check(folder["usable"] and folder["container"] == "Hugging Face folder", folder["why"])
    check(folder["version"] == 0 and folder["n_file"] == 1, "no version of GGUF")
    for name, word in (
        ("gguf-model-head-count-7.gguf", "llama.attention.head_count"),
        ("gguf-model-bos-out-of-range.gguf", "tokenizer.ggml.bos_token_id"),
        ("gguf-model-embd-65-shape-mismatch.gguf", "llama.embedding_length, 65"),
    ):
        damaged = shown("models", "malformed", name)
        check(not damaged["usable"] and word in damaged["why"], f"{name}: {damaged['why']}")
    bare = shown("models", "vocab", "ggml-vocab-gpt-2.gguf")
    check("only a vocabulary" in bare["why"] and bare["n_vocab"] > 50000, bare["why"])
    text = pumice("info", "-m", os.path.join(SHARED, "models", "real", "stories260K-f16.gguf"))
    check(re.search(rb"^can be used +yes$", text.out, re.M), "in words", text)


# ---- folders made here ---------------------------------------------------------------------------

USUAL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm": "model.norm",
    "output.weight": "lm_head.weight",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
}
SANDWICH = {
    **USUAL,
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
EXPERTS = {
    "ffn_gate_exps": "mlp.experts.@.gate_proj",
    "ffn_up_exps": "mlp.experts.@.up_proj",
    "ffn_down_exps": "mlp.experts.@.down_proj",
}
MIXTRAL = {
    **USUAL,
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.@.w1",
    "ffn_down_exps": "block_sparse_moe.experts.@.w2",
    "ffn_up_exps": "block_sparse_moe.experts.@.w3",
}
FUSED = {**USUAL, "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
SHARED_EXPERT = {
    **USUAL,
    **EXPERTS,
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
}
FC = {**USUAL, "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
PHI2 = {
    **USUAL,
    "output_norm": "model.final_layernorm",
    "output.weight": "lm_head.weight",
    "output.bias": "lm_head.bias",
    "attn_output": "self_attn.dense",
    "ffn_up": "mlp.fc1",
    "ffn_down": "mlp.fc2",
}
GLM4 = {
    **SANDWICH,
    "ffn_norm": "post_attention_layernorm",
    "post_attention_norm": "post_self_attn_layernorm",
    "post_ffw_norm": "post_mlp_layernorm",
    "ffn_up": "mlp.gate_up_proj",
}
HUNYUAN = {
    **USUAL,
    "attn_q_norm": "self_attn.query_layernorm",
    "attn_k_norm": "self_attn.key_layernorm",
}
GPT2 = {
    "token_embd.weight": "transformer.wte.weight",
    "position_embd.weight": "transformer.wpe.weight",
    "output_norm": "transformer.ln_f",
    "attn_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
TURNED = {"llama", "granite", "smollm3"}
# instance: (model_type, names, more of config.json)
INSTANCES = {
    "llama-mha": ("llama", USUAL, {}),
    "llama-linear": ("llama", USUAL, {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama-tied-bias": ("llama", USUAL, {"mlp_bias": True, "attention_bias": True}),
    "llama-moe": ("mixtral", MIXTRAL, {}),
    "qwen2": ("qwen2", USUAL, {"use_sliding_window": False, "sliding_window": 64}),
    "qwen2moe": ("qwen2_moe", SHARED_EXPERT, {"norm_topk_prob": False, "mlp_only_layers": []}),
    "qwen3": ("qwen3", USUAL, {}),
    "qwen3moe": ("qwen3_moe", {**USUAL, **EXPERTS}, {"norm_topk_prob": True}),
    "gemma": ("gemma", USUAL, {"hidden_act": "gelu_pytorch_tanh"}),
    "gemma2": (
        "gemma2",
        SANDWICH,
        {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16},
    ),
    "gemma3": (
        "gemma3_text",
        SANDWICH,
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "rope_local_base_freq": 5000.0,
            "layer_types": (["sliding_attention"] * 5 + ["full_attention"]),
        },
    ),
    "phi2": ("phi", PHI2, {"hidden_act": "gelu_new", "partial_rotary_factor": 0.5}),
    "phi3": ("phi3", FUSED, {}),
    "phi3-longrope-long": (
        "phi3",
        FUSED,
        {
            "original_max_position_embeddings": 64,
            "rope_scaling": {"type": "longrope", "attention_factor": 1.19},
        },
    ),
    "olmo2": ("olmo2", SANDWICH, {}),
    "olmo3": (
        "olmo3",
        SANDWICH,
        {
            "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 256,
            },
        },
    ),
    "olmoe": ("olmoe", {**USUAL, **EXPERTS}, {"norm_topk_prob": False}),
    "granite": ("granite", USUAL, {}),
    "smollm3": ("smollm3", USUAL, {"no_rope_layers": [1, 1, 1, 0]}),
    "stablelm": ("stablelm", USUAL, {"partial_rotary_factor": 0.25}),
    "starcoder2": ("starcoder2", FC, {"hidden_act": "gelu_pytorch_tanh"}),
    "command-r": ("cohere", USUAL, {}),
    "cohere2": ("cohere2", USUAL, {"sliding_window_pattern": 4}),
    "glm4": ("glm4", GLM4, {"partial_rotary_factor": 0.5}),
    "exaone4": ("exaone4", SANDWICH, {"sliding_window": None}),
    "seed_oss": ("seed_oss", SANDWICH, {}),
    "hunyuan-dense": (
        "hunyuan_v1_dense",
        HUNYUAN,
        {
            "rope_theta": 10000.0,
            "rope_scaling": {"type": "dynamic", "alpha": 1115.884 ** (14 / 16)},
        },
    ),
    "ernie4_5": ("ernie4_5", USUAL, {}),
    "gpt2": ("gpt2", GPT2, {"hidden_act": None, "activation_function": "gelu_new"}),
}
CONFIG = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "attention.scale": "attention_multiplier",
    "logit_scale": "logit_scale",
}
OTHER_NAMES = {
    "mixtral": {"num_experts": "num_local_experts"},
    "granite": {"logit_scale": "logits_scaling"},
    "starcoder2": {"layer_norm_eps": "norm_epsilon"},
    "gpt2": {
        "max_position_embeddings": "n_positions",
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "layer_norm_eps": "layer_norm_epsilon",
    },
}
# Keys that say what is so without them.
IMPLIED = {"rope.scaling.type": b"none", "use_parallel_residual": False}
DIGITS = {"type": "Digits", "individual_digits": True}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
BARE = {**BYTES, "use_regex": False}


def split(expression):
    return {
        "type": "Split",
        "pattern": {"Regex": expression},
        "behavior": "Isolated",
        "invert": False,
    }


def tiktoken(digits):
    return [
        split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
            + digits
            + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        BARE,
    ]


SEED = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
MARKED = [
    split(r"\p{N}{1,3}"),
    split("[一-龥\u3040-ゟ゠-ヿ]+"),
    split(
        r"[!"
        + '"'
        + r"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
        r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    BARE,
]
# tokenizer.ggml.pre: parts of pre_tokenizer, ignore_merges, the name it comes back as
PRE = {
    b"gpt-2": ([BYTES], False, b"gpt-2"),
    b"exaone4": ([BYTES], False, b"gpt-2"),
    b"qwen2": (tiktoken(r"\p{N}"), False, b"qwen2"),
    b"stablelm2": (tiktoken(r"\p{N}"), False, b"qwen2"),
    b"llama-bpe": (tiktoken(r"\p{N}{1,3}"), True, b"llama-bpe"),
    b"dbrx": (tiktoken(r"\p{N}{1,3}"), False, b"dbrx"),
    b"glm4": (tiktoken(r"\p{N}{1,3}"), False, b"dbrx"),
    b"starcoder": ([DIGITS, BYTES], False, b"starcoder"),
    b"command-r": ([DIGITS, BYTES], False, b"starcoder"),
    b"seed-coder": ([split(SEED), BARE], False, b"seed-coder"),
    b"hunyuan-dense": (MARKED, False, b"deepseek-v3"),
}


def config_of(keys, arch, model_type, more):
    config = {"model_type": model_type, "architectures": ["X"], "hidden_act": "silu"}
    names = OTHER_NAMES.get(model_type, {})
    for suffix, name in CONFIG.items():
        if f"{arch}.{suffix}" in keys:
            config[names.get(name, name)] = keys[f"{arch}.{suffix}"]
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        key = f"tokenizer.ggml.{name.replace('pad_', 'padding_')}"
        if key in keys:
            config[name] = keys[key]
    return {**config, **more}


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def write_spm(path, keys):
    """A SentencePiece model with the pieces of a GGUF file."""
    out = b""
    triples = zip(*(keys[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type")))
    for text, score, kind in triples:
        piece = b"\x0a" + varint(len(text)) + text + b"\x15" + struct.pack("<f", score)
        piece += b"\x18" + varint(kind) if kind != 1 else b""
        out += b"\x0a" + varint(len(piece)) + piece
    trainer = b"\x18\x02" + b"".join(
        varint(field << 3) + varint(keys[f"tokenizer.ggml.{name}_token_id"])
        for field, name in ((40, "unknown"), (41, "bos"), (42, "eos"))
    )
    prefix = keys.get("tokenizer.ggml.add_space_prefix", True)
    out += b"\x12" + varint(len(trainer)) + trainer + b"\x1a\x02\x18" + bytes([prefix])
    with open(path, "wb") as file:
        file.write(out)


def write_bpe(path, keys):
    tokens = [text.decode() for text in keys["tokenizer.ggml.tokens"]]
    kinds = keys["tokenizer.ggml.token_type"]
    parts, ignore_merges, _ = PRE[keys["tokenizer.ggml.pre"]]
    merges = [merge.decode() for merge in keys["tokenizer.ggml.merges"]]
    document = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": text, "special": kinds[i] == 3}
            for i, text in enumerate(tokens)
            if kinds[i] in (3, 4)
        ],
        "normalizer": {"type": "NFC"} if len(parts) == 2 else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}
        if len(parts) > 1
        else parts[0],
        "post_processor": {"type": "ByteLevel"},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "ignore_merges": ignore_merges,
            "vocab": {text: i for i, text in enumerate(tokens) if kinds[i] == 1},
            "merges": [merge.split(" ") for merge in merges] if len(parts) == 2 else merges,
        },
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=len(parts) == 1)


def to_halves(rows, n_head):
    """Rows of a head as Hugging Face has them: all even ones of the pairs, then all odd ones."""
    size = len(rows) // n_head
    out = []
    for head in range(n_head):
        of_head = rows[head * size : (head + 1) * size]
        out += of_head[0::2] + of_head[1::2]
    return out


def less_one(data):
    n = len(data) // 4
    values = [x - 1.0 for x in struct.unpack(f"<{n}f", data)]
    return struct.pack(f"<{n}f", *values)


def name_of(names, name):
    if name in names:
        return names[name]
    block = re.match(r"blk\.(\d+)\.(.*)\.(weight|bias)$", name)
    layer = "transformer.h" if names is GPT2 else "model.layers"
    if block:
        return f"{layer}.{block[1]}.{names[block[2]]}.{block[3]}"
    base, kind = name.rsplit(".", 1)
    return f"{names[base]}.{kind}"


def turn_back(tensor, name, keys, arch, model_type):
    """The bytes as Hugging Face keeps them."""
    data, shape = tensor.data, tuple(reversed(tensor.shape))
    turn = re.search(r"\.attn_([qk])\.", name)
    if turn and arch in TURNED:
        heads = "head_count" if turn[1] == "q" else "head_count_kv"
        n_head = keys[f"{arch}.attention.{heads}"]
        rows = (
            tensor.rows() if len(shape) == 2 else [data[i : i + 4] for i in range(0, len(data), 4)]
        )
        data = b"".join(to_halves(rows, n_head))
    if model_type.startswith("gemma") and name.endswith("norm.weight"):
        data = less_one(data)
    if model_type == "gpt2" and len(shape) == 2 and name.startswith("blk."):
        rows = [[row[i : i + 4] for i in range(0, len(row), 4)] for row in tensor.rows()]
        data, shape = b"".join(b"".join(column) for column in zip(*rows)), shape[::-1]
    return data, [1, *shape] if name.endswith("inp_shexp.weight") else shape


def folder_of(instance):
    """Writes the folder; gives its path, and keys and tensors of the GGUF file."""
    keys, tensors = read(need(os.path.join(ARCH, instance, "model.gguf")))
    tensors.pop("rope_freqs.weight", None)  # any factors; test_llama3_factors has real ones
    model_type, names, more = INSTANCES[instance]
    arch = keys["general.architecture"].decode()
    folder = scratch(instance)
    os.makedirs(folder, exist_ok=True)
    config, files = config_of(keys, arch, model_type, more), ({}, {})
    for name, tensor in tensors.items():
        if name.startswith("rope_factors"):
            values = list(struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data))
            config["rope_scaling"] = dict(config["rope_scaling"])
            config["rope_scaling"][name.split(".")[0][len("rope_factors_") :] + "_factor"] = values
            INSTANCES[instance][2]["rope_scaling"] = config["rope_scaling"]
            continue
        data, shape = turn_back(tensor, name, keys, arch, model_type)
        called = name_of(names, name)
        if "@" in called:
            size = len(data) // shape[0]
            for e in range(shape[0]):
                files[e % 2][called.replace("@", str(e))] = (
                    "F32",
                    shape[1:],
                    data[e * size : (e + 1) * size],
                )
        else:
            files[len(name) % 2][called] = ("F32", shape, data)
    for i, part in enumerate(files):
        write_safetensors(os.path.join(folder, f"model-{i + 1}-of-2.safetensors"), part)
    index = {
        name: f"model-{i + 1}-of-2.safetensors" for i, part in enumerate(files) for name in part
    }
    write_json(folder, "model.safetensors.index.json", {"metadata": {}, "weight_map": index})
    write_json(folder, "config.json", config)
    flags = {
        name: keys[f"tokenizer.ggml.{name}"]
        for name in ("add_bos_token", "add_eos_token")
        if f"tokenizer.ggml.{name}" in keys
    }
    write_json(folder, "tokenizer_config.json", {**flags, "chat_template": "{{ messages }}"})
    if keys["tokenizer.ggml.model"] == b"llama":
        write_spm(os.path.join(folder, "tokenizer.model"), keys)
    else:
        write_bpe(os.path.join(folder, "tokenizer.json"), keys)
    return folder, keys, tensors


def write_json(folder, name, document):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(document, file)


def near(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-6 * abs(a)
    return a == b


def check_keys(instance, keys, found):
    arch = keys["general.architecture"].decode()
    for key, value in keys.items():
        suffix = key.split(".", 1)[1]
        if key.startswith(arch + "."):
            if suffix == "attention.sliding_window_pattern":
                period = found.get(key)
                value, got = value, [i % period < period - 1 for i in range(len(value))]
            elif key not in found and suffix in IMPLIED:
                got = IMPLIED[suffix]
            else:
                got = found.get(key)
        elif key.startswith("tokenizer.ggml.") and key != "tokenizer.ggml.scores":
            got = found.get(key)
            if suffix == "ggml.pre" and keys["tokenizer.ggml.model"] == b"llama":
                continue
            value = PRE[value][2] if suffix == "ggml.pre" else value
        else:
            continue
        check(near(value, got), f"{instance}: {key} is {got}, not {value}")
    check(found["tokenizer.chat_template"] == b"{{ messages }}", f"{instance}: the template")


def check_tensors(instance, tensors, found):
    check(set(tensors) == set(found), f"{instance}: {set(tensors) ^ set(found)}")
    for name, tensor in tensors.items():
        other = found[name]
        same = other.data == tensor.data
        if not same and "norm" in name and "gemma" in instance:
            n = len(tensor.data) // 4
            pairs = zip(struct.unpack(f"<{n}f", tensor.data), struct.unpack(f"<{n}f", other.data))
            same = all(abs(a - b) <= 2e-7 * max(1.0, abs(a)) for a, b in pairs)
        check(
            same and tensor.shape == other.shape, f"{instance}: {name} {tensor.shape} {other.shape}"
        )


def test_families():
    for instance in INSTANCES:
        folder, keys, tensors = folder_of(instance)
        out = scratch(instance + ".gguf")
        result = pumice("convert", "--force", folder, out)
        check(result.code == OK, instance, result)
        found, found_tensors = read(out)
        check_tensors(instance, tensors, found_tensors)
        check_keys(instance, keys, found)


def test_same_bits():
    """Rows that lie apart (turned heads, experts) and transposed ones, where they are used."""
    for instance in ("llama-moe", "qwen3moe", "gpt2"):
        folder, _, _ = folder_of(instance)
        model = os.path.join(ARCH, instance, "model.gguf")
        check(last_hash(folder) == last_hash(model), f"{instance}: the same bits")


def test_llama3_factors():
    """Factors of RoPE that a folder describes and a GGUF file holds, computed here again."""
    folder, keys, _ = folder_of("llama-mha")
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    write_json(folder, "config.json", {**config, "rope_scaling": scaling})
    out = scratch("llama3.gguf")
    result = pumice("convert", "--force", folder, out)
    check(result.code == OK, "llama3", result)
    _, tensors = read(out)
    n = keys["llama.rope.dimension_count"]
    got = struct.unpack(f"<{n // 2}f", tensors["rope_freqs.weight"].data)
    for i in range(n // 2):
        wave = 2 * 3.141592653589793 * 10000.0 ** (2 * i / n)
        smooth = min(1.0, max(0.0, (256 / wave - 1.0) / 3.0))
        want = 1.0 / ((1.0 - smooth) / 8.0 + smooth)
        check(abs(got[i] - want) < 1e-5 * want, f"factor {i}: {got[i]}, not {want}")


def test_gemma3_defaults():
    """config.json of the larger ones leaves out what is as in the class; names have a prefix."""
    folder, _, _ = folder_of("gemma3")
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 64,
        "intermediate_size": 24,
        "num_hidden_layers": 6,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    write_json(folder, "config.json", {"model_type": "gemma3", "text_config": text})
    result = pumice("info", "--json", "-m", folder)
    check(result.code == OK, "gemma3", result)
    keys = json.loads(result.out)["keys"]
    for key, value in (
        ("attention.head_count", "8"),
        ("attention.head_count_kv", "4"),
        ("attention.key_length", "256"),
        ("context_length", "131072"),
        ("rope.freq_base", "1000000"),
    ):
        check(keys.get("gemma3." + key) == value, f"{key}: {keys.get('gemma3.' + key)}")


# ---- what is refused -----------------------------------------------------------------------------


def refused(folder, sentence):
    result = pumice("info", "-m", folder)
    check(result.code == BAD_FILE and sentence in result.err, sentence, result)
    check(result.err.count("\n") == 1, "one sentence", result)


def test_refusals():
    folder, _, _ = folder_of("qwen3")
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    for change, sentence in (
        ({"model_type": "qwen9"}, "model_type 'qwen9' is none"),
        ({"model_type": None}, "model_type '' is none"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quant_method 'fp8'"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"hidden_size": "many"}, "hidden_size is no whole number"),
        ({"hidden_size": 0}, "hidden_size is no whole number"),
        ({"hidden_size": 1e300}, "hidden_size is no whole number"),
        ({"num_hidden_layers": None}, "has no num_hidden_layers"),
        ({"num_hidden_layers": 100000}, "num_hidden_layers is no whole number"),
        ({"rope_scaling": {"type": "spiral"}}, "RoPE of type 'spiral'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "RoPE of type dynamic"),
        ({"rope_theta": -1}, "rope_theta of RoPE is no number above 0"),
        ({"tie_word_embeddings": False, "model_type": "qwen2"}, "has no place in qwen2"),
        ({"clip_qkv": 8}, "clip_qkv is 8"),
        ({"model_type": "qwen3_moe", "num_experts": 64}, "64 experts in each of 2 layers"),
    ):
        write_json(folder, "config.json", {**config, **change})
        refused(folder, sentence)
    write_json(folder, "config.json", [1])
    refused(folder, "config.json: no JSON object")
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        file.write("{")
    refused(folder, "config.json: not JSON")
    os.remove(os.path.join(folder, "config.json"))
    refused(folder, "has no config.json")


def test_refused_files():
    folder, _, _ = folder_of("qwen3")
    index = os.path.join(folder, "model.safetensors.index.json")
    with open(index, encoding="utf-8") as file:
        weight_map = json.load(file)["weight_map"]
    name = next(iter(weight_map))
    for wrong, sentence in (
        ({**weight_map, name: "../x.safetensors"}, "no name of a safetensors file"),
        ({**weight_map, name: 7}, "no name of a safetensors file"),
        ({**weight_map, name: "absent.safetensors"}, "absent.safetensors"),
        ({**weight_map, "model.x": weight_map[name]}, "has no tensor 'model.x'"),
        ({}, "has no weight_map"),
    ):
        write_json(folder, "model.safetensors.index.json", {"weight_map": wrong})
        refused(folder, sentence)
    os.remove(index)
    refused(folder, "neither model.safetensors nor")
    write_safetensors(
        os.path.join(folder, "model.safetensors"), {name: ("F8_E4M3", [4, 4], bytes(16))}
    )
    refused(folder, "dtype F8_E4M3")
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(b"\xff" * 64)
    refused(folder, "model.safetensors: safetensors: the header is")


def test_refused_tokenizers():
    folder, keys, _ = folder_of("qwen3")
    path = os.path.join(folder, "tokenizer.json")
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    model, pre = document["model"], document["pre_tokenizer"]
    first = next(iter(model["vocab"]))
    for change, sentence in (
        ({"model": {**model, "type": "WordPiece"}}, "type 'WordPiece' is not read"),
        ({"model": {**model, "vocab": []}}, "has no vocab"),
        ({"model": {**model, "vocab": {**model["vocab"], first: -1}}}, "is no whole number"),
        ({"model": {**model, "vocab": {**model["vocab"], first: 1}}}, "have the same id"),
        (
            {"model": {**model, "vocab": {**model["vocab"], first: 4000000}}},
            "not within what its file",
        ),
        ({"model": {**model, "merges": 1}}, "has no merges"),
        ({"model": {**model, "merges": [["a"]]}}, "no pair of pieces"),
        ({"pre_tokenizer": split("[aeiou]+")}, "are of no vocabulary that is known"),
        ({"pre_tokenizer": {"type": "BertPreTokenizer"}}, "'BertPreTokenizer' is not read"),
        ({"pre_tokenizer": {**pre, "pretokenizers": [BARE] * 3}}, "are of no vocabulary"),
        ({"normalizer": {"type": "Lowercase"}}, "type 'Lowercase' is not read"),
        ({"added_tokens": [{"id": 1.5, "content": "x"}]}, "no id and content"),
    ):
        write_json(folder, "tokenizer.json", {**document, **change})
        refused(folder, sentence)
    os.remove(path)
    refused(folder, "neither tokenizer.json nor tokenizer.model")
    write_spm(
        os.path.join(folder, "tokenizer.model"),
        {**read(need(os.path.join(ARCH, "llama-mha", "model.gguf")))[0]},
    )
    spm = os.path.join(folder, "tokenizer.model")
    with open(spm, "rb") as file:
        whole = file.read()
    for n in range(0, 200, 7):
        with open(spm, "wb") as file:
            file.write(whole[:n])
        result = pumice("info", "-m", folder)
        check(result.code in (OK, BAD_FILE), f"cut at {n}", result)
    with open(spm, "wb") as file:
        file.write(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    refused(folder, "a field passes the end; is it a SentencePiece model?")


main(globals())

#!/usr/bin/env python3
"""Writes a checkpoint of train.py as pebble.gguf, or as a Hugging Face folder.

    python3 export.py pebble.pt                 # pebble.gguf beside this file
    python3 export.py pebble.pt --hf FOLDER     # config.json, model.safetensors, tokenizer files
"""
import argparse
import json
import os
import shutil
import struct

import numpy as np
import torch

import gguf
import tokenizer as tok

CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                 "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
                 "{{ '<|im_start|>assistant\\n' }}{% endif %}")
# (GGUF, Hugging Face, train.py) names of a layer's tensors
LAYER_NAMES = [("attn_norm", "input_layernorm", "attn_norm"), ("attn_q", "self_attn.q_proj", "q"),
               ("attn_k", "self_attn.k_proj", "k"), ("attn_v", "self_attn.v_proj", "v"),
               ("attn_output", "self_attn.o_proj", "o"), ("ffn_norm", "post_attention_layernorm", "ffn_norm"),
               ("ffn_gate", "mlp.gate_proj", "gate"), ("ffn_up", "mlp.up_proj", "up"), ("ffn_down", "mlp.down_proj", "down")]
OUTER_NAMES = [("token_embd", "model.embed_tokens", "embed"), ("output_norm", "model.norm", "norm")]


def names(n_layer):
    """(GGUF, Hugging Face, train.py) names of all tensors."""
    rows = [tuple(f"{n}.weight" for n in row) for row in OUTER_NAMES]
    return rows + [(f"blk.{i}.{g}.weight", f"model.layers.{i}.{h}.weight", f"layers.{i}.{t}.weight")
                   for i in range(n_layer) for g, h, t in LAYER_NAMES]


def interleave(array, n_head):
    """Rows of a head from (first halves, second halves) to neighbouring pairs, GGUF's order for llama."""
    rows, width = array.shape
    return array.reshape(n_head, 2, rows // n_head // 2, width).swapaxes(1, 2).reshape(rows, width)


def deinterleave(array, n_head):
    """The inverse of interleave."""
    rows, width = array.shape
    return array.reshape(n_head, rows // n_head // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def rotary_heads(name, shape):
    """How many rotary heads the rows of a tensor are, 0 for tensors without."""
    return {"attn_q": shape["n_head"], "attn_k": shape["n_head_kv"]}.get(name.split(".")[-2], 0)


def gguf_keys(shape, tokenizer):
    """The metadata, with the keys that llama.cpp writes."""
    vocab, tokens = tokenizer.vocab, tokenizer.tokens
    return {
        "general.architecture": "llama", "general.name": "pebble", "general.author": "the pumice authors",
        "general.license": "MIT", "general.size_label": "4M", "general.file_type": 7, "general.quantization_version": 2,
        "general.alignment": gguf.ALIGNMENT,
        "llama.context_length": shape["context"], "llama.embedding_length": shape["dim"],
        "llama.block_count": shape["n_layer"], "llama.feed_forward_length": shape["ffn"],
        "llama.attention.head_count": shape["n_head"], "llama.attention.head_count_kv": shape["n_head_kv"],
        "llama.attention.key_length": shape["head_dim"], "llama.attention.value_length": shape["head_dim"],
        "llama.attention.layer_norm_rms_epsilon": shape["eps"], "llama.rope.dimension_count": shape["head_dim"],
        "llama.rope.freq_base": shape["rope_base"], "llama.vocab_size": shape["vocab"],
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if t in tok.SPECIALS else 1 for t in tokens],
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in tokenizer.merges],
        "tokenizer.ggml.bos_token_id": vocab["<|endoftext|>"], "tokenizer.ggml.eos_token_id": vocab["<|im_end|>"],
        "tokenizer.ggml.padding_token_id": vocab["<|endoftext|>"], "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def write_gguf(path, shape, weights):
    tensors = {}
    for name, _, ours in names(shape["n_layer"]):
        heads = rotary_heads(name, shape)
        tensors[name] = interleave(weights[ours], heads) if heads else weights[ours]
    gguf.write(path, gguf_keys(shape, tok.Tokenizer()), tensors)


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array, "<f4").tobytes())


def hf_config(shape, vocab):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": shape["dim"],
            "intermediate_size": shape["ffn"], "num_hidden_layers": shape["n_layer"],
            "num_attention_heads": shape["n_head"], "num_key_value_heads": shape["n_head_kv"],
            "head_dim": shape["head_dim"], "max_position_embeddings": shape["context"], "rms_norm_eps": shape["eps"],
            "rope_theta": shape["rope_base"], "rope_scaling": None, "vocab_size": shape["vocab"],
            "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32",
            "bos_token_id": vocab["<|endoftext|>"], "eos_token_id": vocab["<|im_end|>"],
            "pad_token_id": vocab["<|endoftext|>"]}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def write_folder(folder, shape, weights):
    os.makedirs(folder, exist_ok=True)
    vocab = tok.Tokenizer().vocab
    write_safetensors(os.path.join(folder, "model.safetensors"),
                      {name: weights[ours] for _, name, ours in names(shape["n_layer"])})
    write_json(os.path.join(folder, "config.json"), hf_config(shape, vocab))
    write_json(os.path.join(folder, "tokenizer_config.json"), {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "add_bos_token": False, "model_max_length": shape["context"],
        "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE})
    shutil.copyfile(tok.PATH, os.path.join(folder, "tokenizer.json"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("-o", "--output", default=os.path.join(tok.HERE, "pebble.gguf"))
    parser.add_argument("--hf", metavar="FOLDER", help="write a Hugging Face folder instead")
    args = parser.parse_args()
    saved = torch.load(args.checkpoint, map_location="cpu")
    weights = {name: tensor.float().numpy() for name, tensor in saved["model"].items()}
    if args.hf:
        write_folder(args.hf, saved["shape"], weights)
    else:
        write_gguf(args.output + ".new", saved["shape"], weights)
        os.replace(args.output + ".new", args.output)


if __name__ == "__main__":
    main()

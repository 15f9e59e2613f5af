#!/usr/bin/env python3
"""Trains pebble: a small Llama on the conversations of corpus.py, made as they are needed and never twice.

    python3 train.py --minutes 70 -o pebble.pt      # run again with the same -o to resume

Stops at --steps or when --minutes of training are over, whichever is first; the learning rate follows whichever
is nearer. Needs PyTorch >= 1.13; a newer one is several times as fast.
"""
import argparse
import math
import os
import random
import signal
import time

import torch
import torch.nn.functional as F
from torch import nn

import corpus
from tokenizer import Tokenizer

SHAPE = {"dim": 256, "n_layer": 5, "n_head": 4, "n_head_kv": 2, "head_dim": 64, "ffn": 576, "vocab": 2048,
         "context": 512, "eps": 1e-5, "rope_base": 10000.0}


# ---- the model ----------------------------------------------------------------------------------------------

class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        if hasattr(F, "rms_norm"):
            return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rope_table(shape):
    """cos and sin, [context, head_dim / 2]."""
    half = shape["head_dim"] // 2
    freq = shape["rope_base"] ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(shape["context"], dtype=torch.float32)[:, None] * freq
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    """Rotary positions on [batch, head, time, head_dim], first half paired with second (Hugging Face's layout)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def attend(q, k, v):
    """Causal attention, written out: on CPUs its backward is faster than the fused one's."""
    score = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    future = torch.full(score.shape[-2:], float("-inf"), dtype=score.dtype, device=q.device).triu(1)
    with torch.autocast(q.device.type, enabled=False):
        weight = (score + future).softmax(-1)
    return weight @ v


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        width, width_kv = s["n_head"] * s["head_dim"], s["n_head_kv"] * s["head_dim"]
        self.attn_norm, self.ffn_norm = RMSNorm(s["dim"], s["eps"]), RMSNorm(s["dim"], s["eps"])
        self.q, self.o = nn.Linear(s["dim"], width, bias=False), nn.Linear(width, s["dim"], bias=False)
        self.k, self.v = (nn.Linear(s["dim"], width_kv, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(s["dim"], s["ffn"], bias=False) for _ in range(2))
        self.down = nn.Linear(s["ffn"], s["dim"], bias=False)

    def heads(self, x, n):
        return x.view(x.shape[0], x.shape[1], n, self.s["head_dim"]).transpose(1, 2)

    def attention(self, x, cos, sin):
        s = self.s
        q = rotate(self.heads(self.q(x), s["n_head"]), cos, sin)
        k = rotate(self.heads(self.k(x), s["n_head_kv"]), cos, sin)
        v = self.heads(self.v(x), s["n_head_kv"])
        group = s["n_head"] // s["n_head_kv"]
        y = attend(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1))
        return self.o(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attn_norm(x), cos, sin)
        h = self.ffn_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(nn.Module):
    """The output shares the embedding's weights."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape["vocab"], shape["dim"])
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape["n_layer"]))
        self.norm = RMSNorm(shape["dim"], shape["eps"])
        self.start()

    def start(self):
        """Small normal weights, smaller still where a layer writes back."""
        for name, p in self.named_parameters():
            if p.dim() == 2:
                back = name.endswith(("o.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * self.shape["n_layer"]) if back else 0.02)

    def forward(self, ids, where=None):
        """Logits at all positions, or only at those where the mask `where` is true: [n, vocab]."""
        cos, sin = (t[:ids.shape[1]].to(ids.device) for t in rope_table(self.shape))
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        x = self.norm(x if where is None else x[where])
        return F.linear(x, self.embed.weight)


# ---- the optimizer ------------------------------------------------------------------------------------------

def orthogonal(g, dtype=torch.bfloat16):
    """The nearest orthogonal matrix, roughly, of each in a stack: five Newton-Schulz steps (Muon)."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.transpose(-2, -1) if tall else g
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(5):
        a = x @ x.transpose(-2, -1)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.transpose(-2, -1) if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal, for the matrices inside the layers. Source: K. Jordan, 2024."""

    def __init__(self, params, lr, momentum=0.95, decay=0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(tuple(p.shape), []).append(p)
            for shape, params in shapes.items():
                self.step_shape(group, shape, params)

    def step_shape(self, group, shape, params):
        """One step for all matrices of one shape at once."""
        for p in params:
            self.state[p].setdefault("momentum", torch.zeros_like(p)).lerp_(p.grad, 1 - group["momentum"])
        nesterov = torch.stack([p.grad.lerp(self.state[p]["momentum"], group["momentum"]) for p in params])
        scale = 0.2 * math.sqrt(max(shape)) * group["lr"]
        for p, update in zip(params, orthogonal(nesterov)):
            p.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-scale)


def make_optimizers(model, lr, use_muon):
    """AdamW, and Muon for the layers' matrices where asked for; both take the same learning rate."""
    inner = [p for p in model.layers.parameters() if p.dim() == 2]
    ids = {id(p) for p in inner} if use_muon else set()
    rest = [p for p in model.parameters() if id(p) not in ids]
    decayed = [{"params": [p for p in rest if p.dim() == 2], "weight_decay": 0.01},
               {"params": [p for p in rest if p.dim() != 2], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(decayed, lr=lr, betas=(0.9, 0.98), eps=1e-8)
    return [adam] + ([Muon(inner, lr)] if use_muon else [])


# ---- the data -----------------------------------------------------------------------------------------------

def pad_batch(group):
    """ids, targets and mask of conversations of about the same length."""
    width = max(len(ids) for ids, _ in group)
    ids = torch.zeros(len(group), width, dtype=torch.long)
    said = torch.zeros(len(group), width, dtype=torch.bool)
    for row, (i, m) in enumerate(group):
        ids[row, :len(i)] = torch.tensor(i)
        said[row, :len(m)] = torch.tensor(m, dtype=torch.bool)
    return ids[:, :-1], ids[:, 1:], said[:, 1:]


def batches(tokenizer, seed, weights, batch_tokens, context, count=3000):
    """Endless batches of about batch_tokens, each of conversations of about one length."""
    pieces = tokenizer.letters()
    while True:
        rng = random.Random(seed)
        seed += 1
        chats = [tokenizer.chat(corpus.conversation(rng, weights, pieces)) for _ in range(count)]
        chats = sorted(((i[:context + 1], m[:context + 1]) for i, m in chats), key=lambda c: len(c[0]))
        groups, group = [], []
        for chat in chats:
            if group and (len(group) + 1) * len(chat[0]) > batch_tokens:
                groups.append(group)
                group = []
            group.append(chat)
        rng.shuffle(groups)
        for group in groups:
            yield pad_batch(group)


# ---- training -----------------------------------------------------------------------------------------------

def rate(progress, warmup):
    """Warm-up, then a cosine down to a fiftieth."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))


def save(path, model, optimizers, state):
    torch.save({"shape": model.shape, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers],
                "state": state}, path + ".new")
    os.replace(path + ".new", path)


def load(path, model, optimizers, state, fresh):
    """Takes up a checkpoint; `fresh` takes only its weights and starts a new schedule."""
    saved = torch.load(path, map_location="cpu")
    model.load_state_dict(saved["model"])
    if not fresh:
        for optimizer, old in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(old)
        state.update(saved["state"])


def train_step(model, optimizers, batch, lr, bf16):
    """One step; returns the loss."""
    ids, targets, said = batch
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=bf16):
        logits = model(ids, said)
    loss = F.cross_entropy(logits.float(), targets[said])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def run(args, model, optimizers, state, stream):
    """Steps until the steps or the minutes are over or SIGTERM comes; saves then and every --save-every seconds."""
    began, saved, shown, losses, tokens = time.time() - state["seconds"], time.time(), time.time(), [], 0
    device, stopped = next(model.parameters()).device, []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while not stopped:
        state["seconds"] = time.time() - began
        progress = max(state["step"] / args.steps, state["seconds"] / 60 / args.minutes)
        if progress >= 1:
            break
        batch = [t.to(device) for t in next(stream)]
        losses.append(train_step(model, optimizers, batch, args.lr * rate(progress, args.warmup), args.bf16))
        tokens += batch[0].numel()
        state["step"] += 1
        state["tokens"] += batch[0].numel()
        if state["step"] % args.log_every == 0:
            print(f"step {state['step']} {progress:.1%} loss {sum(losses) / len(losses):.4f} "
                  f"{tokens / (time.time() - shown):.0f} tok/s {state['seconds'] / 60:.1f} min", flush=True)
            losses, tokens, shown = [], 0, time.time()
        if time.time() - saved > args.save_every:
            save(args.output, model, optimizers, state)
            saved = time.time()
    save(args.output, model, optimizers, state)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="pebble.pt", help="checkpoint, taken up again where it exists")
    parser.add_argument("--init", help="start from the weights of this checkpoint with a new schedule")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warmup", type=float, default=0.02, help="share of the run")
    parser.add_argument("--adam", action="store_true", help="AdamW for everything")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--weights", default="", help="changed skill weights, for example sum=30,list=20")
    parser.add_argument("--shape", default="", help="changed shape, for example dim=192,n_layer=6")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=180)
    parser.add_argument("--log-every", type=int, default=50)
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    shape = dict(SHAPE, **{n: int(v) for n, v in (c.split("=") for c in filter(None, args.shape.split(",")))})
    model = Llama(shape).to("cuda" if torch.cuda.is_available() else "cpu")
    optimizers = make_optimizers(model, args.lr, not args.adam)
    state = {"step": 0, "seconds": 0.0, "tokens": 0}
    if os.path.exists(args.output):
        load(args.output, model, optimizers, state, False)
    elif args.init:
        load(args.init, model, optimizers, state, True)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, at step {state['step']}", flush=True)
    stream = batches(Tokenizer(), args.seed * 1000003 + state["step"], corpus.default_weights(args.weights),
                     args.batch_tokens, shape["context"])
    run(args, model, optimizers, state, stream)


if __name__ == "__main__":
    main()

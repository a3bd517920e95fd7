#!/usr/bin/env python3
"""Models of flash-linear-attention (gated_deltanet, attention layers included) and of transformers (Qwen3-Next, Qwen3.5), and whether natsl
computes from them what the libraries do.

    models.py make DIR [CASE ...]     small random models, saved by the library itself, and what it computes from them
    models.py check DIR [CASE ...]    natsl import, score and generate on 1, 2 and 3 ranks, compared with that
                                      (environment: NATSL, MPIRUN, RANKS for others than these; working directory: a scratch one)
    models.py load DIR [CASE ...]     what natsl export made of them in check (in the working directory), loaded by transformers and
                                      safetensors: the same tensors and configuration

make and load need torch, flash-linear-attention and transformers in the versions of tests/hf/compare, which installs them; check needs numpy
and h5py. The libraries' kernels run on GPUs only. In flash-linear-attention make puts its own plain PyTorch functions
(naive_recurrent_gated_delta_rule, naive_gdn_gate, rms_norm_ref, rotary_embedding_ref) in their place, and softmax attention in a few lines
in that of the package flash-attn; in transformers it takes the PyTorch functions that transformers itself keeps under each kernel. Layers,
models, initialisation and files are the libraries'.

DIR/CASE: config.json, generation_config.json, model*.safetensors; expected.h5: tokens [T], logprobs [T-1] (of the next token), rows [R]
(positions), logits [R, vocab], greedy [50] (the most probable tokens that follow, one after the other), attribute margin (the smallest
distance of a greedy token's logit from the next best).
"""
import json
import os
import struct
import subprocess
import sys

# name: (class, keys of the configuration, type of the saved tensors, largest file, seed, tokens)
COMMON = dict(vocab_size=272, max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
PICTURES = dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, patch_size=2, out_hidden_size=24, num_position_embeddings=16)
CASES = {
    # those whose files are in tests/golden
    "gated_deltanet": ("fla", dict(hidden_size=32, num_hidden_layers=2, num_heads=2, head_dim=8, intermediate_size=48,
                                   tie_word_embeddings=True, vocab_size=256), "bfloat16", "5GB", 3, 150),
    "fla_hybrid": ("fla", dict(hidden_size=32, num_hidden_layers=3, num_heads=2, head_dim=8, intermediate_size=48, expand_v=1.0,
                               vocab_size=256, tie_word_embeddings=True, attn=[
                                   dict(layers=[1], num_heads=4, num_kv_heads=2, qkv_bias=True, window_size=40, rope_theta=1000.0),
                                   dict(layers=[2], num_heads=2)]), "bfloat16", "5GB", 6, 150),
    "qwen3_next": ("next", dict(hidden_size=24, num_hidden_layers=3, num_experts=0, intermediate_size=32, vocab_size=256,
                                layer_types=["linear_attention", "full_attention", "linear_attention"], num_attention_heads=4,
                                num_key_value_heads=2, head_dim=16, partial_rotary_factor=0.5, linear_num_key_heads=2,
                                linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=6,
                                tie_word_embeddings=True), "bfloat16", "5GB", 7, 150),
    # with a part for pictures and a head for further tokens, which natsl leaves out
    "qwen3_5": ("pictures", dict(hidden_size=24, num_hidden_layers=3, intermediate_size=32, vocab_size=256, full_attention_interval=2,
                                 num_attention_heads=2, num_key_value_heads=1, head_dim=16, linear_num_key_heads=1,
                                 linear_num_value_heads=3, linear_key_head_dim=8, linear_value_head_dim=8), "bfloat16", "5GB", 18, 150),
    # gated_deltanet
    "plain": ("fla", dict(hidden_size=64, num_hidden_layers=3, num_heads=2, head_dim=16), "float32", "5GB", 1, 200),
    "grouped": ("fla", dict(hidden_size=48, num_hidden_layers=2, num_heads=2, num_v_heads=6, head_dim=12, expand_v=1.5,
                            allow_neg_eigval=True, conv_size=3, intermediate_size=80, norm_eps=1e-5), "bfloat16", "60KB", 2, 130),
    "bare": ("fla", dict(hidden_size=40, num_hidden_layers=2, num_heads=3, head_dim=8, expand_v=1.0, use_gate=False,
                         use_short_conv=False, hidden_ratio=2), "float16", "5GB", 5, 65),
    "wide": ("fla", dict(hidden_size=128, num_hidden_layers=4, num_heads=3, head_dim=32, attn_mode="fused_recurrent",
                         fuse_norm=False, fuse_swiglu=False), "float32", "400KB", 4, 300),
    "full": ("fla", dict(hidden_size=64, num_hidden_layers=4, num_heads=2, head_dim=16,
                         attn=dict(layers=[1, 3], num_heads=4)), "float32", "5GB", 8, 200),
    "window": ("fla", dict(hidden_size=96, num_hidden_layers=3, num_heads=2, num_v_heads=4, head_dim=12, expand_v=1.0, norm_eps=1e-6,
                           attn=dict(layers=[0, 2], num_heads=6, num_kv_heads=2, qkv_bias=True, qk_norm=True, window_size=33,
                                     rope_theta=500.0)), "bfloat16", "60KB", 9, 230),
    # qwen3_next without experts: none at all, every layer named, none reached by the step
    "next_named": ("next", dict(hidden_size=72, num_hidden_layers=4, num_experts=4, mlp_only_layers=[0, 1, 2, 3], intermediate_size=112,
                                num_attention_heads=3, num_key_value_heads=1, head_dim=40, linear_num_key_heads=3,
                                linear_num_value_heads=6, linear_key_head_dim=16, linear_value_head_dim=20), "float32", "200KB", 10, 300),
    "next_step": ("next", dict(hidden_size=48, num_hidden_layers=5, num_experts=2, decoder_sparse_step=6, intermediate_size=64,
                               full_attention_interval=2, num_attention_heads=4, num_key_value_heads=4, head_dim=12,
                               partial_rotary_factor=1.0, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=16,
                               linear_value_head_dim=8, linear_conv_kernel_dim=3, rms_norm_eps=1e-5, tie_word_embeddings=True,
                               rope_theta=100000.0), "float16", "5GB", 11, 129),
    # qwen3_5_text
    "text": ("text", dict(hidden_size=80, num_hidden_layers=4, intermediate_size=96, num_attention_heads=5, num_key_value_heads=5,
                          head_dim=24, linear_num_key_heads=2, linear_num_value_heads=6, linear_key_head_dim=12,
                          linear_value_head_dim=16, rope_parameters=dict(rope_type="default", rope_theta=1e7, partial_rotary_factor=0.25,
                                                                         mrope_section=[1, 1, 1], mrope_interleaved=True)),
             "float32", "5GB", 12, 200),
    "text_grouped": ("text", dict(hidden_size=64, num_hidden_layers=3, intermediate_size=80, num_attention_heads=6, num_key_value_heads=2,
                                  head_dim=32, layer_types=["full_attention", "linear_attention", "full_attention"],
                                  linear_num_key_heads=4, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=12,
                                  linear_conv_kernel_dim=2, rms_norm_eps=1e-5, tie_word_embeddings=True), "bfloat16", "60KB", 13, 150),
}
GREEDY = 50
LOGITS = 1e-3  # largest difference, relative to the largest logit
LEFT_OUT = ("mtp.", "model.visual.")


def plain_fla():
    """Plain PyTorch in the place of flash-linear-attention's GPU kernels and of the package flash-attn."""
    import torch
    import torch.nn.functional as F
    import fla.layers.attn as attn
    import fla.layers.gated_deltanet as layer
    import fla.models.gated_deltanet.modeling_gated_deltanet as model
    import fla.modules.mlp as mlp
    import fla.modules.rotary.ops as rotary
    from fla.models.configuration_utils import get_attention_spec
    from fla.modules import FusedRMSNormGated, RMSNorm
    from fla.modules.norm.layernorm import rms_norm_ref
    from fla.ops.gated_delta_rule.gate import naive_gdn_gate
    from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule

    def convolution(x, weight, bias=None, activation=None, **_):
        width = weight.shape[1]
        y = F.conv1d(F.pad(x.transpose(1, 2), (width - 1, 0)), weight.unsqueeze(1), bias, groups=weight.shape[0])
        assert activation in ("silu", "swish")
        return F.silu(y.transpose(1, 2)), None

    def delta_rule(q, k, v, g, beta, A_log, dt_bias, allow_neg_eigval, use_qk_l2norm_in_kernel,
                   use_beta_sigmoid_in_kernel, use_gate_in_kernel, initial_state=None, output_final_state=False, **_):
        assert use_qk_l2norm_in_kernel and use_beta_sigmoid_in_kernel and use_gate_in_kernel
        q, k = (x / torch.sqrt((x * x).sum(-1, keepdim=True) + 1e-6) for x in (q, k))
        q, k = (x.repeat_interleave(v.shape[2] // x.shape[2], dim=2) for x in (q, k))
        beta = torch.sigmoid(beta) * (2.0 if allow_neg_eigval else 1.0)
        return naive_recurrent_gated_delta_rule(q, k, v, beta, naive_gdn_gate(g, A_log, dt_bias),
                                                initial_state=initial_state, output_final_state=output_final_state)

    def norm(self, x, residual=None, prenorm=False, residual_in_fp32=False):
        return rms_norm_ref(x, self.weight, self.bias, residual, self.eps, prenorm)

    def norm_gated(self, x, g, **_):
        assert self.activation in ("silu", "swish")
        return rms_norm_ref(x, self.weight, self.bias, eps=self.eps) * F.silu(g)

    def softmax_attention(q, k, v, causal, window_size):
        """Token t sees tokens t - window_size[0] to t, or from the first one on (-1)."""
        assert causal and window_size[1] in (-1, 0)
        k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], dim=2) for x in (k, v))
        scores = torch.einsum("bihd,bjhd->bhij", q, k) * q.shape[3] ** -0.5
        behind = torch.arange(q.shape[1])[:, None] - torch.arange(q.shape[1])[None, :]
        seen = (behind >= 0) & ((behind <= window_size[0]) | (window_size[0] < 0))
        return torch.einsum("bhij,bjhd->bihd", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)

    def rotate(x, cos, sin, interleaved=False, inplace=False, seqlen_offsets=0, cu_seqlens=None, chunk_indices=None):
        assert not inplace and cu_seqlens is None and seqlen_offsets == 0
        return rotary.rotary_embedding_ref(x, cos[:x.shape[1]], sin[:x.shape[1]], interleaved)

    def get_attention(config, layer_idx):
        """As the library's, which has a layer with norms of queries and keys but gives a model no key for it."""
        spec = get_attention_spec(config.attn, layer_idx=layer_idx)
        if spec is None:
            return None
        words = ("num_heads", "num_kv_heads", "qkv_bias", "window_size", "rope_theta")
        return attn.Attention(hidden_size=config.hidden_size, max_position_embeddings=config.max_position_embeddings, layer_idx=layer_idx,
                              qk_norm=spec.get("qk_norm", False), **{word: spec[word] for word in words})

    layer.causal_conv1d = convolution
    layer.chunk_gated_delta_rule = layer.fused_recurrent_gated_delta_rule = delta_rule
    RMSNorm.forward, FusedRMSNormGated.forward = norm, norm_gated
    mlp.swiglu = lambda x, y: F.silu(x) * y
    mlp.swiglu_linear = lambda x, y, weight, bias: F.linear(F.silu(x) * y, weight, bias)
    attn.flash_attn_func = softmax_attention
    rotary.rotary_embedding = rotate
    model.get_attention = get_attention


def plain_transformers():
    """The PyTorch functions of transformers themselves, whatever kernels are installed."""
    import inspect
    import transformers.models.qwen3_5.modeling_qwen3_5 as q3_5
    import transformers.models.qwen3_next.modeling_qwen3_next as q3_next
    for module in q3_5, q3_next:
        for name in "torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule", "causal_conv1d_fn", "causal_conv1d_update":
            setattr(module, name, inspect.unwrap(getattr(module, name)))


def classes(kind):
    """Class of the configuration, of the model that saves, and of the one that reads texts."""
    import transformers
    if kind == "fla":
        from fla.models import GatedDeltaNetConfig, GatedDeltaNetForCausalLM
        return GatedDeltaNetConfig, GatedDeltaNetForCausalLM, GatedDeltaNetForCausalLM
    if kind == "next":
        return transformers.Qwen3NextConfig, transformers.Qwen3NextForCausalLM, transformers.Qwen3NextForCausalLM
    from transformers.models.qwen3_5 import modeling_qwen3_5 as q
    if kind == "text":
        return q.Qwen3_5TextConfig, q.Qwen3_5ForCausalLM, q.Qwen3_5ForCausalLM
    return q.Qwen3_5Config, q.Qwen3_5ForConditionalGeneration, q.Qwen3_5ForCausalLM


def new_config(kind, keys):
    # a wide spread of the weights: with the published one a random model answers nearly the same everywhere
    keys = {**COMMON, "initializer_range": 0.25, **keys}
    if kind == "pictures":
        return classes(kind)[0](text_config=keys, vision_config=PICTURES, image_token_id=150, video_token_id=151,
                                vision_start_token_id=152, vision_end_token_id=153)
    return classes(kind)[0](**keys)


def vary(model):
    """What a new model has all alike gets random values: norms, biases; and states that last longer than a token."""
    import torch
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key or key.endswith("_proj.bias"):
                value.add_(0.3 * torch.randn_like(value))
            elif ".linear_attn.A_log" in key:
                value.copy_(torch.empty_like(value).uniform_(0.05, 2.0).log())
            elif ".linear_attn.dt_bias" in key:
                value.copy_(torch.empty_like(value).uniform_(-4.0, 0.0))


def answers(model, vocab, length):
    """What expected.h5 has."""
    import numpy as np
    import torch
    tokens = torch.randint(0, vocab, (1, length))
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[0].float()
        line, margin = tokens, np.inf
        for _ in range(GREEDY):  # from the beginning each time: nothing of a cache can be wrong
            last = model(input_ids=line, use_cache=False).logits[0, -1].float()
            best = last.topk(2).values
            margin = min(margin, float(best[0] - best[1]))
            line = torch.cat([line, last.argmax().reshape(1, 1)], dim=1)
    rows = np.unique(np.concatenate([np.arange(0, length, 16), [length - 1]]))
    logprobs = torch.log_softmax(logits, -1)[torch.arange(length - 1), tokens[0, 1:]]
    return {"tokens": tokens[0].numpy().astype(np.int32), "logprobs": logprobs.numpy().astype(np.float32), "rows": rows.astype(np.int32),
            "logits": logits.numpy()[rows].astype(np.float32), "greedy": line[0, length:].numpy().astype(np.int32)}, margin


def make(directory, names):
    import h5py
    import torch
    from safetensors.torch import load_file, save_file
    plain_fla()
    plain_transformers()
    torch.set_num_threads(1)  # tensors are small
    for name in names:
        kind, keys, dtype, shard, seed, length = CASES[name]
        torch.manual_seed(seed)
        config = new_config(kind, keys)
        _, saves, reads = classes(kind)
        config._attn_implementation = "eager"
        model = saves(config).eval()
        vary(model)
        path = os.path.join(directory, name)
        model.to(getattr(torch, dtype)).save_pretrained(path, max_shard_size=shard)
        if kind == "pictures":
            file = os.path.join(path, "model.safetensors")
            save_file({**load_file(file), "mtp.fc.weight": torch.randn(8, 8)}, file, metadata={"format": "pt"})
        # read back: of a model that was in bfloat16 the angles of rotary positions would be rounded, too
        model = reads.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
        expected, margin = answers(model, model.config.vocab_size, length)
        with h5py.File(os.path.join(path, "expected.h5"), "w") as f:
            for key, value in expected.items():
                f[key] = value
            f.attrs["margin"] = margin
        print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, greedy margin {margin:.4f}")


def read_safetensors(path):
    """A file's tensors as float32 and as stored (type, shape, bytes): a few lines of the format, so that no package is needed."""
    import numpy as np
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = (8 + length + x for x in entry["data_offsets"])
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            value = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            value = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
        found[name] = (value.reshape(entry["shape"]), (entry["dtype"], entry["shape"], raw))
    return found


def read_directory(path):
    found = {}
    for file in sorted(os.listdir(path)):
        if file.endswith(".safetensors"):
            found.update(read_safetensors(os.path.join(path, file)))
    return found


def check(directory, names):
    import h5py
    import numpy as np
    natsl, mpirun = os.environ["NATSL"], os.environ["MPIRUN"]
    bad = 0

    def run(ranks, *words):
        command = ([mpirun, "-n", str(ranks)] if ranks else []) + [natsl, *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    for name in names:
        path = os.path.join(directory, name)
        model, doc, out = f"{name}.h5", f"{name}-tokens.h5", f"{name}-score.h5"
        run(0, "import", path, "--out", model, "--quiet")
        run(0, "export", model, "--out", f"{name}-again", "--quiet")
        stored, again = read_directory(path), read_directory(f"{name}-again")
        if {k: v[1] for k, v in stored.items() if not k.startswith(LEFT_OUT)} != {k: v[1] for k, v in again.items()}:
            print(f"{name}: export gives other tensors than those that were imported")
            bad += 1
        with h5py.File(os.path.join(path, "expected.h5"), "r") as f:
            want = {key: f[key][()] for key in f}
            margin = f.attrs["margin"]
        with h5py.File(doc, "w") as f:
            f["tokens"] = want["tokens"]
        embeddings = next(stored[k] for k in stored if k.endswith(("embeddings.weight", "embed_tokens.weight")))
        head = stored.get("lm_head.weight", embeddings)[0]
        worst = worst_logprob = 0.0
        for ranks in map(int, os.environ.get("RANKS", "1 2 3").split()):
            run(ranks, "score", "--model", model, doc, "--out", out, "--write", "hidden", "--quiet")
            with h5py.File(out, "r") as f:
                logits = f["hidden"][()][want["rows"]] @ head.T
                last, logprobs = f["logits_last"][()], f["logprobs"][()]
            largest = np.abs(want["logits"]).max()
            worst = max(worst, np.abs(logits - want["logits"]).max() / largest,
                        np.abs(last - want["logits"][-1]).max() / largest)
            worst_logprob = max(worst_logprob, np.abs(logprobs - want["logprobs"]).max() / largest)
            line = run(ranks, "generate", "--model", model, doc, "--max-new", str(GREEDY), "--ignore-eos", "--json",
                       "--quiet")
            if json.loads(line)["tokens"] != want["greedy"].tolist():
                print(f"{name}: on {ranks} ranks {json.loads(line)['tokens']}, expected {want['greedy'].tolist()}")
                bad += 1
        fine = worst <= LOGITS and worst_logprob <= LOGITS
        bad += not fine
        print(f"{name}: logits differ by {worst:.1e} of the largest, log-probabilities by {worst_logprob:.1e}, "
              f"{GREEDY} greedy tokens (margin {margin:.3f}){'' if fine else ': too much'}")
    return bad != 0


def load(directory, names):
    import torch
    from safetensors.torch import load_file
    plain_fla()
    for name in names:
        reads = classes(CASES[name][0])[2]
        models = [reads.from_pretrained(path, dtype="auto", output_loading_info=True)
                  for path in (os.path.join(directory, name), f"{name}-again")]
        for model, info in models:
            assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (name, info)
        (model, _), (again, _) = models
        assert model.config.to_dict().items() >= {k: v for k, v in again.config.to_dict().items() if k != "_name_or_path"}.items(), name
        states = model.state_dict(), again.state_dict()
        assert states[0].keys() == states[1].keys(), name
        for key, value in states[0].items():
            other = states[1][key]
            assert value.dtype == other.dtype and torch.equal(value, other), (name, key)
        for file in os.listdir(f"{name}-again"):
            if file.endswith(".safetensors"):
                load_file(os.path.join(f"{name}-again", file))
        print(f"{name}: transformers and safetensors read what natsl exports")


def main():
    commands = {"make": make, "check": check, "load": load}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    names = sys.argv[3:] or list(CASES)
    return commands[sys.argv[1]](sys.argv[2], names)


if __name__ == "__main__":
    sys.exit(main())

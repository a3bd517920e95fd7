#!/usr/bin/env python3
"""Gated DeltaNet models of flash-linear-attention, and whether natsl computes from them what the library does.

    models.py make DIR [CASE ...]     small random models, saved by the library itself, and what it computes from them
    models.py check DIR [CASE ...]    natsl import, score and generate on 1, 2 and 3 ranks, compared with that
                                      (environment: NATSL, MPIRUN; working directory: a scratch one)
    models.py load DIR [CASE ...]     what natsl export made of them in check (in the working directory), loaded by transformers and
                                      safetensors: the same tensors and configuration

make and load need torch, flash-linear-attention and transformers in the versions of tests/hf/compare, which installs them; check needs numpy
and h5py. The library's kernels run on GPUs only, so make puts its own plain PyTorch functions (naive_recurrent_gated_delta_rule,
naive_gdn_gate, rms_norm_ref) in their place; layers, models, initialisation and files are the library's.

DIR/CASE: config.json, generation_config.json, model*.safetensors; expected.h5: tokens [T], logprobs [T-1] (of the next token), rows [R]
(positions), logits [R, vocab], greedy [50] (the most probable tokens that follow, one after the other), attribute margin (the smallest
distance of a greedy token's logit from the next best).
"""
import json
import os
import struct
import subprocess
import sys

# name: (keys of the configuration, type of the saved tensors, largest file, seed)
COMMON = dict(vocab_size=272, max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
CASES = {
    # the one whose files are in tests/golden/gated_deltanet
    "gated_deltanet": (dict(hidden_size=32, num_hidden_layers=2, num_heads=2, head_dim=8, intermediate_size=48,
                            tie_word_embeddings=True, vocab_size=256), "bfloat16", "5GB", 3),
    "plain": (dict(hidden_size=64, num_hidden_layers=3, num_heads=2, head_dim=16), "float32", "5GB", 1),
    "grouped": (dict(hidden_size=48, num_hidden_layers=2, num_heads=2, num_v_heads=6, head_dim=12, expand_v=1.5,
                     allow_neg_eigval=True, conv_size=3, intermediate_size=80, norm_eps=1e-5), "bfloat16", "60KB", 2),
    "bare": (dict(hidden_size=40, num_hidden_layers=2, num_heads=3, head_dim=8, expand_v=1.0, use_gate=False,
                  use_short_conv=False, hidden_ratio=2), "float16", "5GB", 5),
    "wide": (dict(hidden_size=128, num_hidden_layers=4, num_heads=3, head_dim=32, attn_mode="fused_recurrent",
                  fuse_norm=False, fuse_swiglu=False), "float32", "400KB", 4),
}
LENGTHS = {"gated_deltanet": 150, "plain": 200, "grouped": 130, "bare": 65, "wide": 300}
GREEDY = 50
LOGITS = 1e-3  # largest difference, relative to the largest logit


def make(directory, names):
    import h5py
    import numpy as np
    import torch
    import torch.nn.functional as F
    import fla.layers.gated_deltanet as layer
    import fla.modules.mlp as mlp
    from fla.models import GatedDeltaNetConfig, GatedDeltaNetForCausalLM
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

    layer.causal_conv1d = convolution
    layer.chunk_gated_delta_rule = layer.fused_recurrent_gated_delta_rule = delta_rule
    RMSNorm.forward, FusedRMSNormGated.forward = norm, norm_gated
    mlp.swiglu = lambda x, y: F.silu(x) * y
    mlp.swiglu_linear = lambda x, y, weight, bias: F.linear(F.silu(x) * y, weight, bias)
    torch.set_num_threads(1)  # tensors are small
    for name in names:
        keys, dtype, shard, seed = CASES[name]
        torch.manual_seed(seed)
        # a wide spread of the weights: with the published one a random model answers nearly the same everywhere
        config = GatedDeltaNetConfig(**{**COMMON, "initializer_range": 0.25, **keys})
        model = GatedDeltaNetForCausalLM(config).eval()
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "norm" in key:
                    value.add_(0.3 * torch.randn_like(value))
        model = model.to(getattr(torch, dtype))
        path = os.path.join(directory, name)
        model.save_pretrained(path, max_shard_size=shard)
        model = model.float()
        tokens = torch.randint(0, config.vocab_size, (1, LENGTHS[name]))
        with torch.no_grad():
            logits = model(input_ids=tokens, use_cache=False).logits[0].float()
            line, margin = tokens, np.inf
            for _ in range(GREEDY):  # from the beginning each time: nothing of a cache can be wrong
                last = model(input_ids=line, use_cache=False).logits[0, -1].float()
                best = last.topk(2).values
                margin = min(margin, float(best[0] - best[1]))
                line = torch.cat([line, last.argmax().reshape(1, 1)], dim=1)
        rows = np.unique(np.concatenate([np.arange(0, LENGTHS[name], 16), [LENGTHS[name] - 1]]))
        logprobs = torch.log_softmax(logits, -1)[torch.arange(LENGTHS[name] - 1), tokens[0, 1:]]
        with h5py.File(os.path.join(path, "expected.h5"), "w") as f:
            f["tokens"] = tokens[0].numpy().astype(np.int32)
            f["logprobs"] = logprobs.numpy().astype(np.float32)
            f["rows"] = rows.astype(np.int32)
            f["logits"] = logits.numpy()[rows].astype(np.float32)
            f["greedy"] = line[0, LENGTHS[name]:].numpy().astype(np.int32)
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
        if {k: v[1] for k, v in stored.items()} != {k: v[1] for k, v in again.items()}:
            print(f"{name}: export gives other tensors than those that were imported")
            bad += 1
        with h5py.File(os.path.join(path, "expected.h5"), "r") as f:
            want = {key: f[key][()] for key in f}
            margin = f.attrs["margin"]
        with h5py.File(doc, "w") as f:
            f["tokens"] = want["tokens"]
        head = stored.get("lm_head.weight", stored["model.embeddings.weight"])[0]
        worst = worst_logprob = 0.0
        for ranks in 1, 2, 3:
            run(ranks, "score", "--model", model, doc, "--out", out, "--write", "hidden", "--quiet")
            with h5py.File(out, "r") as f:
                logits = f["hidden"][()][want["rows"]] @ head.T
                last, logprobs = f["logits_last"][()], f["logprobs"][()]
            largest = np.abs(want["logits"]).max()
            worst = max(worst, np.abs(logits - want["logits"]).max() / largest,
                        np.abs(last - want["logits"][-1]).max() / largest)
            worst_logprob = max(worst_logprob, np.abs(logprobs - want["logprobs"]).max() / largest)
            line = run(ranks, "generate", "--model", model, doc, "--max-new", str(GREEDY), "--json", "--quiet")
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
    from fla.models import GatedDeltaNetForCausalLM
    from safetensors.torch import load_file
    for name in names:
        models = [GatedDeltaNetForCausalLM.from_pretrained(path, dtype="auto", output_loading_info=True)
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

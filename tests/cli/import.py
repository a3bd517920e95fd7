"""import.py - directories for import.sh, good and hostile, made from the one that natsl has exported.

    import.py make BASE          directories good-*/ and bad-*/ here; prints "NAME<tab>PATTERN" for each bad one
    import.py qwen GOLDEN        the same of the models of Qwen's and flash-linear-attention's in tests/golden: bad-*/ here
    import.py same A B           the tensors of two directories are equal: names, types, shapes, bits
    import.py rounded MODEL.h5 DIR OUT.h5    MODEL.h5 in float32 with the values that DIR's tensors have
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "hf"))
from models import read_directory  # noqa: E402

SIZES = {"F32": 4, "F16": 2, "BF16": 2}


def to_type(value, dtype):
    """float32 -> (dtype, shape, bytes), to nearest even."""
    value = np.ascontiguousarray(value, np.float32)
    if dtype == "BF16":
        bits = value.view(np.uint32)
        raw = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    else:
        raw = value.astype({"F32": np.float32, "F16": np.float16}[dtype])
    return dtype, list(value.shape), raw.tobytes()


def header_of(tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    return header


def write(path, tensors, header=None, pad=0, tail=b""):
    text = json.dumps(header or header_of(tensors)).encode()
    text += b" " * pad
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(raw for _, _, raw in tensors.values()) + tail)


def write_shards(directory, tensors, count):
    names = list(tensors)
    index = {"metadata": {"total_size": sum(len(t[2]) for t in tensors.values())}, "weight_map": {}}
    for s in range(count):
        file = f"model-{s + 1:05}-of-{count:05}.safetensors"
        part = {n: tensors[n] for n in names[s::count]}
        write(os.path.join(directory, file), part)
        index["weight_map"].update({n: file for n in part})
    json.dump(index, open(os.path.join(directory, "model.safetensors.index.json"), "w"), indent=2, sort_keys=True)
    return index


def make(base):
    config = json.load(open(os.path.join(base, "config.json")))
    tensors = {name: value for name, (value, _) in read_directory(base).items()}
    plain = {name: to_type(value, "F32") for name, value in tensors.items()}
    tied = config["tie_word_embeddings"]

    def new(name, texts=None):
        os.mkdir(name)
        for file, text in {"config.json": config, **(texts or {})}.items():
            with open(os.path.join(name, file), "w") as f:
                f.write(text if isinstance(text, str) else json.dumps(text, indent=1))
        return os.path.join(name, "model.safetensors")

    # --- good: every type, mixed, unaligned, in parts, with all the texts there are
    for dtype in "F32", "F16", "BF16":
        write(new(f"good-{dtype}"), {n: to_type(v, dtype) for n, v in tensors.items()})
    types = ["BF16", "F32", "F16"]
    mixed = {n: to_type(v, types[i % 3]) for i, (n, v) in enumerate(tensors.items())}
    write(new("good-mixed"), mixed, pad=1 + len(json.dumps(header_of(mixed))) % 2)  # numbers at odd addresses
    new("good-parts", {"config.json": {**config, "torch_dtype": "bfloat16", "transformers_version": "4.50.0", "id2label": None}})
    write_shards("good-parts", mixed, 3)
    words = {f"word{i}": i for i in range(9000)}
    write(new("good-texts", {
        "generation_config.json": {"eos_token_id": [7, 8], "bos_token_id": 5, "do_sample": True},
        "tokenizer.json": {"version": "1.0", "model": {"type": "BPE", "vocab": words, "merges": []}},  # beyond 64 KB
        "tokenizer_config.json": {"chat_template": "{{ messages }}", "eos_token": "</s>"},
        "special_tokens_map.json": {"eos_token": "</s>"}, "added_tokens.json": {"<x>": 9},
        "vocab.json": {**words, "\0": 9000, "a\0b": 9001}, "merges.txt": "#version: 0.2\na b\n", "chat_template.jinja": "{% for m in messages %}\u00e4{% endfor %}",
        "chat_template.json": {"chat_template": ""}, "tokenizer.model": "not text \x01\x02\n"}), plain)
    write(new("good-nul", {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"\0": 0}, "merges": []}}}), plain)
    if tied:
        write(new("good-head"), {**plain, "lm_head.weight": plain["model.embeddings.weight"]})

    # --- bad, each with words that the message must have
    first, second = list(plain)[:2]
    matrix = next(n for n, t in plain.items() if len(t[1]) == 2 and t[1][0] != t[1][1])

    def bad(name, pattern, texts=None, change=None, **how):
        path = new("bad-" + name, texts)
        made = {n: plain[n] for n in plain}
        if change:
            change(made)
        write(path, made, **how)
        print(f"bad-{name}\t{pattern}")

    def setting(name, tensor):
        return lambda made: made.update({name: tensor})

    bad("missing", f"tensor {second} is missing", change=lambda made: made.pop(second))
    bad("extra", "tensor model.layers.0.attn.D has no place", change=setting("model.layers.0.attn.D", to_type([1.0], "F32")))
    bad("shape", f"tensor {matrix} has shape .*, expected ",
        change=setting(matrix, (plain[matrix][0], plain[matrix][1][::-1], plain[matrix][2])))
    bad("flat", f"tensor {matrix} has shape .*, expected ",
        change=setting(matrix, (plain[matrix][0], [int(np.prod(plain[matrix][1]))], plain[matrix][2])))
    bad("dtype", f"tensor {second}: dtype I64 is not supported, expected F32, F16 or BF16",
        change=setting(second, ("I64", [len(plain[second][2]) // 8], plain[second][2])))
    for value, word in (np.nan, "nan"), (-np.inf, "infinite"):
        poisoned = tensors[second].copy()
        poisoned.reshape(-1)[3] = value
        for dtype in SIZES:
            bad(f"{word}-{dtype}", f"tensor {second}: value 3 is not finite", change=setting(second, to_type(poisoned, dtype)))
    header = header_of(plain)
    bad("overlap", "overlap", header={**header, second: header[first]}, change=setting(second, plain[first]))
    bad("tail", "bytes at its end belong to no tensor", tail=b"\0\0\0\0")
    bad("unknown-key", "configuration key surprise is not known", {"config.json": {**config, "surprise": 1}})
    bad("family", "model_type llama is not supported", {"config.json": {**config, "model_type": "llama"}})
    bad("no-json", "config.json: line 1", {"config.json": "{"})
    bad("tokenizer", "tokenizer.json: line 1", {"tokenizer.json": "{]"})
    bad("twice", "tokenizer.json: .*duplicate", {"tokenizer.json": '{"a": 1, "a": 2}'})
    bad("eos", "eos_token_id: expected an integer", {"generation_config.json": {"eos_token_id": "</s>"}})
    bad("many-eos", "eos_token_id: expected an integer", {"generation_config.json": {"eos_token_id": list(range(17))}})
    bad("own", "natsl.json: expected an object with kept_share", {"natsl.json": {"kept_share": 2}})
    if tied:
        bad("head", "tensor lm_head.weight has no place", change=setting("lm_head.weight", to_type(tensors["model.embeddings.weight"] + 1, "F32")))

    def cut(name, pattern, size):
        bad(name, pattern)
        path = f"bad-{name}/model.safetensors"
        os.truncate(path, size(os.path.getsize(path)))

    cut("cut-data", "but the file has ", lambda n: n - 1)
    cut("cut-header", "truncated", lambda n: 100)
    cut("empty", "0 bytes, expected a safetensors file", lambda n: 0)
    bad("huge", "a header of 72057594037927936 bytes, expected at most 100000000")
    with open("bad-huge/model.safetensors", "r+b") as f:
        f.write(struct.pack("<Q", 1 << 56))

    def parts(name, pattern, change, tail=None):
        new("bad-" + name)
        index = write_shards("bad-" + name, plain, 2)
        change(index["weight_map"])
        with open(f"bad-{name}/model.safetensors.index.json", "w") as f:
            f.write(tail if tail is not None else json.dumps(index))
        print(f"bad-{name}\t{pattern}")

    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    parts("outside", f"tensor {first}: file ../good-F32/model.safetensors, expected the name of one in this directory",
          lambda m: m.update({first: "../good-F32/model.safetensors"}))
    parts("absolute", "expected the name of one in this directory", lambda m: m.update({first: "/etc/passwd"}))
    parts("dots", "file \\.\\., expected the name", lambda m: m.update({first: ".."}))
    parts("number", "expected the name of one in this directory", lambda m: m.update({first: 7}))
    parts("swapped", f"tensor {first} is not in .*{two}", lambda m: m.update({first: two}))
    parts("no-part", "model-3.safetensors: No such file", lambda m: m.update({first: "model-3.safetensors"}))
    parts("unlisted", f"tensor {first} is not in the index", lambda m: m.pop(first))
    parts("listed", "tensor nobody is not in", lambda m: m.update({"nobody": one}))
    parts("index", "index.json: line 1", lambda m: None, tail="[")
    parts("no-map", "weight_map: expected an object", lambda m: None, tail="{}")
    parts("two-files", "overlap|belongs to|is not in", lambda m: None)
    shutil.copy(f"bad-two-files/{one}", f"bad-two-files/{two}")  # the same tensors again
    os.mkdir("bad-nothing")
    print("bad-nothing\tneither model.safetensors nor model.safetensors.index.json")
    write(new("bad-no-config"), plain)
    os.remove("bad-no-config/config.json")
    print("bad-no-config\tno config.json")


def qwen(golden):
    def bad(name, base, pattern, change=None, settings=None):
        path, of = f"bad-{name}", os.path.join(golden, base)
        os.mkdir(path)
        config = json.load(open(os.path.join(of, "config.json")))
        inner = config.get("text_config", config)
        for key, value in (settings or {}).items():
            if value is None:
                inner.pop(key)
            else:
                inner[key] = value
        json.dump(config, open(os.path.join(path, "config.json"), "w"))
        tensors = {n: t[1] for n, t in read_directory(of).items()}
        if change:
            change(tensors)
        write(os.path.join(path, "model.safetensors"), tensors)
        print(f"{path}\t{pattern}")

    def poison(name, at):
        def change(tensors):
            dtype, shape, raw = tensors[name]
            tensors[name] = dtype, shape, raw[:2 * at] + b"\xc0\x7f" + raw[2 * at + 2:]
        return change

    joint, ba = "model.layers.0.linear_attn.in_proj_qkvz.weight", "model.layers.0.linear_attn.in_proj_ba.weight"
    bad("next-missing", "qwen3_next", f"tensor {joint} is missing", lambda t: t.pop(joint))
    bad("next-shape", "qwen3_next", f"tensor {joint} has shape .40, 48., expected .80, 24.", lambda t: t.update({joint: (t[joint][0], [40, 48], t[joint][2])}))
    bad("next-nan", "qwen3_next", f"tensor {joint}: value 1000 is not finite", poison(joint, 1000))
    bad("next-nan-a", "qwen3_next", f"tensor {ba}: value 77 is not finite", poison(ba, 77))
    bad("next-extra", "qwen3_next", "tensor model.layers.0.linear_attn.in_proj_z.weight has no place",
        lambda t: t.update({"model.layers.0.linear_attn.in_proj_z.weight": t[ba]}))
    bad("next-pictures", "qwen3_next", "tensor model.visual.x has no place", lambda t: t.update({"model.visual.x": t[ba]}))
    bad("next-experts", "qwen3_next", "num_experts: layer 0 is a mixture of 4 experts", settings={"num_experts": 4})
    bad("next-groups", "qwen3_next", "linear_num_value_heads: expected a multiple of linear_num_key_heads", settings={"linear_num_value_heads": 3})
    bad("next-kinds", "qwen3_next", "tensor model.layers.0.self_attn.q_proj.weight is missing",
        settings={"layer_types": ["full_attention", "full_attention", "linear_attention"]})
    bad("5-prefix", "qwen3_5", "tensor model.norm.weight has no place|tensor model.language_model.norm.weight is missing",
        lambda t: t.update({"model.norm.weight": t.pop("model.language_model.norm.weight")}))
    bad("5-head", "qwen3_5", "tensor lm_head.weight has no place", settings={"tie_word_embeddings": True})
    bad("5-no-text", "qwen3_5", "tensor model.language_model.layers.3.input_layernorm.weight is missing",
        settings={"num_hidden_layers": 4, "layer_types": ["linear_attention"] + ["full_attention"] + 2 * ["linear_attention"]})
    bad("fla-norm", "fla_hybrid", "tensor model.layers.2.attn.q_norm.weight is missing",
        settings={"attn": [{"layers": [1], "num_heads": 4, "num_kv_heads": 2, "qkv_bias": True, "window_size": 40},
                           {"layers": [2], "num_heads": 2, "qk_norm": True}]})
    bad("fla-layer", "fla_hybrid", "attn.layers: expected distinct layer numbers",
        settings={"attn": [{"layers": [1], "num_heads": 4}, {"layers": [1, 2], "num_heads": 2}]})


def rounded(model, directory, out):
    import h5py
    shutil.copy(model, out)
    with h5py.File(out, "r+") as f:
        for name, (value, _) in read_directory(directory).items():
            if name.replace(".", "/") in f:
                f[name.replace(".", "/")][...] = value


def main():
    words = sys.argv[1:]
    if words[0] == "make":
        make(words[1])
    elif words[0] == "qwen":
        qwen(words[1])
    elif words[0] == "rounded":
        rounded(*words[1:])
    else:
        a, b = ({n: t[1] for n, t in read_directory(d).items()} for d in words[1:])
        assert a == b, f"{words[1]} and {words[2]} differ"


main()

#!/usr/bin/env bash
# tests/cli/bad_input.sh - hostile and unlucky input: one case per line, each alone and on 3 ranks. Always one line that names
# the file and what was expected, the exit code that belongs to it, no file left behind, no hang.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: the files cannot be made"
    exit 1
fi
good=$GOLDEN/hybrid-model.h5
tokens=$GOLDEN/hybrid-tokens.h5
config=$SOURCE/jobs/configs/byte-small.json
"$NATSL" init --config "$config" --seed 1 --out byte.h5 --quiet || exit 1
head -c 3000 "$SOURCE/LICENSE" >text.txt

# --- files that are wrong in one way each --------------------------------------------------------------------------------
mkdir model doc conf
: >model/empty.h5
head -c 100000 "$good" >model/truncated.h5
head -c 3000 "$good" >model/head-only.h5
echo "this is no HDF5 file" >model/text.h5
cp "$tokens" model/tokens.h5
"$PYTHON" - "$good" <<'PYTHON' || exit 1
import json, shutil, sys
import h5py
import numpy as np

good = sys.argv[1]


def model(name, change):
    path = f"model/{name}.h5"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as f:
        change(f)


def replace(f, name, data, **more):
    del f[name]
    f.create_dataset(name, data=data, **more)


def configure(**keys):
    def change(f):
        values = json.loads(f.attrs["config"])
        values.update(keys)
        f.attrs["config"] = json.dumps(values)
    return change


def poke(name, index, value):
    def change(f):
        f[name][index] = value
    return change


q, up, head, a_log = ("model/layers/0/attn/q_proj/weight", "model/layers/2/mlp/up_proj/weight", "lm_head/weight",
                      "model/layers/1/attn/A_log")
with h5py.File(good, "r") as f:
    shape = f[q].shape
model("missing-tensor", lambda f: f.__delitem__(up))
model("missing-last", lambda f: f.__delitem__("model/norm/weight"))
model("wrong-shape", lambda f: replace(f, q, np.zeros((shape[1], shape[0]), np.float32)))
model("wrong-rank", lambda f: replace(f, q, np.zeros(shape[0] * shape[1], np.float32)))
model("scalar", lambda f: replace(f, q, np.float32(1)))
model("no-rows", lambda f: replace(f, q, np.zeros((0, shape[1]), np.float32)))
model("integers", lambda f: replace(f, head, np.ones(f[head].shape, np.int32)))
model("strings", lambda f: replace(f, a_log, np.array([b"x"] * f[a_log].shape[0])))
model("group", lambda f: (f.__delitem__(q), f.create_group(q)))
model("nan", poke(head, (3, 5), np.nan))
model("inf", poke(a_log, 1, np.inf))
model("external-link", lambda f: (f.__delitem__(q), f.__setitem__(q, h5py.ExternalLink("/etc/passwd", "/x"))))
model("soft-loop", lambda f: (f.__delitem__(q), f.__setitem__(q, h5py.SoftLink("/" + q))))
model("no-format", lambda f: f.attrs.__delitem__("format"))
model("other-format", lambda f: f.attrs.__setitem__("format", "natsl-cake"))
model("version-2", lambda f: f.attrs.__setitem__("format_version", 2))
model("no-config", lambda f: f.attrs.__delitem__("config"))
model("config-number", lambda f: f.attrs.__setitem__("config", 7))
model("config-no-json", lambda f: f.attrs.__setitem__("config", '{"hidden_size": '))
model("config-array", lambda f: f.attrs.__setitem__("config", "[1, 2]"))
model("config-huge", configure(hidden_size=2**31))
model("config-overflow", configure(vocab_size=2**31 - 1, hidden_size=2**31 - 1))
model("config-many-layers", configure(num_hidden_layers=100000))
model("config-more-layers", configure(num_hidden_layers=5))
model("config-other-size", configure(hidden_size=128))
model("tokenizer", lambda f: f.create_group("tokenizer").attrs.__setitem__("kind", "sentencepiece"))
model("tokenizer-number", lambda f: f.create_group("tokenizer").attrs.__setitem__("kind", 3))

ok = dict(hidden_size=64, num_hidden_layers=4, vocab_size=96, head_dim=16, num_heads=2, num_attn_heads=4)
for name, keys in dict(unknown=dict(hidden_sizes=3), negative=dict(hidden_size=-1), zero=dict(num_heads=0), text=dict(vocab_size="many"),
                       real=dict(hidden_size=64.5), heads=dict(num_attn_heads=3), v_heads=dict(num_v_heads=3),
                       gate=dict(num_nats_head=3), chunk=dict(nats_block_size=0), layer=dict(gdn_layers=[4]),
                       layers=dict(gdn_layers="all"), ops=dict(n_ops=3), flag=dict(use_gate=1), eps=dict(norm_eps=-1),
                       deep=dict(num_hidden_layers=10**6), wide=dict(hidden_size=10**12)).items():
    json.dump({**ok, **keys}, open(f"conf/{name}.json", "w"))
json.dump(ok, open("conf/small.json", "w"))
open("conf/empty.json", "w").close()
open("conf/cut.json", "w").write('{"hidden_size": 64')
open("conf/twice.json", "w").write('{"hidden_size": 64, "hidden_size": 128}')
open("conf/nul.json", "wb").write(b'{"hidden_size": 64}\0{}')
open("conf/deep-nesting.json", "w").write("[" * 100000)
open("conf/long.json", "w").write(json.dumps(ok) + " " * (1 << 21))


def doc(name, data, dataset="tokens"):
    with h5py.File(f"doc/{name}.h5", "w") as f:
        if data is not None:
            f.create_dataset(dataset, data=data)


text = np.arange(200) % 96
doc("outside", np.where(np.arange(200) == 150, 96, text))
doc("outside-last", np.where(np.arange(200) == 199, 2**31 + 5, text).astype(np.int64))
doc("outside-wide", np.where(np.arange(200) == 70, 2**32, text).astype(np.int64)) # 0 in 32 bits
doc("outside-unsigned", np.where(np.arange(200) == 70, 2**64 - 1, text.astype(np.uint64)).astype(np.uint64))
doc("negative", np.where(np.arange(200) == 0, -1, text).astype(np.int32))
doc("none", np.zeros(0, np.int32))
doc("one", np.array([5], np.int32))
doc("two-dimensions", text.reshape(10, 20))
doc("real", text.astype(np.float32))
doc("no-tokens", text, "words")
doc("nothing", None)
open("doc/empty.txt", "wb").close()
open("doc/byte.txt", "wb").write(b"x")
open("doc/binary.txt", "wb").write(bytes(range(256)) * 3 + b"\xff\xc3\xe2\x82")
PYTHON
head -c 2500 "$tokens" >doc/truncated.h5

# --- models ------------------------------------------------------------------------------------------------------------------
score() { refused "$1" "$2" score --model "$3" "$tokens" --out r.h5; }
score 3 'missing\.h5: No such file' model/missing.h5
score 3 'model: ' model
score 3 'empty\.h5: ' model/empty.h5
score 3 'truncated\.h5: ' model/truncated.h5
score 3 'head-only\.h5: ' model/head-only.h5
score 3 'text\.h5: not an HDF5 file' model/text.h5
score 3 'tokens\.h5: ' model/tokens.h5
score 3 'missing-tensor\.h5: .*model[./]layers[./]2[./]mlp[./]up_proj[./]weight' model/missing-tensor.h5
score 3 'missing-last\.h5: .*model[./]norm[./]weight' model/missing-last.h5
score 3 'wrong-shape\.h5: .*q_proj.*expected' model/wrong-shape.h5
score 3 'wrong-rank\.h5: .*q_proj.*expected' model/wrong-rank.h5
score 3 'scalar\.h5: .*q_proj' model/scalar.h5
score 3 'no-rows\.h5: .*q_proj' model/no-rows.h5
score 3 'integers\.h5: .*lm_head.*type' model/integers.h5
score 3 'strings\.h5: .*A_log.*type' model/strings.h5
score 3 'group\.h5: .*q_proj' model/group.h5
score 3 'nan\.h5: .*lm_head' model/nan.h5
score 3 'inf\.h5: .*A_log' model/inf.h5
score 3 'external-link\.h5: .*q_proj' model/external-link.h5
score 3 'soft-loop\.h5: .*q_proj' model/soft-loop.h5
score 3 'no-format\.h5: ' model/no-format.h5
score 3 'other-format\.h5: .*natsl-model' model/other-format.h5
score 3 'version-2\.h5: .*version 2.*expected 1' model/version-2.h5
score 3 'no-config\.h5: .*config' model/no-config.h5
score 3 'config-number\.h5: .*config' model/config-number.h5
score 3 'config-no-json\.h5: ' model/config-no-json.h5
score 3 'config-array\.h5: ' model/config-array.h5
score 3 'config-huge\.h5: .*hidden_size' model/config-huge.h5
score '(3|4)' 'config-overflow\.h5|address space|memory' model/config-overflow.h5
score 3 'config-many-layers\.h5: .*num_hidden_layers' model/config-many-layers.h5
score 3 'config-more-layers\.h5: .*layers[./]4' model/config-more-layers.h5
score 3 'config-other-size\.h5: .*expected' model/config-other-size.h5
score 3 'tokenizer\.h5: .*tokenizer' model/tokenizer.h5
score 3 'tokenizer-number\.h5: ' model/tokenizer-number.h5
refused 3 'nothing\.h5: No such file' info nothing.h5
refused 3 'truncated\.h5: ' info model/truncated.h5
refused 3 'missing-tensor\.h5: ' info model/missing-tensor.h5
refused 3 'config-no-json\.h5: ' info model/config-no-json.h5
refused 3 'model' info model

# --- configurations ------------------------------------------------------------------------------------------------------------
init() { refused 3 "$1" init --config "conf/$2.json" --seed 1 --out m.h5; }
init 'none\.json: No such file' none
init 'empty\.json' empty
init 'cut\.json' cut
init 'twice\.json' twice
init 'nul\.json' nul
init 'deep-nesting\.json' deep-nesting
init 'long\.json: more than' long
init 'unknown\.json: .*hidden_sizes' unknown
init 'negative\.json: .*hidden_size' negative
init 'zero\.json: .*num_heads' zero
init 'text\.json: .*vocab_size' text
init 'real\.json: .*hidden_size' real
init 'heads\.json: .*num_attn_heads' heads
init 'v_heads\.json: .*num_v_heads' v_heads
init 'gate\.json: .*num_nats_head' gate
init 'chunk\.json: .*nats_block_size' chunk
init 'layer\.json: .*gdn_layers' layer
init 'layers\.json: .*gdn_layers' layers
init 'ops\.json: .*n_ops' ops
init 'flag\.json: .*use_gate' flag
init 'eps\.json: .*norm_eps' eps
init 'deep\.json: .*num_hidden_layers' deep
init 'wide\.json: .*hidden_size' wide
refused 2 '--tokenizer: byte needs 256 tokens' init --config conf/small.json --seed 1 --out m.h5 --tokenizer byte

# --- documents -----------------------------------------------------------------------------------------------------------------
document() { refused "$1" "$2" score --model "${4:-$good}" "$3" --out r.h5; }
document 3 'none\.h5: No such file' doc/missing/none.h5
document 3 'doc: ' doc
document 3 'outside\.h5: token 150 is 96, expected 0 to 95' doc/outside.h5
document 3 'outside-last\.h5: token 199 is 2147483653' doc/outside-last.h5
document 3 'outside-wide\.h5: token 70 is 4294967296' doc/outside-wide.h5
document 3 'outside-unsigned\.h5: token 70 ' doc/outside-unsigned.h5
document 3 'negative\.h5: token 0 is -1' doc/negative.h5
document 3 'none\.h5: empty' doc/none.h5
document 3 'two-dimensions\.h5: .*tokens' doc/two-dimensions.h5
document 3 'real\.h5: .*tokens.*type' doc/real.h5
document 3 'no-tokens\.h5: .*tokens' doc/no-tokens.h5
document 3 'nothing\.h5: .*tokens' doc/nothing.h5
document 3 'truncated\.h5: ' doc/truncated.h5
document 3 'hybrid-model\.h5: ' "$good"
document 3 'empty\.txt: empty' doc/empty.txt byte.h5
document 3 'standard input: empty' - byte.h5
document 3 'byte\.txt: text for a model without a tokenizer' doc/byte.txt # 96 tokens: no text
refused 3 'outside\.h5: token 150' read --model "$good" doc/outside.h5 --out c.h5
refused 3 'empty\.txt: empty' read --model byte.h5 doc/empty.txt --out c.h5
refused 3 'outside\.h5: token 150' score --model "$good" doc/outside.h5 --out r.h5 --pass-tokens 64
refused 3 'ctx\.h5: No such file' generate --model byte.h5 --context ctx.h5 --prompt x --max-new 1
refused 3 'truncated\.h5: ' generate --model byte.h5 --context model/truncated.h5 --prompt x --max-new 1

# one token works: nothing to score, but a next token's scores
for ranks in 0 3; do
    accepted "$ranks" score --model "$good" doc/one.h5 --out "one-$ranks.h5" --write hidden,state
    accepted "$ranks" score --model byte.h5 doc/byte.txt --out "byte-$ranks.h5"
    accepted "$ranks" score --model byte.h5 doc/binary.txt --out "binary-$ranks.h5"
done
expect "one token" "$PYTHON" -c '
import h5py, numpy as np
for ranks in "03":
    f = h5py.File(f"one-{ranks}.h5", "r")
    assert f["logprobs"].shape == (0,) and f["hidden"].shape == (1, 64) and np.isfinite(f["logits_last"][()]).all()
    assert f.attrs["tokens"] == 1 and "perplexity" not in f.attrs
    assert np.isfinite(h5py.File(f"binary-{ranks}.h5", "r")["logprobs"][()]).all()'

# --- places to write -------------------------------------------------------------------------------------------------------------
mkdir occupied
refused 5 'no/such: ' score --model "$good" "$tokens" --out no/such/r.h5
refused 5 'occupied: is a directory' score --model "$good" "$tokens" --out occupied
refused 5 'occupied: is a directory' read --model "$good" "$tokens" --out occupied
refused 5 'occupied: is a directory' init --config "$config" --seed 1 --out occupied
refused 5 'no: ' init --config "$config" --seed 1 --out no/m.h5
refused 5 'text\.h5: ' score --model "$good" "$tokens" --out model/text.h5/r.h5
refused 5 'null: is not a regular file' score --model "$good" "$tokens" --out /dev/null
refused 2 'byte\.h5 is also read' score --model byte.h5 doc/byte.txt --out byte.h5
refused 2 'byte\.txt is also read' score --model byte.h5 doc/byte.txt --out doc/../doc/byte.txt
refused '(2|5)' 'long|name' score --model "$good" "$tokens" --out "$(printf 'x%.0s' $(seq 300)).h5"
refused 2 'the path has [0-9]+ bytes' score --model "$good" "$tokens" --out "$(printf 'x/%.0s' $(seq 3000))r.h5"

if [ "$(id -u)" -ne 0 ]; then
    mkdir -m 555 sealed
    refused 5 'sealed: ' score --model "$good" "$tokens" --out sealed/r.h5
fi
if [ "$(id -u)" -eq 0 ] && mkdir -p .small && mount -t tmpfs -o size=64k natsl-test .small 2>/dev/null; then
    trap 'umount -l "$SCRATCH/.small"' EXIT
    head -c 40000 /dev/urandom >.long.txt
    refused 5 'small/r\.h5: ' score --model byte.h5 .long.txt --out .small/r.h5 --quiet
    refused 5 'small/r\.h5: ' score --model byte.h5 .long.txt --out .small/r.h5 --quiet --pass-tokens 4096
    refused 5 'small/c\.h5: ' read --model byte.h5 text.txt --out .small/c.h5 --quiet
    refused 5 'small/m\.h5: ' init --config "$config" --seed 1 --out .small/m.h5
    cases=$((cases + 1)) case_name="a full disk"
    [ -z "$(ls -A .small)" ] || complain "left on it: $(ls -A .small | tr '\n' ' ')"
    mount -o remount,ro .small && refused 5 'small: cannot be written to' score --model "$good" "$tokens" --out .small/r.h5
else
    skip "a full disk and a read-only one: needs root and mount"
fi
finish

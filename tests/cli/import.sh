#!/usr/bin/env bash
# import.sh - natsl import and natsl export. What goes through both comes back bit for bit: tensors in float32, float16, bfloat16 and
# mixed, in one file and in parts, and every text; an imported model computes what the model file with the same values computes,
# to the bit; hostile directories are refused with one line that names what is wrong, on 1 and 3 ranks, and leave nothing behind; the
# saved models of flash-linear-attention and transformers give their saved answers.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
[ -n "$PYTHON" ] || { echo "skipped: no Python with numpy and h5py"; exit 0; }
helper=$SOURCE/tests/cli/import.py

# --- golden models: out and in again, the same answers to the bit
for name in hybrid options; do
    accepted 0 export "$GOLDEN/$name-model.h5" --out "$name" --shard-size 100K
    accepted 3 import "$name" --out "$name.h5" --quiet
    [ -s "$SCRATCH/.out" ] && complain "--quiet prints"
    accepted 0 score --quiet --model "$GOLDEN/$name-model.h5" "$GOLDEN/$name-tokens.h5" --out want.h5 --write hidden,state
    accepted 2 score --quiet --model "$name.h5" "$GOLDEN/$name-tokens.h5" --out got.h5 --write hidden,state
    expect "$name: the same answers" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" want.h5 got.h5 --exact
    accepted 0 export "$name.h5" --out "$name-again" --quiet
    expect "$name: the same tensors" "$PYTHON" -B "$helper" same "$name" "$name-again"
    expect "$name: the same configuration" cmp "$name/config.json" "$name-again/config.json"
done
# a model of natsl's own says more than a directory of others has room for
mkdir needle # an empty one may be there
accepted 3 export "$SOURCE/jobs/models/needle.h5" --out needle/
accepted 0 import needle --out needle.h5
for file in "$SOURCE/jobs/models/needle.h5" needle.h5; do
    accepted 0 info "$file"
    grep -v -e '^kept ' -e '\.h5: ' "$SCRATCH/.out" >"${file##*/}.info" 
    [ "$file" = needle.h5 ] || mv needle.h5.info needle.info
done
expect "needle: what it is" cmp needle.info needle.h5.info
accepted 0 export needle.h5 --out needle-again
expect "needle: all files" diff -r needle needle-again

# --- every type, and every text
"$PYTHON" -B "$helper" make options >bad.txt || { complain "import.py make"; finish; }
"$PYTHON" -B "$helper" qwen "$GOLDEN" >>bad.txt || { complain "import.py qwen"; finish; }
for directory in good-*; do
    accepted 0 import "$directory" --out "$directory.h5"
    accepted 0 export "$directory.h5" --out "$directory-again"
    expect "$directory: the same tensors" "$PYTHON" -B "$helper" same "$directory" "$directory-again"
    expect "$directory: the same texts" diff -r -x 'model*.safetensors*' -x natsl.json "$directory" "$directory-again"
done
# bfloat16 and float16 take half the room, and read as the same numbers in float32 do: the same bits, the same digest
for type in F16 BF16; do
    [ "$(stat -c %s "good-$type.h5")" -lt $(($(stat -c %s good-F32.h5) * 6 / 10)) ] || complain "good-$type.h5 is not half as long"
    "$PYTHON" -B "$helper" rounded "$GOLDEN/options-model.h5" "good-$type" rounded.h5
    accepted 0 read --quiet --model rounded.h5 "$GOLDEN/options-tokens.h5" --out "$type.ctx.h5"
    accepted 0 score --quiet --model rounded.h5 "$GOLDEN/options-tokens.h5" --out want.h5 --write hidden,state
    accepted 3 score --quiet --model "good-$type.h5" "$GOLDEN/options-tokens.h5" --out got.h5 --write hidden,state
    expect "$type: the same answers" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" want.h5 got.h5 --exact
    accepted 0 read --quiet --model "good-$type.h5" --context "$type.ctx.h5" "$GOLDEN/options-tokens.h5" --out more.h5
done
accepted 0 info good-texts.h5
for line in 'tokenizer json' 'begins +with token 5' 'ends +with token 7 or 8' 'kept .*generation_config.json, tokenizer.json, '; do
    grep -Eq "$line" "$SCRATCH/.out" || complain "natsl info does not say '$line'"
done
accepted 0 import good-texts --dry-run
grep -q 'warning: good-texts/tokenizer.json: the tokenizer has the token 8999' "$SCRATCH/.err" || complain "no word of a tokenizer that cannot be used"
accepted 0 import good-nul --dry-run
grep -q 'warning: good-nul/tokenizer.json: line [0-9]*: NUL byte in object key' "$SCRATCH/.err" || complain "no word of a token that is a zero byte"
echo text >text.txt
rank_counts=0 refused 3 'tokenizer' score --model good-texts.h5 text.txt --out x.h5
accepted 0 score --quiet --model good-texts.h5 "$GOLDEN/options-tokens.h5" --out x.h5
accepted 0 import good-texts --tokenizer none --out none.h5
grep -q 'tokenizer none' "$SCRATCH/.out" || complain "--tokenizer none"
rank_counts=0 refused 3 'the model has no tokenizer' generate --model none.h5 --prompt text --max-new 2
accepted 0 generate --quiet --model none.h5 "$GOLDEN/options-tokens.h5" --max-new 3
grep -Eqx '[0-9]+ [0-9]+ [0-9]+' "$SCRATCH/.out" || complain "a model without a tokenizer does not print ids"
accepted 0 generate --quiet --model none.h5 "$GOLDEN/options-tokens.h5" --max-new 3 --json
grep -q '"text":null' "$SCRATCH/.out" || complain "a model without a tokenizer has text in --json"
accepted 0 import good-F32 --dry-run
accepted 0 export good-F32.h5 --dry-run

# --- hostile directories
while IFS=$'\t' read -r directory pattern; do
    case $directory in # the others alone: their errors take the same way
        bad-missing | bad-nan-F32 | bad-overlap | bad-outside | bad-no-json) rank_counts="0 3" ;;
        *) rank_counts=0 ;;
    esac
    refused 3 "$pattern" import "$directory" --out bad.h5
done <bad.txt
rank_counts=0
refused 3 'No such file' import nowhere --out bad.h5
refused 3 'not a directory' import good-F32.h5 --out bad.h5
refused 2 'a byte tokenizer needs 256 tokens, but the model has 64' import good-F32 --tokenizer byte --out bad.h5
refused 2 'HF_DIR' import --out bad.h5
refused 2 '--out' import good-F32
refused 5 'is a directory' import good-F32 --out good-F32
for file in model.safetensors config.json; do refused 2 'is also read' import good-F32 --out good-F32/$file; done
refused 5 'No such file' import good-F32 --out nowhere/bad.h5
mkfifo good-fifo.safetensors && mkdir bad-fifo && cp good-F32/config.json bad-fifo && mv good-fifo.safetensors bad-fifo/model.safetensors
refused 3 'not a regular file' import bad-fifo --out bad.h5
rank_counts="0 3"
refused 5 'good-F32: is there already and not empty' export good-F32.h5 --out good-F32
rank_counts=0
refused 5 'is a file, expected a directory' export good-F32.h5 --out text.txt
refused 5 'No such file' export good-F32.h5 --out nowhere/there
refused 3 'not an HDF5 file' export text.txt --out bad
refused 3 'not a natsl-model file|expected natsl-model' export want.h5 --out bad
"$PYTHON" -B - <<'TEXT'
import h5py
import numpy as np
import shutil

def change(name, what):
    shutil.copy("good-texts.h5", name)
    with h5py.File(name, "r+") as f:
        what(f)

def replace(f, name, data):
    del f[name]
    if data is not None:
        f[name] = data

other = b'{"model_type": "gated_deltanet"}'
change("evil-config.h5", lambda f: replace(f, "hf/config.json", np.frombuffer(other, np.uint8)))
change("evil-none.h5", lambda f: replace(f, "hf/config.json", None))
change("evil-words.h5", lambda f: replace(f, "hf/config.json", np.arange(4, dtype=np.int32)))
change("evil-long.h5", lambda f: replace(f, "hf/config.json", np.full((1 << 20) + 1, 32, np.uint8)))
change("evil-link.h5", lambda f: (replace(f, "hf/merges.txt", None), f.__setitem__("hf/merges.txt", h5py.ExternalLink("x.h5", "y"))))
change("evil-json.h5", lambda f: replace(f, "tokenizer_json", None))
change("evil-kind.h5", lambda f: f.attrs.__setitem__("tokenizer", "pickle"))
change("evil-eos.h5", lambda f: f.attrs.__setitem__("eos_token_id", np.array([1, 64])))
change("evil-eos17.h5", lambda f: f.attrs.__setitem__("eos_token_id", np.zeros(17, np.int64)))
TEXT
refused 3 'describe different models' export evil-config.h5 --out bad
refused 3 'hf/config.json is missing' export evil-none.h5 --out bad
refused 3 'hf/config.json: expected at most' export evil-words.h5 --out bad
refused 3 'hf/config.json: expected at most' export evil-long.h5 --out bad
refused 3 'hf/merges.txt is a link' export evil-link.h5 --out bad
refused 3 'tokenizer_json is missing' export evil-json.h5 --out bad
refused 3 'attribute tokenizer is pickle' info evil-kind.h5
refused 3 'eos_token_id is 64, expected 0 to 63' info evil-eos.h5
refused 3 'eos_token_id: expected 1 to 16 integers' info evil-eos17.h5
# no room for what is written: nothing is left
refused_small() { (ulimit -f 100 && exec "$NATSL" "$@"); }
for command in "import good-F32 --out small.h5" "export good-F32.h5 --out small"; do
    cases=$((cases + 1)) case_name="$command, files of 100 KiB"
    before=$(listing) code=0
    # shellcheck disable=SC2086
    refused_small $command >"$SCRATCH/.out" 2>"$SCRATCH/.err" || code=$?
    [ "$code" -eq 5 ] || complain "exit code $code, expected 5"
    [ "$(listing)" = "$before" ] || complain "files left behind"
done

# --- what the published class has no key for
refused 3 "configuration key (attn|norm_zero_centred) is natsl's own" export "$GOLDEN/attn-model.h5" --out own
refused 3 "configuration key (attn|norm_zero_centred|head_v_dim) is natsl's own" export "$GOLDEN/centred-model.h5" --out own

# --- the libraries' own answers, saved
RANKS="1 3" expect "saved models" "$PYTHON" -B "$SOURCE/tests/hf/models.py" check "$GOLDEN" gated_deltanet fla_hybrid qwen3_next qwen3_5
grep -h 'logits differ' "$SCRATCH/.out"
for name in fla_hybrid qwen3_next qwen3_5; do
    expect "$name: the same texts" diff -r -x 'model*.safetensors' -x expected.h5 "$GOLDEN/$name" "$name-again"
done
for command in "import $GOLDEN/qwen3_5 --out some.h5" "export qwen3_5.h5 --out some"; do
    # shellcheck disable=SC2086
    accepted 0 $command
    grep -q ': without 22 tensors of pictures' "$SCRATCH/.out" || complain "$command does not say what is left out"
done
accepted 0 export qwen3_next.h5 --out parts --shard-size 3K
expect "in parts: the same tensors" "$PYTHON" -B "$helper" same "$GOLDEN/qwen3_next" parts
accepted 0 import parts --out parts.h5
"$PYTHON" -B - <<'TEXT'
import h5py
import numpy as np
import shutil

def change(name, base, what):
    shutil.copy(base, name)
    with h5py.File(name, "r+") as f:
        what(f)

def widen(f):
    rows = f["model/layers/0/attn/k_proj/weight"][()].astype(np.float32)
    del f["model/layers/0/attn/k_proj/weight"]
    f["model/layers/0/attn/k_proj/weight"] = rows

change("evil-prefix.h5", "qwen3_5.h5", lambda f: f.attrs.__setitem__("hf_prefix", "model.evil."))
change("evil-left.h5", "qwen3_5.h5", lambda f: f.attrs.__setitem__("hf_left_out", -1))
change("evil-types.h5", "qwen3_next.h5", widen)
TEXT
refused 3 'hf_prefix: expected model.language_model.' export evil-prefix.h5 --out bad
refused 3 'hf_left_out: expected a number' export evil-left.h5 --out bad
refused 3 'k_proj.weight is F32, but other parts of .*in_proj_qkvz.weight are BF16' export evil-types.h5 --out bad
finish

#!/usr/bin/env bash
# tests/cli/generate.sh - generated text against scoring the same text: one-token kernels against the others.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: nothing can be compared"
    exit 1
fi

# a random model whose every path matters, of the 256 bytes and no special tokens
"$PYTHON" -B "$SOURCE/tests/oracle/oracle.py" random m.h5 --seed 3 --set vocab_size=256 || exit 1
head -c 500 "$SOURCE/LICENSE" >doc.txt
new=200

for ranks in 0 3; do
    accepted "$ranks" generate --model m.h5 doc.txt --prompt 'Q: who?' --max-new $new --json --quiet
    cp .out json-$ranks
    accepted "$ranks" generate --model m.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet
    cp .out text-$ranks
done
expect "the same tokens on 1 and 3 ranks" cmp json-0 json-3
expect "the same text on 1 and 3 ranks" cmp text-0 text-3
"$PYTHON" -c '
import json
tokens = json.load(open("json-0"))["tokens"]
text = open("doc.txt", "rb").read() + b"Q: who?" + bytes(tokens)
open("grown.bin", "wb").write(text)
assert open("text-0", "rb").read() == bytes(tokens) + b"\n", "text and tokens differ"
for n in (0, 1, 20, 69, 133, 199):
    open(f"grown-{n}.bin", "wb").write(text[:len(text) - len(tokens) + n])' || complain "grown text"

# Scoring the grown text: every token must have been the most probable one. hidden rows times the head are all scores at once.
for ranks in 0 3; do
    accepted "$ranks" score --model m.h5 grown.bin --out grown-$ranks.h5 --write hidden --quiet
    expect "$new greedy tokens are the most probable ones (ranks: $ranks)" "$PYTHON" -c '
import json, sys
import h5py, numpy as np
tokens = json.load(open("json-0"))["tokens"]
hidden = h5py.File(sys.argv[1], "r")["hidden"][()].astype(np.float64)
head = h5py.File("m.h5", "r")["lm_head/weight"][()].astype(np.float64)
assert len(tokens) == int(sys.argv[2]) == 200
logits = hidden[len(hidden) - len(tokens) - 1:-1] @ head.T
best = logits.argmax(1)
other = [(i, t, b, logits[i, b] - logits[i, t]) for i, (t, b) in enumerate(zip(tokens, best)) if t != b]
# only a tie up to rounding may be decided otherwise
assert all(gap < 1e-4 for *_, gap in other) and len(other) <= 2, other
assert len(set(tokens)) > 5, "a text without variety tests little"' grown-$ranks.h5 $new
done
for n in 0 1 20 69 133 199; do # and so says the program itself
    accepted 3 score --model m.h5 grown-$n.bin --out grown-$n.h5 --quiet
    expect "the next token after $n" "$PYTHON" -c '
import json, sys
import h5py
logits, token = h5py.File(sys.argv[1], "r")["logits_last"][()], json.load(open("json-0"))["tokens"][int(sys.argv[2])]
assert logits.max() - logits[token] < 1e-4' grown-$n.h5 $n
done

# a saved context gives what the document gives
for pair in '0 3' '3 0' '2 3'; do
    read -r save load <<<"$pair"
    accepted "$save" read --model m.h5 doc.txt --out ctx.h5 --quiet
    accepted "$load" generate --model m.h5 --context ctx.h5 --prompt 'Q: who?' --max-new $new --quiet
    cp .out loaded
    expect "context saved by $save, loaded by $load" cmp loaded text-0
done

# stop texts: cut out of the generated text, so that they do come; they span tokens
"$PYTHON" -c '
import json
tokens = json.load(open("json-0"))["tokens"]
for at in range(40, 180): # three bytes that can be given on a command line and come here first
    stop = bytes(tokens[at:at + 3])
    if all(33 <= b < 127 for b in stop): break
else:
    at, stop = next((i, bytes(tokens[i:i + 1])) for i in range(10, 200) if 33 <= tokens[i] < 127)
at = bytes(tokens).find(stop)
open("stop", "wb").write(stop)
open("before", "wb").write(bytes(tokens[:at]) + b"\n")' || complain "no stop text"
for ranks in 0 3; do
    accepted "$ranks" generate --model m.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet --stop 'does not come at all' --stop "$(cat stop)"
    cp .out stopped
    expect "stops before '$(cat stop)' (ranks: $ranks)" cmp stopped before
done
accepted 0 generate --model m.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet --stop "$(cat stop)" --json
grep -q '"end":"stop"' .out || complain "--json does not say that a stop text ended it"

# a token that ends texts: one that comes
"$PYTHON" -c '
import h5py, json, shutil, numpy as np
tokens = json.load(open("json-0"))["tokens"]
shutil.copy("m.h5", "ends.h5")
f = h5py.File("ends.h5", "r+")
f.attrs["eos_token_id"] = np.array([next(i for i in range(256) if i not in tokens), tokens[50]], np.int64)
at = tokens.index(tokens[50])
open("before", "wb").write(bytes(tokens[:at]) + b"\n")
json.dump(tokens[:at], open("before.json", "w"))' || complain "no token that ends texts"
for ranks in 0 3; do
    accepted "$ranks" generate --model ends.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet
    cp .out stopped
    expect "ends before token 50's like (ranks: $ranks)" cmp stopped before
done
accepted 0 generate --model ends.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet --json
cp .out ended
expect "--json: it is not among the tokens" "$PYTHON" -c '
import json
j, want = json.load(open("ended")), json.load(open("before.json"))
assert j["tokens"] == want and j["count"] == len(want) and j["end"] == "stop", j'
accepted 0 generate --model ends.h5 doc.txt --prompt 'Q: who?' --max-new $new --quiet --ignore-eos --json
cp .out ended
expect "--ignore-eos goes on" cmp ended json-0

# random choice: the seed decides, not the number of ranks
draw() { accepted "$1" generate --model m.h5 --prompt x --max-new 60 --temperature 1 --top-k 50 --top-p 0.95 --seed "$2" --json --quiet && cp .out "$3"; }
draw 0 1 a1 && draw 0 1 a2 && draw 3 1 a3 && draw 0 2 b1
expect "the same seed, the same text" cmp a1 a2
expect "the same seed on 3 ranks" cmp a1 a3
cases=$((cases + 1)) case_name="another seed"
! cmp -s a1 b1 || complain "gives the same text"
accepted 0 generate --model m.h5 --prompt x --max-new 30 --temperature 1 --top-k 1 --json --quiet && cp .out k1
accepted 0 generate --model m.h5 --prompt x --max-new 30 --json --quiet && cp .out greedy
expect "top-k 1 is greedy" cmp k1 greedy

# a document alone, and statistics on stderr
accepted 3 generate --model m.h5 doc.txt --max-new 3
grep -q 'generated 3 in' .err || complain "no statistics on stderr"
accepted 0 generate --model m.h5 doc.txt --prompt xy --max-new 1 --dry-run
grep -q '^tokens  *502 in' .out || complain "the plan does not count document and prompt"

# another model's context; a model that cannot read text
"$PYTHON" -B "$SOURCE/tests/oracle/oracle.py" random other.h5 --seed 4 --set vocab_size=256 || exit 1
refused 3 'another model' generate --model other.h5 --context ctx.h5 --prompt x --max-new 1
refused 3 'text' generate --model "$GOLDEN/hybrid-model.h5" --prompt x --max-new 1
refused 3 'm.h5' generate --model m.h5 --context m.h5 --prompt x --max-new 1
finish

#!/usr/bin/env bash
# tests/cli/tokenize.sh - a tokenizer.json through the program: token files on any number of ranks, texts as documents, generated text.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    echo "no Python with numpy and h5py: nothing can be compared"
    exit 1
fi
compare=$(dirname -- "${BASH_SOURCE[0]}")/compare.py
fixtures=$GOLDEN/tokenizer

# 420 KB: ranges of three ranks that are longer than the least; every part of it differs
for i in 1 2 3 4 5; do
    cat "$SOURCE/README.md" "$fixtures/text.bin" "$SOURCE/LICENSE"
    head -c $((i * 1000 + i)) "$GOLDEN/hybrid-tokens.h5" # no text at all
done >text
sed 's/"single_word":true/"single_word":false/' "$fixtures/bytes.json" >cuts.json # else it cannot be cut
cp "$fixtures"/*.json .

same='
import sys, h5py, numpy as np
a, b = (h5py.File(f, "r")["tokens"][()] for f in sys.argv[1:3])
assert a.dtype == np.int32 and len(a) > 10000 and np.array_equal(a, b), (len(a), len(b))'
for t in metaspace digits bytes cuts; do
    for ranks in 0 3; do
        accepted "$ranks" tokenize --tokenizer $t.json text --out $t-$ranks.h5 --special-tokens
    done
    cp .out said-$t
    shared='3 ranks'
    [ $t != bytes ] || shared='1 rank$' # it has a token that must be a word of its own
    expect "$t: shared by ranks" grep -q "$shared" said-$t
    expect "$t: the same tokens on 1 and 3 ranks" "$PYTHON" -c "$same" $t-0.h5 $t-3.h5
done

# a text that is not UTF-8 at all: ranges may begin behind the beginning of a character that never ends
"$PYTHON" -c 'import random; random.seed(1); open("latin", "wb").write(bytes(random.choices(b"ae \xe9\xf0\x9f\xe2", k=200000)))'
for ranks in 0 2 3; do accepted "$ranks" tokenize --tokenizer cuts.json latin --out latin-$ranks.h5 --quiet; done
expect "no UTF-8: the same tokens on 1 and 2 ranks" "$PYTHON" -c "$same" latin-0.h5 latin-2.h5
expect "no UTF-8: the same tokens on 1 and 3 ranks" "$PYTHON" -c "$same" latin-0.h5 latin-3.h5

# small texts: the ids of the tokenizers package, special tokens and all
for t in metaspace digits bytes; do
    accepted 0 tokenize --tokenizer $t.json "$fixtures/text.bin" --out small-$t.h5 --special-tokens --quiet
    expect "$t: the expected ids" "$PYTHON" -c '
import sys, h5py
assert h5py.File(sys.argv[1], "r")["tokens"][()].tolist() == list(map(int, open(sys.argv[2]).read().split()))' \
        small-$t.h5 "$fixtures/$t.ids"
done

# a model that carries its tokenizer
for t in metaspace cuts; do
    "$PYTHON" -B "$SOURCE/tests/oracle/oracle.py" random $t-model.h5 --seed 3 --set vocab_size=620 || exit 1
    "$PYTHON" -c '
import sys, h5py, numpy as np
f = h5py.File(sys.argv[1], "r+")
f.attrs["tokenizer"] = "json"
f["tokenizer_json"] = np.frombuffer(open(sys.argv[2], "rb").read(), np.uint8)' $t-model.h5 $t.json || exit 1
    head -c 1500 "$SOURCE/README.md" >doc.txt
    accepted 0 tokenize --model $t-model.h5 doc.txt --out doc.h5 --quiet
    accepted 0 score --model $t-model.h5 doc.h5 --out of-tokens.h5 --quiet
    for ranks in 0 3; do
        accepted "$ranks" score --model $t-model.h5 doc.txt --out of-text-$ranks.h5 --quiet
        expect "$t: a text is scored as its tokens (ranks: $ranks)" "$PYTHON" "$compare" --exact of-tokens.h5 of-text-$ranks.h5
        accepted "$ranks" generate --model $t-model.h5 doc.txt --prompt ' was für 字?' --max-new 40 --temperature 1 --json --quiet
        cp .out json-$ranks
    done
    expect "$t: the same text on 1 and 3 ranks" cmp json-0 json-3
    expect "$t: text has come" "$PYTHON" -c 'import json; j = json.load(open("json-0")); assert j["count"] == 40 and j["text"]'
    input=doc.txt accepted 3 read --model $t-model.h5 - --out ctx.h5 --special-tokens --quiet
done

echo '{"model":{"type":"Unigram"}}' >unigram.json
refused 3 'unigram.json: model: "Unigram" is not supported' tokenize --tokenizer unigram.json text --out x.h5
refused 2 'one of them' tokenize text --out x.h5
refused 3 'a token file, expected a text' tokenize --tokenizer digits.json doc.h5 --out x.h5
"$PYTHON" -c '
import h5py, numpy as np
f = h5py.File("cuts-model.h5", "r+")
del f["tokenizer_json"]
f["tokenizer_json"] = np.frombuffer(open("bytes.json", "rb").read().replace(b"\"id\":0,", b"\"id\":900,"), np.uint8)'
refused 3 'cuts-model.h5: added_tokens: entry' score --model cuts-model.h5 doc.txt --out x.h5
cp doc.txt other.txt
refused 3 'doc.txt: cuts-model.h5: added_tokens: entry|cuts-model.h5: added_tokens: entry' score --model cuts-model.h5 doc.txt other.txt --out docs

# training: texts become tokens, the same on any number of ranks; the model carries the tokenizer, and goes on with it
cat >T.json <<'END'
{"model": "tiny.json", "tokenizer": "cuts.json", "data": [{"kind": "text", "files": ["doc.txt", "text"]}],
 "phases": [{"steps": 2, "windows": 3, "tokens": 128}], "validation": {"every": 2, "windows": 2, "tokens": 128}}
END
tiny_config 620 >tiny.json
for ranks in 0 3; do accepted "$ranks" train --config T.json --out run-$ranks --quiet; done
loss() { grep -o '"validation".*"loss":[0-9.]*' $1/log.jsonl | grep -o '[0-9.]\{4\}' | tail -n 1; }
expect "trained on the same tokens" test "$(loss run-0)" = "$(loss run-3)"
accepted 0 score --model run-3/model.h5 doc.txt --out x.h5 --quiet
sed 's/"tokenizer": "cuts.json"/"init": "run-3\/model.h5"/' T.json >T2.json
accepted 3 train --config T2.json --out run-on --quiet
"$PYTHON" -c '
import h5py
for name in ("run-0", "run-3", "run-on"):
    f = h5py.File(f"{name}/model.h5", "r")
    assert f.attrs["tokenizer"] in ("json", b"json") and f["tokenizer_json"][()].tobytes() == open("cuts.json", "rb").read(), name' ||
    complain "trained models lack the tokenizer"
sed 's/cuts.json/unigram.json/' T.json >T3.json
refused 3 'unigram.json: model: "Unigram" is not supported' train --config T3.json --out run-bad
sed 's/"text", "files": .*/"needle"}],/; s/cuts.json/digits.json/' T.json >T4.json # it puts a space before each digit
refused 3 'T4.json: data\[0\].key_kind: the model.s tokenizer cannot write' train --config T4.json --out run-bad
sed 's/vocab_size": 620/vocab_size": 300/' tiny.json >small.json
sed 's/tiny.json/small.json/' T.json >T5.json
refused 3 'cuts.json: the tokenizer has the token' train --config T5.json --out run-bad

finish

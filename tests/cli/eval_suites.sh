#!/usr/bin/env bash
# tests/cli/eval_suites.sh - natsl eval beside RULER: recall in token ids, bAbI's stories, loss of documents, several questions about one
# haystack; scores against a scorer of its own (eval_check.py), both ways; damaged lines.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
check=("$PYTHON" -B "$(dirname -- "${BASH_SOURCE[0]}")/eval_check.py")

tiny_config 264 >tiny.json
tiny_config 100 >ids.json
"$NATSL" init --config tiny.json --seed 1 --out m.h5 --quiet || exit 1
"$NATSL" init --config ids.json --seed 3 --tokenizer none --out ids.h5 --quiet || exit 1
cp "$SOURCE/LICENSE" hay.txt
common=(eval --model m.h5 --quiet --threads 1)

# --- recall in token ids: a model without a tokenizer; against final rows and the head ----------------------------------------
mqar=(eval --model ids.h5 --suite mqar --quiet --lengths 160 --samples 2)
accepted 0 "${mqar[@]}" --out mqar1
accepted 3 "${mqar[@]}" --out mqar3 --ranks-per-sample 3
expect "the same on 3 ranks" cmp mqar1/mqar/160.jsonl mqar3/mqar/160.jsonl
accepted 0 eval --suite mqar --vocabulary 100 --data-only --lengths 160 --samples 2 --out mqar.data
data=mqar.data/synthetic/160/data/mqar/validation.jsonl
expect "the ids as a file" "${check[@]}" tokens $data ids.tokens.h5
accepted 0 score --model ids.h5 ids.tokens.h5 --write hidden --out ids.score.h5 --quiet
expect "the most probable answers" "${check[@]}" mqar $data mqar1/mqar/160.jsonl ids.score.h5 ids.h5
accepted 0 "${mqar[@]}" --out mqar5 --pairs 5 --vocabulary 50 --fill zero
expect "as many answers as pairs" grep -Eq '"pred":"[0-9]+( [0-9]+){4}"' mqar5/mqar/160.jsonl
refused 2 '200 pairs in 160 tokens' "${mqar[@]}" --pairs 200 --out r
refused 2 'the model has 100 ids' "${mqar[@]}" --vocabulary 101 --out r
refused 2 'are for --suite mqar' "${common[@]}" --suite kv --lengths 2K --pairs 3 --out r

# --- loss of documents by position, against natsl score -------------------------------------------------------------------------
head -c 5000 hay.txt >five.txt
accepted 0 "${common[@]}" --suite perplexity five.txt --out loss1
accepted 3 "${common[@]}" --suite perplexity five.txt --out loss3 --ranks-per-sample 3
expect "the same on 3 ranks" cmp loss1/five/5000.jsonl loss3/five/5000.jsonl
accepted 0 score --model m.h5 five.txt --out five.h5 --quiet
expect "the log-probabilities of natsl score" "${check[@]}" loss loss1 five.h5 five
accepted 0 "${common[@]}" --suite perplexity five.txt --bins 700 --out loss700
expect "bins of one size" "${check[@]}" loss loss700 five.h5 five
accepted 0 "${common[@]}" --suite perplexity five.txt --lengths 1K,2K --out windows
expect "windows one after the other" test "$(cat windows/five/1024.jsonl | wc -l)-$(cat windows/five/2048.jsonl | wc -l)" = 4-2
expect "a page about loss" grep -q 'Loss by position' windows/report.html
mkdir taken
cp five.txt taken/five
cases=$((cases + 1)) case_name="a file has a task's name"
on 0 "${common[@]}" --suite perplexity taken/five --out taken
[ "$code" -eq 5 ] && grep -q '^natsl: --out: taken/five: is no directory' .err || complain "exit code $code, expected 5 and a line"
expect "and stays" cmp five.txt taken/five
refused 2 '--log-json: five.txt is also read' "${common[@]}" --suite perplexity five.txt --out r --log-json five.txt
printf x >one.txt
accepted 0 "${common[@]}" --suite perplexity one.txt five.txt --out one
grep -Eq '^one +-$' .out || complain "no line for a document of one token"
expect "no loss of one token" bash -c '! grep -q nan one/report.html one/results.json'
refused 2 '5000 of them, expected at most 4096' "${common[@]}" --suite perplexity five.txt --bins 1 --out r
refused 2 'without a file' "${common[@]}" --suite perplexity --out r
refused 2 'is for --suite perplexity' "${common[@]}" --suite kv --lengths 2K --bins 7 --out r

# --- bAbI's stories in a text ----------------------------------------------------------------------------------------------------
printf '%s\n' '1 Mary moved to the bathroom.' '2 John went to the hallway.' $'3 Where is Mary? \tbathroom\t1' \
    '4 Mary went to the garden.' $'5 Where is Mary? \tgarden\t4' '1 Sandra is in the office.' \
    $'2 Where is Sandra?\toffice\t1' >qa1_single_test.txt
babi=("${common[@]}" --suite babilong qa1_single_test.txt --haystack hay.txt --keep-inputs all)
accepted 0 "${babi[@]}" --lengths 1200 --out babi1
accepted 3 "${babi[@]}" --lengths 1200 --out babi3
expect "the same on 3 groups" cmp babi1/qa1/1200.jsonl babi3/qa1/1200.jsonl
expect "every question" test "$(cat babi1/qa1/1200.jsonl | wc -l)" -eq 3
expect "facts before the question, in their order" grep -q 'bathroom\..*hallway\..*garden\..*Question: Where is Mary?' babi1/qa1/1200.jsonl
refused 2 'expected --haystack FILE' "${common[@]}" --suite babilong qa1_single_test.txt --lengths 1200 --out r
refused 2 'do not hold its longest story' "${babi[@]}" --lengths 300 --out r
damaged() # LINES PATTERN
{
    printf "$1" >bad_1.txt
    refused 3 "$2" "${common[@]}" --suite babilong bad_1.txt --haystack hay.txt --lengths 1K --out r
}
damaged '1 Mary moved.\n3 Where is Mary?\tx\t1\n' 'bad_1.txt, line 2: number 3, expected 2 or 1'
rank_counts=0
damaged '1 Mary moved.\n2 Where is Mary?\tx\t2\n' 'bad_1.txt, line 2: the fact it needs'
damaged 'Mary moved.\n' 'bad_1.txt, line 1: no number'
damaged '1 Mary moved.\n2 Where?\t\t1\n' 'bad_1.txt, line 2: an empty answer'
damaged '1 Mary moved.\n' 'bad_1.txt: no questions'
rank_counts=

# --- several questions about one haystack: read once, the same answers as when it is read for each -------------------------------
kv=("${common[@]}" --suite kv --questions 3 --lengths 1500 --max-new 4)
accepted 0 "${kv[@]}" --samples 4 --out together
expect "read once" test "$(grep -Ec '"read_tokens":1[0-9]{3},' together/kv/1500.runs.jsonl)" -eq 2
for n in 1 2 3 4; do accepted 0 "${kv[@]}" --samples $n --out single; done
expect "each reads it then" test "$(grep -Ec '"read_tokens":1[0-9]{3},' single/kv/1500.runs.jsonl)" -eq 4
expect "the same answers" cmp together/kv/1500.jsonl single/kv/1500.jsonl
accepted 2 "${kv[@]}" --samples 4 --out apart
expect "also on two groups" cmp together/kv/1500.jsonl apart/kv/1500.jsonl
"$PYTHON" - <<'END'
import json
text = open("hay.txt").read()
line = lambda context, i: json.dumps({"id": i, "context": context, "input": f"question {i}?", "answer": ["x"]}) + "\n"
one, two = text[:1000], text[1000:1900]
open("shared.jsonl", "w").write(line(one, 0) + line(one, 1) + line(one, 2) + line(two, 3))
open("mixed.jsonl", "w").write(line(one, 0) + line(two, 3) + line(one, 1) + line(two, 3) + line(one, 2))
END
accepted 0 "${common[@]}" --suite jsonl shared.jsonl --max-new 4 --out shared
accepted 0 "${common[@]}" --suite jsonl mixed.jsonl --max-new 4 --out mixed
expect "read twice" test "$(grep -Ec '"read_tokens":(9|10)[0-9]{2},' shared/shared/*.runs.jsonl)" -eq 2
expect "read five times" test "$(grep -Ec '"read_tokens":(9|10)[0-9]{2},' mixed/mixed/*.runs.jsonl)" -eq 5
answers() { grep -oh '"pred":.*"outputs"' "$1"/"$1"/*[0-9].jsonl; }
answers shared >.shared
answers mixed | sed -n '1p;3p;5p' >.mixed
answers mixed | sed -n 2p >>.mixed
expect "the same answers wherever lines stand" diff .shared .mixed
refused 2 'questions: is for --suite kv' "${common[@]}" --suite passkey --questions 2 --lengths 1K --out r

# --- a model with a tokenizer.json: everything in its tokens -----------------------------------------------------------------------
for t in bytes metaspace; do
    sed 's/"single_word":true/"single_word":false/' "$GOLDEN/tokenizer/$t.json" >$t.json # else texts cannot be cut
    "$PYTHON" -B "$SOURCE/tests/oracle/oracle.py" random $t.h5 --seed 3 --set vocab_size=620 || exit 1
    "$PYTHON" -c '
import sys, h5py, numpy as np
f = h5py.File(sys.argv[1], "r+")
f.attrs["tokenizer"] = "json"
f.attrs["eos_token_id"] = np.array([619], np.int64)
f["tokenizer_json"] = np.frombuffer(open(sys.argv[2], "rb").read(), np.uint8)' $t.h5 $t.json || exit 1
done
json=(eval --model bytes.h5 --quiet --threads 1)
accepted 0 "${json[@]}" --suite kv --questions 2 --lengths 2K --samples 4 --max-new 4 --out kvj
expect "in tokens: read once" test "$(grep -Ec '"read_tokens":1[0-9]{3},' kvj/kv/2048.runs.jsonl)" -eq 2
accepted 2 "${json[@]}" --suite kv --questions 2 --lengths 2K --samples 4 --max-new 4 --out kvj2
expect "in tokens: the same on two groups" cmp kvj/kv/2048.jsonl kvj2/kv/2048.jsonl
for n in 1 2 3 4; do accepted 0 "${json[@]}" --suite kv --questions 2 --lengths 2K --samples $n --max-new 4 --out kvj3; done
expect "in tokens: the same answers when it is read for each" cmp kvj/kv/2048.jsonl kvj3/kv/2048.jsonl
accepted 0 "${json[@]}" --suite perplexity five.txt --out lossj
accepted 0 score --model bytes.h5 five.txt --out fivej.h5 --quiet
expect "in tokens: the log-probabilities of natsl score" "${check[@]}" loss lossj fivej.h5 five
accepted 0 "${json[@]}" --suite jsonl shared.jsonl --max-new 4 --out sharedj
expect "in tokens: contexts read twice" test "$(grep -Ec '"read_tokens":[3-9][0-9]{2},' sharedj/shared/*.runs.jsonl)" -eq 2
# prompts are as long as their tokens are, and answers go through the decoder
ruler=(eval --quiet --suite ruler --haystack hay.txt --tasks niah_single_1,niah_single_2,niah_multikey_2,fwe)
for t in bytes metaspace; do
    accepted 0 "${ruler[@]}" --model $t.h5 --lengths 1500 --samples 2 --max-new 5 --keep-inputs all --special-tokens --out ruler-$t
    accepted 0 "${ruler[@]}" --model $t.h5 --lengths 1500 --samples 2 --max-new 5 --data-only --out data-$t
    accepted 0 "${ruler[@]}" --tokenizer $t.json --lengths 1500 --samples 2 --max-new 5 --data-only --out data2-$t
    expect "$t: the tokenizer's file counts as the model does" diff -r data-$t data2-$t
    "$PYTHON" -c '
import json, sys
for task in ("niah_single_1", "niah_single_2", "niah_multikey_2", "fwe"):
    for i, line in enumerate(open(f"{sys.argv[1]}/synthetic/1500/data/{task}/validation.jsonl")):
        s = json.loads(line)
        assert 1350 <= s["length"] <= 1500, (task, s["length"])
        if i == 0: open(f"{task}.prompt", "w", newline="").write(s["input"] + s["answer_prefix"]), open(f"{task}.length", "w").write(str(s["length"] - 5))
' data-$t || complain "$t: lengths"
    for task in niah_single_1 fwe; do
        accepted 0 tokenize --model $t.h5 $task.prompt --out prompt.h5
        cp .out said
        expect "$t: $task has as many tokens as it says" grep -q "tokens      $(cat $task.length) of" said
    done
done
refused 3 'no-such.json: No such file' "${ruler[@]}" --tokenizer no-such.json --lengths 1500 --data-only --out r
on 0 "${json[@]}" --suite ruler --tasks niah_multikey_2 --lengths 200 --max-new 120 --samples 1 --data-only --out r
cp .err said
expect "a sample that does not fit is no sample" grep -q '^natsl: niah_multikey_2: sample 0 does not fit in 200 tokens' said
expect "and there is no file" test -z "$(find r -type f)"
rm -rf r
unfit=("${json[@]}" --suite ruler --tasks niah_multikey_2 --lengths 200,1K --samples 2 --max-new 120 --keep-going)
accepted 0 "${unfit[@]}" --out unfit
cp .out said
expect "those that do not fit are counted" grep -q '^2 samples do not fit' said
expect "with the fields that other scorers want" grep -Eq '"input":""' unfit/niah_multikey_2/200.jsonl
expect "the others are answered" grep -q '"end":' unfit/niah_multikey_2/1024.jsonl
expect "on the page, too" grep -q '2 do not fit' unfit/report.html
accepted 2 "${unfit[@]}" --out unfit2
expect "the same on two groups" cmp unfit/niah_multikey_2/200.jsonl unfit2/niah_multikey_2/200.jsonl
accepted 0 eval --score-only --suite ruler unfit/*/200.jsonl --out unfit3
expect "failures for other scorers" grep -q '^Score,0.0$' unfit3/synthetic/200/pred/summary.csv

# --- scores against another scorer, both ways -------------------------------------------------------------------------------------
accepted 0 "${common[@]}" --suite ruler --tasks niah_single_1,vt,fwe --lengths 1K,1200 --samples 3 --max-new 6 --out ruler
expect "our predictions, scored by RULER's rules" "${check[@]}" score ruler
expect "predictions as RULER has them" "${check[@]}" make upstream 5
accepted 0 eval --score-only --suite ruler upstream/synthetic/*/pred/*.jsonl --out scored
expect "scored by natsl" "${check[@]}" compare scored 5.want
accepted 3 eval --score-only --suite ruler upstream/synthetic/*/pred/*.jsonl --out scored3
expect "on 3 ranks, too" diff -r scored/synthetic scored3/synthetic
accepted 0 eval --score-only --suite ruler ruler/*/1024.jsonl ruler/synthetic/1200/pred/*.jsonl --out again
expect "our own, scored again" "${check[@]}" same again ruler
accepted 0 eval --score-only --suite babilong babi1/qa1/1200.jsonl --out babi.again
accepted 0 eval --score-only --suite mqar mqar1/mqar/160.jsonl --out mqar.again
expect "recall, scored again" "${check[@]}" same mqar.again mqar1
printf '{"index": 0, "pred": "It is 7", "outputs": ["7"]}\n{"index": 1, "pred": 1}\n' >p.jsonl
refused 2 'does not say a length' eval --score-only --suite jsonl p.jsonl --out r
refused 3 'p.jsonl, line 2: no "pred"' eval --score-only --suite jsonl p.jsonl --lengths 4K --out r
accepted 0 eval --score-only --suite jsonl --metric integer p.jsonl --lengths 4K --keep-going --out p
grep -q 'left out p.jsonl, line 2' .err || complain "the damaged line is not told of"
expect "the other line counts" grep -q '^Score,100.0$' p/synthetic/4096/pred/summary.csv
printf '{"pred": "a", "outputs": ["a\\u0000c"]}\n' >zero.jsonl
rank_counts=0 refused 3 'zero.jsonl, line 1: expected output 0 is no text, or has a character 0' eval --score-only --suite jsonl zero.jsonl --lengths 4K --out r
refused 2 "has no task 'p'" eval --score-only --suite ruler p.jsonl --lengths 4K --out r
refused 2 'scores what files' eval --score-only --suite ruler --out r
refused 2 'runs no model' eval --score-only --suite ruler p.jsonl --model m.h5 --out r

# --- damaged lines of samples: number and reason, the rest goes on ----------------------------------------------------------------
"$PYTHON" - <<'END'
good = b'{"input": "a?", "outputs": ["b"]}\n'
bad = [b'{"input": "a?", "outp', b'{"input": "a?"}', b'{"input": 5, "outputs": ["b"]}',
       b'{"input": "\xff\xfe", "outputs": ["b"]}', b'{"input": "a\x00b", "outputs": ["b"]}', b'{"input": "' + b"a" * 100000000]
with open("damaged.jsonl", "wb") as f:
    for line in bad:
        f.write(good + line + b"\n")
    f.write(good)
for i, line in enumerate(bad[1:5]):
    open(f"damaged{i}.jsonl", "wb").write(good + line + b"\n")
open("long.jsonl", "wb").write(good + bad[5])
END
accepted 0 eval --suite jsonl damaged.jsonl --data-only --tokenizer byte --keep-going --quiet --out damaged
grep -q 'warning: 6 lines of damaged.jsonl.*line 2, column' .err || complain "not all damaged lines are counted"
expect "the good ones are there" test "$(cat damaged/synthetic/*/data/damaged/validation.jsonl | wc -l)" -eq 7
says=('no "outputs" or "answer"' 'are texts' 'column' 'column')
rank_counts=0
for i in 0 1 2 3; do
    refused 3 "damaged$i.jsonl, line 2.*${says[i]}" "${common[@]}" --suite jsonl damaged$i.jsonl --out r
done
refused 3 'damaged.jsonl, line 2, column' "${common[@]}" --suite jsonl damaged.jsonl --out r
refused 3 'long.jsonl, line 2, column 1000000[0-9]+: premature end' "${common[@]}" --suite jsonl long.jsonl --out r
rm -f damaged.jsonl long.jsonl
finish

#!/usr/bin/env bash
# tests/cli/eval.sh - natsl eval: the same predictions on any number of ranks and groups, and after kills; what is refused.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

tiny_config 264 >tiny.json
"$NATSL" init --config tiny.json --seed 1 --out m.h5 --quiet || exit 1
"$NATSL" init --config tiny.json --seed 2 --out other.h5 --quiet || exit 1
cp "$SOURCE/LICENSE" hay.txt
tasks=niah_single_1,niah_single_3,niah_multikey_2,niah_multiquery
common=(eval --model m.h5 --suite ruler --haystack hay.txt --quiet)
few=("${common[@]}" --max-new 12 --tasks "$tasks" --lengths 1200,2K --samples 3)

# same A B: the same predictions, and tables of scores, in both directories
same()
{
    (cd "$1" && find . -name '[0-9]*.jsonl' -not -name '*.runs.jsonl' -o -name '*.csv' | sort) >.files
    expect "there are predictions in $1" test -s .files
    while read -r file; do expect "$file of $1 and $2" cmp "$1/$file" "$2/$file"; done <.files
    expect "no parts are left in $2" test -z "$(find "$2" -name 'part-*')"
}

# --- the same on one rank, on groups, on groups of several ranks ---------------------------------------------------------
accepted 0 "${few[@]}" --out one --keep-inputs all
grep -q '^niah_multikey_2 .*(.*-.*)' .out || complain "no table"
expect "every sample is there" test "$(cat one/*/2048.jsonl | wc -l)" -eq 12
for file in results.json settings.json results.h5 report.html synthetic/2048/pred/summary.csv synthetic/2048/pred/submission.csv; do
    expect "$file" test -s one/$file
done
expect "links for RULER's own evaluation" cmp one/niah_multikey_2/2048.jsonl one/synthetic/2048/pred/niah_multikey_2.jsonl
expect "a summary of all tasks" grep -q "^Tasks,${tasks}$" one/synthetic/2048/pred/summary.csv
expect "a page without scripts or network" bash -c '! grep -Eq "<script|https?:" one/report.html'
accepted 3 "${few[@]}" --out three --keep-inputs all
same one three
# ranks that share a sample wait for one another at every token: a handful of samples
shared=("${common[@]}" --tasks niah_multiquery --lengths 1200 --samples 2 --max-new 3)
accepted 0 "${shared[@]}" --out alone
accepted 4 "${shared[@]}" --out two_groups --ranks-per-sample 2
same alone two_groups
accepted 3 "${shared[@]}" --out uneven --ranks-per-sample 2 # one group of all
same alone uneven

# --- more samples, lengths and tasks later: what is finished stays ---------------------------------------------------------
accepted 0 "${common[@]}" --max-new 12 --tasks niah_single_1 --lengths 1200 --samples 1 --out grown --keep-inputs all
accepted 0 "${few[@]}" --out grown --keep-inputs all
same one grown
accepted 0 "${few[@]}" --out grown --keep-inputs all # nothing to do
same one grown

# --- killed three times, at random, then to the end ------------------------------------------------------------------------
endless=("${common[@]}" --max-new 12 --tasks niah_single_1,niah_multikey_2 --lengths 8K)
long=("${endless[@]}" --samples 8)
accepted 0 "${long[@]}" --out whole
for round in 1 2 3; do
    "$NATSL" "${long[@]}" --out killed >/dev/null 2>&1 &
    pid=$!
    before=$(cat killed/*/8192.jsonl 2>/dev/null | wc -l)
    for _ in $(seq 400); do # some samples later
        [ "$(cat killed/part-*.jsonl 2>/dev/null | wc -l)" -lt $((1 + RANDOM % 3)) ] || break
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    case_name="round $round" cases=$((cases + 1))
    [ "$(cat killed/*/8192.jsonl killed/part-*.jsonl 2>/dev/null | wc -l)" -gt "$before" ] || complain "nothing was kept"
done
printf '{"task":"niah_single_1","len' >>killed/part-0.jsonl # as a kill in the middle of a line leaves it
accepted 2 "${long[@]}" --out killed
same whole killed

# --- a signal: code 6, what is finished is kept ----------------------------------------------------------------------------
env --default-signal=TERM "$NATSL" "${endless[@]}" --samples 2000 --out signalled >.out 2>.err &
pid=$!
for _ in $(seq 3000); do [ ! -s signalled/part-0.jsonl ] || break; sleep 0.02; done
kill -TERM $pid
code=0
wait $pid || code=$?
case_name="SIGTERM" cases=$((cases + 1))
[ "$code" -eq 6 ] || complain "exit code $code, expected 6"
grep -Eq '^natsl: interrupted; [1-9][0-9]* of 4000 samples are finished and kept in signalled' .err || complain "no word of what is kept"
expect "it is kept" test -s signalled/niah_single_1/8192.jsonl -o -s signalled/niah_multikey_2/8192.jsonl
expect "and nothing else" test -z "$(find signalled -name 'part-*')"

# --- a stop text; sampling ---------------------------------------------------------------------------------------------------
accepted 0 "${shared[@]}" --out warm1 --temperature 1 --top-k 20
accepted 2 "${shared[@]}" --out warm2 --temperature 1 --top-k 20 --ranks-per-sample 2
same warm1 warm2
accepted 0 "${common[@]}" --tasks niah_single_1,niah_multiquery --lengths 1200 --samples 2 --max-new 3 --out warm3 --temperature 1 --top-k 20
expect "whatever other tasks there are" cmp warm1/niah_multiquery/1200.jsonl warm3/niah_multiquery/1200.jsonl
accepted 0 "${common[@]}" --tasks niah_single_1 --lengths 1200 --samples 2 --dry-run
grep -q '^length .*1200: 1 task of 2 samples, 1 rank per sample, 1 group side by side' .out || complain "no plan"

# --- RULER's own samples; data without a model; pages ----------------------------------------------------------------------------
for suite in niah passkey number kv; do
    accepted 0 eval --model m.h5 --suite $suite --haystack hay.txt --quiet --lengths 1K --samples 2 --max-new 4 --out other-$suite
    expect "samples of $suite" test "$(cat other-$suite/$suite/1024.jsonl | wc -l)" -eq 2
done
printf '{"input": "a?", "outputs": ["b"], "answer_prefix": ""}\n{"context": "x", "input": "q", "answer": "x"}\n' >mine.jsonl
accepted 0 eval --model m.h5 --suite jsonl mine.jsonl --max-new 4 --quiet --out mine1
accepted 3 eval --model m.h5 --suite jsonl mine.jsonl --max-new 4 --quiet --out mine3
same mine1 mine3
printf '{"input": "a?", "outp' >>mine.jsonl
refused 3 'mine.jsonl, line 3, column' eval --model m.h5 --suite jsonl mine.jsonl --max-new 4 --out r
accepted 3 eval --model m.h5 --suite jsonl mine.jsonl --max-new 4 --quiet --out mine4 --keep-going
grep -q 'warning: 1 line.*line 3' .err || complain "the damaged line is not told of"
expect "the others are answered" cmp mine1/mine/9.jsonl mine4/mine/9.jsonl
head -n 2 mine.jsonl >two.jsonl
# names of files: no text, of directories, of results
mkdir $'odd\xff'
cp two.jsonl $'odd\xff/two.jsonl'
cp hay.txt $'odd\xff/hay.txt'
cp m.h5 $'odd\xff/m.h5'
accepted 0 eval --model $'odd\xff/m.h5' --suite niah --haystack $'odd\xff/hay.txt' --lengths 1K --samples 1 --max-new 4 --quiet --out odd
expect "the paths as far as they are text" grep -q '"haystack": "odd\\ufffd/hay.txt\|"haystack": "odd'$'\xef\xbf\xbd''/hay.txt' odd/results.json
accepted 0 eval --model m.h5 --suite jsonl $'odd\xff/two.jsonl' --max-new 4 --quiet --out odd2
rank_counts=0
for name in $'x\xff' $'x\x01' .. . results.json; do
    cp two.jsonl "$name.jsonl"
    refused 2 'expected another name .a link will do' eval --model m.h5 --suite jsonl "$name.jsonl" --max-new 4 --out r
    refused 2 'expected another name .a link will do' eval --suite jsonl --score-only "$name.jsonl" --lengths 9 --out r
done
rank_counts=
refused 2 'files of different names' eval --model m.h5 --suite jsonl two.jsonl ./two.jsonl --out r
refused 2 'without a file' eval --model m.h5 --suite jsonl --out r
refused 2 'are not for --suite jsonl' eval --model m.h5 --suite jsonl mine.jsonl --lengths 4K --out r
refused 2 'expected --suite jsonl, babilong or perplexity with it' eval --model m.h5 --suite kv mine.jsonl --lengths 4K --out r
refused 2 'exact is for --suite ruler' eval --model m.h5 --suite kv --mode exact --lengths 4K --out r
unset NATSL_WORD_LISTS XDG_DATA_HOME
export HOME=$SCRATCH # no word lists there
exact=(eval --suite ruler --mode exact --quiet --samples 2)
accepted 0 "${exact[@]}" --model m.h5 --max-new 4 --tasks niah_multikey_3,vt --lengths 3K --out exact1
accepted 2 "${exact[@]}" --model m.h5 --max-new 4 --tasks niah_multikey_3,vt --lengths 3K --out exact2
same exact1 exact2
# one that does not fit, of another group than those behind it
article() { printf '{"paragraphs": ['; for i in $(seq 12); do printf '%s{"context": "%s %s", "qas": [' "${comma:-}" "$1 $i" "$2"; [ "$i" -gt 1 ] || printf '{"question": "%s?", "is_impossible": false, "answers": [{"text": "%s"}]}' "$1" "$1"; printf ']}'; comma=,; done; printf ']}'; comma=; }
long=$(head -c 1000 /dev/zero | tr '\0' x)
{ printf '{"data": ['; article a short; printf ,; article b "$long"; printf ,; article c short; printf ,; article d short; printf ']}'; } >articles.json
unfit=(eval --suite ruler --mode exact --quiet --samples 4 --model m.h5 --max-new 4 --tasks qa_1 --squad articles.json --lengths 3000 --keep-going)
accepted 0 "${unfit[@]}" --out unfit1
accepted 2 "${unfit[@]}" --out unfit2
expect "one does not fit" test "$(grep -c '"error":' unfit1/qa_1/3000.jsonl)" -eq 1
same unfit1 unfit2
accepted 0 "${exact[@]}" --data-only --tokenizer whitespace --tasks vt,fwe,niah_multikey_3 --lengths 4K --out data
data=data/synthetic/4096/data
expect "coded words of fwe" grep -q '"outputs": \["ufnllw", "iwshay", "rhbtmq"\], "length": 3990' $data/fwe/validation.jsonl
expect "names of vt" grep -q '"outputs": \["DMNOI", "TLVXL", "XLEWL", "TVHUM", "GLSGI"\], "length": 4093' $data/vt/validation.jsonl
accepted 3 "${exact[@]}" --data-only --tokenizer whitespace --tasks vt,fwe,niah_multikey_3 --lengths 4K --out data3
expect "the same data on 3 ranks" diff -r data data3
accepted 3 report one grown --out both.html
expect "two runs on a page" grep -q 'class="legend"' both.html
accepted 0 report one grown --heatmap both.svg
expect "a picture of its own" grep -q '^<svg xmlns' both.svg
expect "and one beside every page" grep -q '>niah_multikey_2</text>' one/heatmap.svg
rank_counts=0
refused 2 '--out: one/results.json is also read' report one --out one/results.json
refused 2 '--heatmap: b.svg is --out, too' report one --out b.svg --heatmap b.svg
rank_counts=
refused 3 'no-such-directory' report no-such-directory --out r.html
refused 3 'not a results.json of natsl eval' report one/settings.json --out r.html
refused 2 'DIR is missing' report --out r.html
refused 2 '--out is missing, expected --out PAGE.html, --heatmap' report one
refused 2 'exact samples need the lists of the Python package wonderwords' "${exact[@]}" --model m.h5 --tasks niah_single_1 --lengths 4K --out r
refused 3 'nounlist.txt: No such file' "${exact[@]}" --model m.h5 --tasks niah_single_1 --lengths 4K --out r --word-lists .
refused 2 'expected --squad' eval --model m.h5 --suite ruler --tasks qa_1 --lengths 4K --out r
printf '{"data": [{"paragraphs": [{"context": 1}]}]}' >bad.json
refused 3 'bad.json: a paragraph of article 0' eval --model m.h5 --suite ruler --tasks qa_1 --squad bad.json --lengths 4K --out r
printf '[{"question": "who", "answer": "me", "context": [["t", [1]]]}]' >bad.json
refused 3 'bad.json: a document of question 0' eval --model m.h5 --suite ruler --tasks qa_2 --hotpot bad.json --lengths 4K --out r
refused 2 'whitespace is for --mode exact' eval --suite ruler --data-only --tokenizer whitespace --tasks vt --lengths 4K --out r
refused 2 'is for --data-only' eval --model m.h5 --suite ruler --tokenizer byte --tasks vt --lengths 4K --out r
refused 2 '--model is missing' eval --suite ruler --tasks vt --lengths 4K --out r
refused 2 "--seed: '-1'" eval --model m.h5 --suite ruler --tasks vt --lengths 4K --out r --seed -1

# --- refused -------------------------------------------------------------------------------------------------------------------
refused 2 '--suite is missing' eval --model m.h5 --lengths 4K --out r
refused 2 '--lengths is missing' eval --model m.h5 --suite ruler --out r
refused 2 "--suite: 'rule' is unknown" eval --model m.h5 --suite rule --lengths 4K --out r
refused 2 "--tasks: 'niah' is unknown, expected a list of niah_single_1" eval --model m.h5 --suite ruler --tasks niah --lengths 4K --out r
refused 2 "--tasks: '' is unknown" eval --model m.h5 --suite ruler --tasks niah_single_1, --lengths 4K --out r
refused 2 'is there twice' eval --model m.h5 --suite ruler --tasks niah_single_1,niah_single_1 --lengths 4K --out r
refused 2 "--lengths: '4X'" eval --model m.h5 --suite ruler --tasks niah_single_1 --lengths 4X --out r
refused 2 "--lengths: 4096 is there twice" eval --model m.h5 --suite ruler --tasks niah_single_1 --lengths 4K,4096 --out r
refused 2 'does not fit in 200 tokens' eval --model m.h5 --suite ruler --tasks niah_single_1 --lengths 200 --out r
refused 2 'expected --haystack FILE' eval --model m.h5 --suite ruler --tasks niah_single_2 --lengths 4K --out r
refused 3 'no-such-file: No such file' eval --model m.h5 --suite ruler --tasks niah_single_2 --lengths 4K --out r --haystack no-such-file
refused 3 'HDF5 file, expected a text' eval --model m.h5 --suite ruler --tasks niah_single_2 --lengths 4K --out r --haystack m.h5
refused 3 'no-such-model' eval --model no-such-model --suite ruler --tasks niah_single_1 --lengths 4K --out r
refused 3 'text' eval --model "$GOLDEN/hybrid-model.h5" --suite ruler --tasks niah_single_1 --lengths 4K --out r
refused 2 'with keep_inputs "all", not "cut"' "${few[@]}" --out one
# what is there by default only, what is not, and what older runs did not write
rank_counts=0
refused 2 'with state_pass "auto", not "scan"' "${few[@]}" --out one --keep-inputs all --state-pass scan
kv=(eval --model m.h5 --suite kv --lengths 1K --samples 1 --max-new 4 --quiet)
accepted 0 "${kv[@]}" --questions 2 --out questions
refused 2 'with questions 2, not unset' "${kv[@]}" --out questions
cp one/settings.json .settings
sed -i -z 's/,\n *"state_pass": "auto"//' one/settings.json
refused 2 'with state_pass unset, not "auto"' "${few[@]}" --out one --keep-inputs all
cp .settings one/settings.json
refused 2 '--heatmap: .* is --out, too' report one --out page.html --heatmap ./page.html
echo text >not-a-log
refused 2 'not-a-log is there and is no log' report one --out page.html --log-json not-a-log
expect "it is still there" grep -qx text not-a-log
accepted 0 report one --out page.html --log-json a-log
accepted 0 report one --out page.html --log-json a-log
rank_counts=
refused 2 'with model_digest' eval --model other.h5 --suite ruler --haystack hay.txt --max-new 12 --tasks niah_single_1 --lengths 2K --out one --keep-inputs all
sed -i '2s/"pred"/"prad"/' one/niah_single_1/2048.jsonl
refused 3 'one/niah_single_1/2048.jsonl, line 2: not a sample' "${few[@]}" --out one --keep-inputs all
finish

#!/usr/bin/env bash
# tests/cli/usage.sh - help, version, and every kind of wrong use.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

model=$GOLDEN/hybrid-model.h5
tokens=$GOLDEN/hybrid-tokens.h5
config=$SOURCE/jobs/configs/byte-small.json

says() { grep -Eq -- "$1" "$SCRATCH/.out" || complain "standard output does not say '$1'"; }
silent() { [ ! -s "$SCRATCH/.err" ] || complain "something on stderr"; }

for ranks in 0 3; do
    accepted "$ranks" --version && says '^natsl [0-9]+\.[0-9]+\.[0-9]+ \(' && says '^MPI +[A-Z]' && says '^HDF5 +[0-9]' &&
        says '^BLAS +OpenBLAS' && silent
    [ "$(grep -c '^natsl ' "$SCRATCH/.out")" -eq 1 ] || complain "every rank printed"
    for command in init info score read generate eval grad bench report help; do
        accepted "$ranks" help && says "^  $command " && silent
        accepted "$ranks" help "$command" && says "^natsl $command" && silent
        [ "$(grep -c "^natsl $command" "$SCRATCH/.out")" -eq 1 ] || complain "every rank printed"
    done
done
accepted 0 --help && says '^  score ' && silent
accepted 0 help --help && says '^  score ' && silent
for command in init info score read generate eval grad bench report; do
    accepted 0 "$command" --help && says "^natsl $command" && says '--threads N' && says '--pass-tokens N' && silent
done

refused 2 'no command.*natsl help'
refused 2 'frobnicate: unknown command' frobnicate
refused 2 '--frobnicate: unknown option' --frobnicate
refused 2 "extra argument 'more'" --version more
refused 2 "extra argument 'more'" help score more
refused 2 "'frobnicate' is no command" help frobnicate
refused 2 'unknown option --frobnicate' score --frobnicate
refused 2 'unknown option --mod' score --mod "$model" "$tokens" --out r.h5 # abbreviations are not options
refused 2 'unknown option -x' score -x
refused 2 'unknown option -m' score -m "$model"
refused 2 '--model has no argument' score "$tokens" --out r.h5 --model
refused 2 '--quiet takes no argument' score --quiet=yes
refused 2 '--model is missing' score "$tokens" --out r.h5
refused 2 '--out is missing' score --model "$model" "$tokens"
refused 2 'DOC is missing' score --model "$model" --out r.h5
refused 2 "extra argument.*one TOKENS.h5" grad --model "$model" --out r.h5 "$tokens" "$tokens"
refused 2 'extra argument' grad --model "$model" --out r.h5 -- "$tokens" "$tokens"
refused 2 'both results would be' score --model "$model" --out r -- "$tokens" "$tokens"
refused 2 'FILE is missing' info
refused 2 'extra argument' init --config "$config" --seed 1 --out m.h5 more
refused 2 '--model: empty' score --model '' "$tokens" --out r.h5
refused 2 "given twice, as '1' and '2'" score --model "$model" "$tokens" --out r.h5 --threads 1 --threads 2
for bad in '' x 3x 1.5 -1 ' 1' '1 ' 0x10 1k 1KB 99999999999999999999 9999999999G 5000; do
    refused 2 "--threads: '$bad'.*whole number from 0 to 4096" score --model "$model" "$tokens" --out r.h5 --threads "$bad"
    rank_counts=0
done
unset rank_counts
refused 2 '--pass-tokens' score --model "$model" "$tokens" --out r.h5 --pass-tokens 1025G
refused 2 '--stage-tokens' score --model "$model" "$tokens" --out r.h5 --stage-tokens many
refused 2 "--state-pass: 'ring'.*auto, relay or scan" score --model "$model" "$tokens" --out r.h5 --state-pass ring
refused 2 "--route: 'both'.*learned, softmax or linear" score --model "$model" "$tokens" --out r.h5 --route both
refused 2 "--kernels: 'slow'.*fast or ref" score --model "$model" "$tokens" --out r.h5 --kernels slow
refused 2 "--write: 'all'" score --model "$model" "$tokens" --out r.h5 --write all
refused 2 '--write: .*comma' score --model "$model" "$tokens" --out r.h5 --write hidden,
refused 2 "--write: ''" score --model "$model" "$tokens" --out r.h5 --write hidden,,state
refused 2 '--seed is missing' init --config "$config" --out m.h5
refused 2 "--seed: '-1'" init --config "$config" --seed -1 --out m.h5
refused 2 "--tokenizer: 'bpe'" init --config "$config" --seed 1 --out m.h5 --tokenizer bpe
refused 2 '--max-new is missing' generate --model "$model" --prompt x
refused 2 "--max-new: '0'" generate --model "$model" --prompt x --max-new 0
refused 2 'no text to continue' generate --model "$model" --max-new 1
refused 2 'no text to continue' generate --model "$model" --max-new 1 --prompt ''
refused 2 'both DOC and --context' generate --model "$model" --max-new 1 --prompt x --context c.h5 "$tokens"
for bad in '' x -1 nan inf 1e9 0x1p3z; do
    refused 2 "--temperature: '$bad'" generate --model "$model" --prompt x --max-new 1 --temperature "$bad"
    rank_counts=0
done
unset rank_counts
for bad in 0 -0.1 1.1 nan; do
    refused 2 "--top-p: '$bad'" generate --model "$model" --prompt x --max-new 1 --top-p "$bad"
    rank_counts=0
done
unset rank_counts
refused 2 "--top-k: '-2'" generate --model "$model" --prompt x --max-new 1 --top-k -2
refused 2 '--stop: empty' generate --model "$model" --prompt x --max-new 1 --stop ''

# the same value twice is no contradiction; options after the document, after "=", and numbers with suffixes
accepted 0 score --threads 1 "$tokens" --model="$model" --threads 1 --out r.h5 --pass-tokens 1K --quiet
[ -s r.h5 ] || complain "no result"
[ ! -s .out ] || complain "--quiet, but something on standard output"

# --dry-run prints and writes nothing
for ranks in 0 3; do
    before=$(listing)
    accepted "$ranks" score --model "$model" "$tokens" --dry-run && says '^tokens +332 in 1 pass' && says '^first pass +\[0, ' &&
        says '^memory ' && says '^exchange '
    accepted "$ranks" read --model "$model" "$tokens" --dry-run --pass-tokens 128 && says '332 in [23] passes'
    accepted "$ranks" init --config "$config" --seed 1 --dry-run && says '[1-9][0-9]+ parameters'
    [ "$(listing)" = "$before" ] || complain "--dry-run wrote a file"
done

# OpenBLAS's core: the user's word is kept, and what it costs is said
if [ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo; then
    cases=$((cases + 1)) case_name="OPENBLAS_CORETYPE=Prescott"
    OPENBLAS_CORETYPE=Prescott on 3 score --model "$model" "$tokens" --out r2.h5
    [ "$code" -eq 0 ] || complain "exit code $code"
    [ "$(grep -c '^warning: OpenBLAS uses its core "Prescott"' .err)" -eq 1 ] || complain "expected one line of warning"
else
    skip "OpenBLAS's core: not an x86-64 CPU with AVX2"
fi

# more threads than cores
accepted 0 score --model "$model" "$tokens" --dry-run --threads 300
[ "$(grep -c '^warning: rank 0 may use .* but has 300 threads' .err)" -eq 1 ] || complain "expected one line of warning"
accepted 3 score --model "$model" "$tokens" --dry-run --threads 300
[ "$(grep -c '^warning: .* threads' .err)" -eq 1 ] || complain "expected one line of warning"
accepted 0 score --model "$model" "$tokens" --dry-run --threads 300 --quiet
silent

# standard output that cannot be written
if [ -e /dev/full ]; then
    cases=$((cases + 1)) case_name="standard output is full"
    code=0
    "$NATSL" help >/dev/full 2>.err || code=$?
    [ "$code" -eq 5 ] && grep -q '^natsl: standard output: ' .err || complain "exit code $code, expected 5 and a line"
fi
cases=$((cases + 1)) case_name="standard output is closed by its reader"
code=$("$PYTHON" -c 'import os, subprocess, sys
r, w = os.pipe(); os.close(r)
p = subprocess.run([sys.argv[1], "help"], stdout=w, stderr=subprocess.PIPE); print(p.returncode, len(p.stderr))' "$NATSL")
[ "$code" = "6 0" ] || complain "exit code and bytes on stderr '$code', expected '6 0'"
finish

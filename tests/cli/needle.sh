#!/usr/bin/env bash
# tests/cli/needle.sh - the model that comes with natsl finds what it is asked for: in noise and in a text it has not seen, on 1 and
# on 3 ranks. Few and short samples; README.md has the accuracy.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

model=$SOURCE/jobs/models/needle.h5

# English that is no dictionary: the program's own README, with the needles that the sources of the program do not have.
haystack=$SOURCE/README.md

ask() # RANKS BYTES: a needle in the middle of that many bytes of the haystack
{
    local number=4817263 key=quiet-harbor
    {
        printf 'A special magic number is hidden within the following text. Make sure to memorize it. '
        printf 'I will quiz you about the number afterwards.\n'
        head -c $(($2 / 2)) "$haystack"
        printf '\nOne of the special magic numbers for %s is: %s.\n' "$key" "$number"
        tail -c +$(($2 / 2 + 1)) "$haystack" | head -c $(($2 / 2))
    } >.haystack.txt
    accepted "$1" generate --model "$model" .haystack.txt --max-new 12 --stop . --quiet --prompt \
        $'\nWhat is the special magic number for '"$key"' mentioned in the provided text? The special magic number for '"$key"' mentioned in the provided text is'
    [ "$(tr -cd 0-9 <.out)" = "$number" ] || complain "answered '$(cat .out)', expected $number"
}

ask 0 4000
ask 3 30000

# a whole evaluation of two lengths, its table and its picture; one of 12 may fail on a processor that rounds otherwise
lengths=2K,8K
[ -z "${NATSL_SANITIZE:-}" ] || lengths=1K,2K
accepted 0 eval --model "$model" --suite ruler --tasks niah_single_1,niah_single_2 --lengths $lengths --samples 3 \
    --haystack "$haystack" --stop $'\n' --quiet --out eval
awk '/^average/ { good = $2 + 0 > 90 } END { exit !good }' .out || complain "it finds too little"
expect "a heat map of both tasks" test "$(grep -Ec '>niah_single_[12]</text>' eval/heatmap.svg)" -eq 2

accepted 0 info "$model"
grep -q 'natsl train' .out || complain "the model does not say where it comes from"
finish

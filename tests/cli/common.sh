# tests/cli/common.sh - sourced by the scripts beside it: runs natsl alone and on 3 ranks and looks at all it leaves behind.
# shellcheck shell=bash
set -uo pipefail

cases=0 failures=0

# complain TEXT...: the case in hand has failed; what natsl said is shown.
complain()
{
    failures=$((failures + 1))
    echo "FAILED: ${case_name:-?}: $*"
    [ ! -s "$SCRATCH/.err" ] || sed 's/^/    stderr: /' "$SCRATCH/.err" | head -n 20
    [ ! -s "$SCRATCH/.out" ] || sed 's/^/    stdout: /' "$SCRATCH/.out" | head -n 20
}

# A hang is a failure, but a sanitizer is slow.
limit=60
[ -z "${NATSL_SANITIZE:-}" ] || limit=240

# After an exit code other than 0 mpirun sleeps this long, twice, before it kills ranks that are still there. None is: natsl
# ends by MPI_Finalize, which no rank leaves before all are in it. (signals.sh, where ranks die, keeps mpirun's default.)
[ "${0##*/}" = signals.sh ] || export OMPI_MCA_odls_base_sigkill_timeout=0

# on RANKS ARGUMENTS...: natsl on that many ranks (0: without mpirun). Output in .out and .err, exit code in $code.
on()
{
    local ranks=$1
    shift
    code=0
    if [ "$ranks" -eq 0 ]; then
        timeout -k 10 "$limit" "$NATSL" "$@" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || code=$?
    else
        timeout -k 10 "$limit" "$MPIRUN" -n "$ranks" "$NATSL" "$@" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || code=$?
    fi
    [ "$code" -ne 124 ] && [ "$code" -ne 137 ] || complain "no end within $limit s"
}

listing() { find "$SCRATCH" -mindepth 1 -not -name '.*' -printf '%p %s\n' | sort; }

# refused CODE PATTERN ARGUMENTS...: alone and on 3 ranks, natsl must end with this exit code and exactly one line of its own on
# stderr, which matches the (extended) pattern, print nothing on stdout and leave no file. CODE may be "(3|4)". stdin: $input.
# rank_counts="0" before it: alone only, for more values of an option whose error was seen on 3 ranks already.
input=/dev/null
refused()
{
    local want=$1 pattern=$2 ranks lines before
    shift 2
    for ranks in ${rank_counts:-0 3}; do
        cases=$((cases + 1))
        case_name="$* (ranks: $ranks)"
        before=$(listing)
        on "$ranks" "$@" <"$input"
        lines=$(grep -c '^natsl: ' "$SCRATCH/.err")
        if ! [[ $code =~ ^$want$ ]]; then
            complain "exit code $code, expected $want"
        elif [ "$lines" -ne 1 ]; then
            complain "$lines lines of natsl, expected one"
        elif ! grep -a '^natsl: ' "$SCRATCH/.err" | grep -aEq -- "$pattern"; then
            complain "the line does not match '$pattern'"
        elif [ -s "$SCRATCH/.out" ]; then
            complain "something on standard output"
        elif [ "$(listing)" != "$before" ]; then
            complain "files left behind: $(listing | diff <(echo "$before") - | tr '\n' ' ')"
        # mpirun adds a notice of its own, and Open MPI's file layer tells of failed writes (mca_...); otherwise, alone, that
        # line is all there is
        elif [ "$ranks" -eq 0 ] && [ "$(grep -vc '^mca_' "$SCRATCH/.err")" -ne 1 ]; then
            complain "more than one line on stderr"
        fi
    done
}

# accepted RANKS ARGUMENTS...: exit code 0, nothing on stderr that begins with natsl:.
accepted()
{
    local ranks=$1
    shift
    cases=$((cases + 1))
    case_name="$* (ranks: $ranks)"
    on "$ranks" "$@" <"$input"
    if [ "$code" -ne 0 ]; then
        complain "exit code $code, expected 0"
        return 1
    elif grep -q '^natsl: ' "$SCRATCH/.err"; then
        complain "a line of error though it succeeded"
        return 1
    fi
}

# For runs in the background, whose process (natsl's, or mpirun's) is $pid.

# victims RANKS: processes of natsl
victims() { if [ "$1" -eq 0 ]; then echo "$pid"; else pgrep -P "$pid"; fi; }

# ended: its exit code in $code
ended()
{
    local i
    for i in $(seq 600); do
        [ -r "/proc/$pid/stat" ] && ! grep -qs ') Z ' "/proc/$pid/stat" || break
        sleep 0.1
    done
    if [ "$i" -eq 600 ]; then
        complain "still running after a minute"
        # shellcheck disable=SC2046
        kill -KILL "$pid" $(pgrep -P "$pid")
    fi
    code=0
    wait "$pid" 2>/dev/null || code=$?
}

# expect NAME COMMAND...: the command succeeds.
expect()
{
    cases=$((cases + 1))
    case_name=$1
    shift
    "$@" >"$SCRATCH/.out" 2>"$SCRATCH/.err" || complain "$* failed"
}

# skip TEXT: said aloud, so that a missing part is seen.
skip() { echo "left out: $*"; }

finish()
{
    echo "$cases cases, $failures failed"
    [ "$cases" -gt 0 ] && [ "$failures" -eq 0 ]
    exit
}

# tiny_config VOCABULARY: the configuration of a small model, for what does not depend on its numbers.
tiny_config()
{
    printf '%s\n' "{\"hidden_size\": 32, \"num_hidden_layers\": 2, \"vocab_size\": $1, \"head_dim\": 16, \"num_heads\": 2,
 \"num_attn_heads\": 2, \"gdn_layers\": [0]}"
}

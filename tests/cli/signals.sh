#!/usr/bin/env bash
# tests/cli/signals.sh - SIGINT and SIGTERM, alone and on 2 ranks: the end comes soon, with exit code 6 and one line, and
# neither a result nor a temporary file is left.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$NATSL" init --config "$SOURCE/jobs/configs/byte-small.json" --seed 1 --out m.h5 --quiet || exit 1
# far more than any machine reads in the seconds that this takes
yes 'a line of text that is read until a signal comes' | head -c 200000000 >.document.txt

# until_writing PID: waits for the temporary file, so that the signal meets the work.
until_writing()
{
    local i
    for i in $(seq 600); do
        compgen -G 'r.h5.*' >/dev/null && return 0
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    complain "it did not begin to write"
    return 1
}

# ended PID: its exit code in $code; not more than 30 s.
ended()
{
    local i
    for i in $(seq 300); do
        kill -0 "$1" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$1" 2>/dev/null; then
        complain "still running after 30 s"
        kill -KILL "$1"
    fi
    code=0
    wait "$1" || code=$?
}

left_nothing()
{
    ! compgen -G 'r.h5*' >/dev/null || complain "left $(compgen -G 'r.h5*' | tr '\n' ' ')"
    ! compgen -G 'natsl-stdin-*' >/dev/null || complain "left $(compgen -G 'natsl-stdin-*' | tr '\n' ' ')"
    rm -f r.h5* natsl-stdin-*
}

interrupted_line()
{
    [ "$(grep -c '^natsl: interrupted, nothing was saved$' .err)" -eq 1 ] && [ "$(grep -c '^natsl: ' .err)" -eq 1 ] ||
        complain "expected one line 'natsl: interrupted, nothing was saved'"
}

# A shell ignores SIGINT for what it starts in the background; env gives the program the default back.
# Its standard input is the file $input.
start() { env --default-signal=INT,TERM "$@" <"$input" >.out 2>.err & }

# running PID: it has not ended; an ended process that nobody has waited for does not count.
running() { [ -r "/proc/$1/stat" ] && ! grep -q ') Z ' "/proc/$1/stat"; }

for signal in INT TERM HUP; do
    cases=$((cases + 1)) case_name="SIG$signal, alone"
    start "$NATSL" score --model m.h5 .document.txt --out r.h5 --log-json .log.json
    pid=$!
    until_writing "$pid" && kill -"$signal" "$pid"
    ended "$pid"
    [ "$code" -eq 6 ] || complain "exit code $code, expected 6"
    interrupted_line
    tail -n 1 .log.json | grep -q '"event": "end", "status": 6' || complain "the log does not end in status 6"
    left_nothing
done

# One rank is killed, or mpirun is told to stop: no rank stays, no file either.
for victim in 0 1 mpirun; do
    for signal in TERM INT; do
        cases=$((cases + 1)) case_name="SIG$signal, rank $victim of 2"
        start "$MPIRUN" -n 2 "$NATSL" score --model m.h5 .document.txt --out r.h5
        pid=$!
        until_writing "$pid"
        mapfile -t ranks < <(for p in $(pgrep -P "$pid"); do # by rank, whatever order they were started in
            r=$(tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | sed -n 's/^OMPI_COMM_WORLD_RANK=//p')
            [ -z "$r" ] || echo "$r $p"
        done | sort -n | cut -d ' ' -f 2)
        if [ "${#ranks[@]}" -ne 2 ]; then
            complain "found ${#ranks[@]} ranks under mpirun, expected 2"
            kill -TERM "$pid"
        elif [ "$victim" = mpirun ]; then
            kill -"$signal" "$pid"
        else
            kill -"$signal" "${ranks[$victim]}"
        fi
        ended "$pid"
        # mpirun has a code of its own when it is what was interrupted
        [ "$code" -eq 6 ] || { [ "$victim" = mpirun ] && [ "$code" -ne 0 ]; } || complain "exit code $code, expected 6"
        interrupted_line
        sleep 0.2
        for p in "${ranks[@]}"; do
            if running "$p"; then
                complain "rank with process $p still runs"
                kill -KILL "$p"
            fi
        done
        left_nothing
    done
done

# A rank that is killed outright cannot clean up: the others must.
cases=$((cases + 1)) case_name="SIGKILL, rank 1 of 2"
start "$MPIRUN" -n 2 "$NATSL" score --model m.h5 .document.txt --out r.h5
pid=$!
until_writing "$pid"
for p in $(pgrep -P "$pid"); do
    if tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -qx 'OMPI_COMM_WORLD_RANK=1'; then kill -KILL "$p"; fi
done
ended "$pid"
[ "$code" -ne 0 ] || complain "exit code 0 though a rank was killed"
sleep 0.2
left_nothing

# While standard input is being read
cases=$((cases + 1)) case_name="SIGTERM while reading standard input"
mkfifo .pipe
exec 7<>.pipe # both ends: opening one alone would wait for the other
input=.pipe
start env TMPDIR="$SCRATCH" "$NATSL" score --model m.h5 - --out r.h5
input=/dev/null
pid=$!
echo "a beginning" >&7
for _ in $(seq 600); do
    compgen -G 'natsl-stdin-*' >/dev/null && break
    sleep 0.1
done
kill -TERM "$pid"
ended "$pid"
exec 7>&-
[ "$code" -eq 6 ] || complain "exit code $code, expected 6"
left_nothing

# A signal that was ignored from the start (nohup) stays ignored.
cases=$((cases + 1)) case_name="nohup"
head -c 30000 .document.txt >.short.txt
env --ignore-signal=HUP "$NATSL" score --model m.h5 .short.txt --out r.h5 >.out 2>.err &
pid=$!
until_writing "$pid" && kill -HUP "$pid"
code=0
wait "$pid" || code=$?
[ "$code" -eq 0 ] && [ -s r.h5 ] || complain "exit code $code, expected 0 and a result"
rm -f r.h5

# A reader that goes away while text is generated ends the program without a word.
cases=$((cases + 1)) case_name="generate | head"
{ timeout 60 "$NATSL" generate --model m.h5 --prompt x --max-new 1G --temperature 1 2>.err; echo $? >.code; } | head -c 10 >.out
[ "$(cat .code)" -eq 6 ] && [ ! -s .err ] || complain "exit code $(cat .code), expected 6 and nothing on stderr"
finish

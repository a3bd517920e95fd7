#!/usr/bin/env bash
# tests/cli/kills.sh - one run of score on 3 ranks with checkpoints whose ranks are killed (SIGKILL) 20 times: each time another one at
# another moment, and the same command goes on. The result has the bits of a run without a break, no leg loses what a checkpoint had, and
# nothing is left: not beside the result, not in the directory of checkpoints, not in /dev/shm, not of Open MPI's.
# KILLS=n: so many; SEED=n: the same moments again.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    skip "no Python with numpy and h5py"
    exit 0
fi
kills=${KILLS:-20} seed=${SEED:-$$}
RANDOM=$seed
echo "KILLS=$kills SEED=$seed"
tiny_config 256 >config.json
"$NATSL" init --config config.json --seed 3 --out m.h5 --quiet || exit 1
for _ in 1 2 3 4 5 6; do cat "$SOURCE/README.md" "$SOURCE/LICENSE"; done >doc.txt
tokens=$((4000 * kills + 10300)) # not whole chunks
truncate -s "$tokens" doc.txt
score=(score --model m.h5 doc.txt --write hidden,state --quiet --out)
accepted 0 "${score[@]}" want.h5

# What Open MPI has for the time of a run, in a directory of this test's own.
shm=$(mktemp -d /dev/shm/natsl-kills-XXXXXX 2>/dev/null || mktemp -d "$SCRATCH/shm-XXXXXX")
trap 'rm -rf -- "$shm"' EXIT
export OMPI_MCA_btl_vader_backing_directory=$shm OMPI_MCA_osc_sm_backing_directory=$shm OMPI_MCA_orte_tmpdir_base=$shm

# newest: token of the newest checkpoint; 0: there is none
newest()
{
    local names=(ck/checkpoint-*.h5)
    local last=${names[-1]##*-}
    [ -e "${names[-1]}" ] && echo "$((10#${last%.h5}))" || echo 0
}
# ran: whether the job has not ended
ran() { [ -r "/proc/$pid/stat" ] && ! grep -qs ') Z ' "/proc/$pid/stat"; }

touch .begin
killed=0
while [ "$killed" -lt "$kills" ]; do
    cases=$((cases + 1)) case_name="SIGKILL $((killed + 1)) of $kills"
    touch .mark
    before=$(newest) early=$((RANDOM % 4 == 0)) ranks=()
    env --default-signal=INT,TERM,USR1 "$MPIRUN" -n 3 "$NATSL" "${score[@]}" k.h5 --checkpoint ck --resume --pass-tokens 512 \
        --checkpoint-every 0.001 </dev/null >.out 2>.err &
    pid=$!
    for _ in $(seq 3000); do # one of four dies while it begins, the others after a checkpoint of theirs
        mapfile -t ranks < <(pgrep -P "$pid")
        if [ "${#ranks[@]}" -eq 3 ]; then
            [ "$early" -eq 0 ] && [ -z "$(find ck -name 'checkpoint-*.h5' -newer .mark 2>/dev/null)" ] || break
        fi
        ran || break
        sleep 0.01
    done
    sleep "0.$(printf %03d $((early ? RANDOM % 200 : RANDOM % 50)))"
    [ "${#ranks[@]}" -eq 0 ] || kill -KILL "${ranks[RANDOM % ${#ranks[@]}]}" 2>/dev/null
    ended
    if [ "$code" -eq 0 ]; then
        complain "the run came to its end after $killed kills: the text is too short"
        break
    fi
    killed=$((killed + 1))
    [ "$code" -eq 137 ] || complain "exit code $code, expected 137"
    ! grep '^natsl: ' .err | grep -qv '^natsl: interrupted' || complain "an error beside the kill"
    after=$(newest)
    [ "$after" -ge "$before" ] || complain "the newest checkpoint was at token $before, now it is at $after"
    [ ! -e k.h5 ] || complain "a result, though it was killed"
    [ -z "$(find "$shm" -type f)" ] || complain "left by Open MPI: $(find "$shm" -type f | head -n 5 | tr '\n' ' ')"
done
echo "the last checkpoint is at token $(newest) of $tokens"
accepted 3 "${score[@]}" k.h5 --checkpoint ck --resume
expect "the same bits after $killed kills" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact want.h5 k.h5
rest=$(find . -name '*.tmp-*' -o -path './ck/*'; find "$shm" -type f; find /dev/shm -maxdepth 1 -newer .begin \
    \( -name 'sem.OMPIO_k.h5.tmp-*' -o -name "sem.OMPIO_checkpoint-*.h5.tmp-*" \) -user "$(id -u)")
[ -z "$rest" ] || complain "left: $rest"
finish

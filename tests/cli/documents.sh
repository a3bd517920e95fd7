#!/usr/bin/env bash
# tests/cli/documents.sh - score and read with several documents: in any number of ranks and groups each has the file that it has
# when it is alone, bit for bit; lists, names, tables; documents that are bad, or fail in the middle, with and without --keep-going;
# stopped by a signal and gone on with on other ranks and groups.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
if [ -z "$PYTHON" ]; then
    skip "no Python with numpy and h5py"
    exit 0
fi
tiny_config 256 >config.json
"$NATSL" init --config config.json --seed 3 --out m.h5 --quiet || exit 1
mkdir in in/sub
head -c 9001 "$SOURCE/README.md" >in/long.txt
head -c 3100 "$SOURCE/LICENSE" >in/b.v2
tail -c 2500 "$SOURCE/README.md" >in/sub/d.md
head -c 700 "$SOURCE/LICENSE" | tail -c 300 >"in/c d.txt"
printf x >in/one.txt
"$PYTHON" - <<'PY'
import h5py, numpy as np
good = np.frombuffer(open("in/b.v2", "rb").read()[:1500], np.uint8).astype(np.int32)
bad = good.copy()
bad[1400] = 256
for name, ids in (("ids", good), ("range", bad), ("empty", good[:0])):
    with h5py.File(f"in/{name}.h5", "w") as f: f["tokens"] = ids
PY
cat >in/list <<'LIST'
# what is read together

long.txt
b.v2
sub/d.md
c d.txt
one.txt
ids.h5
LIST
sed -i 's/^b.v2$/&\r/' in/list
names=("long" "b.v2" "d.md" "c d" "one" "ids")

score=(score --model m.h5 @in/list --threads 1 --quiet)

# check DIR [TABLE CHECKS]: every result is that of the document alone; both tables say the same, and what the results say.
check()
{
    expect "$1: the same files, and tables of them" "$PYTHON" -B - "$1" "${2:-True}" "${names[@]}" <<'PY'
import csv, h5py, json, math, os, sys
import numpy as np
out, more, names = sys.argv[1], sys.argv[2], sys.argv[3:]
rows = list(csv.DictReader(open(f"{out}/documents.csv", newline="")))
lines = [json.loads(l) for l in open(f"{out}/documents.jsonl")]
assert len(rows) == len(lines) and all(r["document"] == l["document"] and r["status"] == l["status"] for r, l in zip(rows, lines))
by_result = {l["result"]: (r, l) for r, l in zip(rows, lines) if l["result"]}
assert sorted(by_result) == sorted(n + ".h5" for n in names), (sorted(by_result), names)
assert sorted(f for f in os.listdir(out) if f.endswith(".h5")) == sorted(by_result), os.listdir(out)
assert not [f for f in os.listdir(out) if ".tmp-" in f], os.listdir(out)
for name in names:
    row, line = by_result[name + ".h5"]
    with h5py.File(f"{out}/{name}.h5") as f, h5py.File(f"alone/{name}.h5") as want:
        found = {}
        want.visititems(lambda k, v: found.update({k: v[()]}) if isinstance(v, h5py.Dataset) else None)
        assert found
        for k, v in found.items():
            assert f[k].dtype == v.dtype and np.array_equal(f[k][()].view(np.uint8), v.view(np.uint8)), (name, k)
        for k in want.attrs:
            if k not in ("seconds", "run"): assert f.attrs[k] == want.attrs[k], (name, k)
        tokens = int(f.attrs["tokens"])
        assert line["tokens"] == tokens == int(row["tokens"]), (name, tokens)
        if tokens > 1:
            assert line["mean_logprob"] == f.attrs["mean_logprob"] == float(row["mean_logprob"])
            assert line["perplexity"] == f.attrs["perplexity"] == float(row["perplexity"])
            kept = f["softmax_chunks/1"][()]
            assert abs(line["kept_share"] - kept.mean()) < 1e-12 and abs(float(row["kept_share"]) - kept.mean()) < 1e-5
        else:
            assert line["perplexity"] is None and row["mean_logprob"] == ""
    assert line["ranks"] >= 1 and row["error"] == "" and line["code"] is None
assert eval(more), (more, rows)
PY
}

# --- the same files ---------------------------------------------------------------------------------------------------------------
mkdir alone
for one in long.txt b.v2 sub/d.md "c d.txt" one.txt ids.h5; do
    name=${one##*/} name=${name%.txt} name=${name%.h5}
    accepted 0 score --model m.h5 "in/$one" --out "alone/$name.h5" --threads 1 --quiet
done
runs=("0 0" "2 1" "3 0" "3 2" "5 2")
[ -z "${NATSL_SANITIZE:-}" ] || runs=("3 1" "5 2")
for run in "${runs[@]}"; do
    read -r ranks per <<<"$run"
    accepted "$ranks" "${score[@]}" --out "out-$ranks-$per" --ranks-per-doc "$per"
    check "out-$ranks-$per" 'all(r["status"] == "done" for r in rows)'
done
expect "groups of two and three" "$PYTHON" -c '
import json
assert {json.loads(l)["ranks"] for l in open("out-5-2/documents.jsonl")} == {2, 3}'

# --- what is refused, before anything is there ------------------------------------------------------------------------------------
refused 3 'natsl: 3 of 4 documents cannot be read \(--keep-going leaves them out\): in/range.h5: token 1400 is 256, expected 0 to 255' \
    score --model m.h5 in/range.h5 in/long.txt in/empty.h5 in/none.txt --out bad
rank_counts=0
refused 3 '1 of 2 documents .*m.h5: an HDF5 file without dataset tokens' read --model m.h5 in/long.txt m.h5 --out bad
refused 3 '1 of 2 documents .*in: not a regular file' score --model m.h5 in/long.txt in --out bad
refused 2 'in/sub/: a directory, expected a document' score --model m.h5 in/long.txt in/sub/ --out bad
cp in/long.txt in/sub/long.h5
refused 2 'in/long.txt and in/sub/long.h5: both results would be long.h5, expected different names' \
    score --model m.h5 in/long.txt in/sub/long.h5 --out bad --keep-going
refused 2 'both results would be long.h5' score --model m.h5 in/long.txt @in/list --out bad
refused 2 'standard input is read alone' score --model m.h5 in/long.txt - --out bad
cp in/one.txt in/...txt
rank_counts=0 refused 2 'in/...txt: its result would be called .., expected another name' score --model m.h5 in/long.txt in/...txt --out bad
rm in/...txt
refused 2 '--keep-going: is for several documents' score --model m.h5 in/long.txt --out bad --keep-going
refused 2 '--ranks-per-doc: is for several documents' read --model m.h5 in/long.txt --out bad --ranks-per-doc 2
refused 5 '--out: m.h5: is no directory' "${score[@]}" --out m.h5
refused 5 '--out: no/such: No such file' "${score[@]}" --out no/such
refused 2 '--out: in/ids.h5 is also read, expected another directory' "${score[@]}" --out in
refused 3 'nothing: No such file' score --model m.h5 @nothing --out bad
refused 3 'in: is a directory, expected a list' score --model m.h5 @in --out bad
refused 2 '@: expected @ and the name of a list' score --model m.h5 @ --out bad
printf '# nothing\n \n\t\n' >l
refused 3 'l: names no document' score --model m.h5 @l --out bad
printf 'in/long.txt\nin/b\0.txt\n' >l
refused 3 'l: line 2 has a byte 0' score --model m.h5 @l --out bad
head -c 5000 /dev/zero | tr '\0' a >l
refused 3 'a path of 5000 bytes, expected at most 3000' score --model m.h5 @l --out bad
head -c 300 /dev/zero | tr '\0' a >l
refused 3 'aaa\.\.\.: a name of 300 bytes, expected at most 200' score --model m.h5 @l --out bad
head -c 20000 /dev/urandom >l
refused 3 . score --model m.h5 @l --out bad
unset rank_counts

# --- left out ---------------------------------------------------------------------------------------------------------------------
# partly RANKS CODE PATTERN ARGUMENTS...: it ends with this code and one line of its own.
partly()
{
    local ranks=$1 want=$2 pattern=$3
    shift 3
    cases=$((cases + 1)) case_name="$* (ranks: $ranks)"
    on "$ranks" "$@" </dev/null
    cp .err .err.kept
    [ "$code" -eq "$want" ] || complain "exit code $code, expected $want"
    [ "$(grep -c '^natsl: ' .err)" -eq 1 ] && grep '^natsl: ' .err | grep -Eq -- "$pattern" || complain "no single line that matches '$pattern'"
}
partly 3 3 '^natsl: 3 of 9 documents failed \(some/documents.csv has them\): in/range.h5: token 1400 is 256' \
    score --model m.h5 in/range.h5 @in/list in/empty.h5 in/none.txt --out some --keep-going --threads 1 --quiet
expect "each is named" test "$(grep -c '^warning: in/\(range.h5\|empty.h5\|none.txt\): .*; the document is left out$' .err.kept)" -eq 3
check some '[r["document"] for r in rows if r["status"] == "failed"] == ["in/range.h5", "in/empty.h5", "in/none.txt"] and all(
    r["code"] == "3" and r["document"] in r["error"] for r in rows if r["status"] == "failed")'
partly 0 3 '2 of 2 documents failed' score --model m.h5 in/range.h5 in/none.txt --out none --keep-going --quiet
expect "a table of nothing" test "$(grep -c ',failed,3,' none/documents.csv)" -eq 2
[ -z "${NATSL_SANITIZE:-}" ] || finish

# In the middle, on one of two groups: what it writes fails. The other one goes on, or is stopped.
if [ -n "${SHIM:-}" ]; then
    cases=$((cases + 1)) case_name="an I/O error in one group"
    code=0
    "$MPIRUN" -n 2 env LD_PRELOAD="$SHIM" NATSL_SHIM="1 pwrite 1 EIO" "$NATSL" "${score[@]}" --out half --ranks-per-doc 1 --keep-going \
        >.out 2>.err || code=$?
    [ "$code" -eq 5 ] || complain "exit code $code, expected 5"
    grep -Eq '^natsl: [1-5] of 6 documents failed \(half/documents.csv has them\): half/.*\(rank 1 on ' .err || complain "no line that says so"
    expect "the other group's documents" "$PYTHON" -c '
import json, os
lines = [json.loads(l) for l in open("half/documents.jsonl")]
done, failed = ([l for l in lines if l["status"] == s] for s in ("done", "failed"))
assert len(done) + len(failed) == 6 and done and failed, lines
assert all(l["code"] == 5 and "rank 1" in l["error"] and l["result"] is None for l in failed), failed
assert sorted(os.listdir("half")) == sorted([l["result"] for l in done] + ["documents.csv", "documents.jsonl"]), os.listdir("half")'
    cases=$((cases + 1)) case_name="an I/O error that ends the run"
    code=0
    "$MPIRUN" -n 2 env LD_PRELOAD="$SHIM" NATSL_SHIM="1 pwrite 1 EIO" "$NATSL" "${score[@]}" --out stop --ranks-per-doc 1 >.out 2>.err || code=$?
    [ "$code" -eq 5 ] && [ "$(grep -c '^natsl: stop/.*(rank 1 on ' .err)" -eq 1 ] || complain "exit code $code, expected 5 and a line"
    ! compgen -G 'stop/*.tmp-*' >/dev/null || complain "a temporary file is left"
fi

# --- interrupted and gone on with ---------------------------------------------------------------------------------------------------
cat "$SOURCE/LICENSE" "$SOURCE/README.md" | head -c 30100 >in/x.txt
cat "$SOURCE/README.md" "$SOURCE/LICENSE" | head -c 29000 >in/y.txt
names=(x y b.v2)
three=(score --model m.h5 in/b.v2 in/x.txt in/y.txt --out cut --checkpoint ck --threads 1 --quiet)
for one in x y; do accepted 0 score --model m.h5 "in/$one.txt" --out "alone/$one.h5" --threads 1 --quiet; done
cases=$((cases + 1)) case_name="SIGTERM to one rank of two groups"
env --default-signal=INT,TERM,USR1 "$MPIRUN" -n 4 "$NATSL" "${three[@]}" --ranks-per-doc 2 --pass-tokens 128 --checkpoint-every 0.001 \
    </dev/null >.out 2>.err &
pid=$!
for i in $(seq 1500); do
    ! compgen -G 'ck/x/checkpoint-*.h5' >/dev/null || ! compgen -G 'ck/y/checkpoint-*.h5' >/dev/null || break
    sleep 0.02
done
kill -TERM "$(victims 4 | tail -n 1)"
ended
[ "$code" -eq 6 ] || complain "exit code $code, expected 6"
[ "$(grep -c '^natsl: interrupted; [01] of 3 documents are done, and what was read of the others is saved in ck; the same command with --resume goes on$' .err)" -eq 1 ] ||
    complain "expected one line that says what was saved"
for one in x y; do compgen -G "ck/$one/checkpoint-*.h5" >/dev/null || complain "no checkpoint of $one"; done
! compgen -G 'c*/*.tmp-*' >/dev/null && ! compgen -G 'ck/*/*.tmp-*' >/dev/null || complain "a temporary file is left"
expect "the table of an interrupted run" test "$(grep -c ',interrupted,' cut/documents.csv)" -eq 2
refused 2 '--checkpoint: ck/x: has checkpoints already; give --resume' "${three[@]}"
# Another run's checkpoint is found when its turn comes.
cp -r ck other
partly 2 2 '2 of 3 documents failed .*: other/x/.*of another run: it has route=learned, this one route=linear' \
    "${three[@]:0:6}" --out line --checkpoint other --resume --keep-going --route linear --quiet
expect "the third is read" test -e line/b.v2.h5
touch cut/x.h5.tmp-99999 cut/b.v2.h5.tmp-99999-1 cut/b.v2.h5.tmp-99999.locktest.1 # as SIGKILL leaves them
touch cut/other.h5.tmp-99999 cut/x.h5.tmp-mine                                     # somebody else's
accepted 3 "${three[@]}" --resume --ranks-per-doc 1
expect "leftovers are removed, other files are not" test "$(cd cut && echo *.tmp-*)" = "other.h5.tmp-99999 x.h5.tmp-mine"
rm cut/*.tmp-*
check cut 'sorted(r["status"] for r in rows)[0][:4] == "done"'
expect "no checkpoints are left" test -z "$(find ck -mindepth 1)"
touch -d '2001-01-01' cut/*.h5
rm cut/y.h5
accepted 2 "${three[@]}" --resume
check cut '[r["status"] for r in rows] == ["done before", "done before", "done"]'
expect "what was there is left alone" test "$(stat -c %Y cut/x.h5)" -lt 1000000000

# --- contexts -----------------------------------------------------------------------------------------------------------------------
accepted 0 read --model m.h5 in/one.txt --out before.h5 --quiet
accepted 2 read --model m.h5 in/long.txt in/b.v2 --context before.h5 --out contexts --ranks-per-doc 1 --quiet
for one in long.txt b.v2; do
    accepted 0 read --model m.h5 "in/$one" --context before.h5 --out "alone.ctx.h5" --quiet
    expect "the context of $one" "$PYTHON" -B "$SOURCE/tests/cli/compare.py" --exact alone.ctx.h5 "contexts/${one%.txt}.h5"
done

# --- the plan and the log -------------------------------------------------------------------------------------------------------------
accepted 4 score --model m.h5 @in/list --dry-run --ranks-per-doc 2 --log-json log.json
cp .out .out.kept
expect "the plan" grep -Eq '^documents   6 of [0-9]+ tokens together$' .out.kept
expect "the groups" grep -Eq '^groups      2 of 2 ranks side by side: 6 documents, the longest 9001 tokens; predicted ' .out.kept
accepted 2 score --model m.h5 in/b.v2 in/long.txt --out logged --log-json log.json
grep -q '^documents   2: 2 done; logged/documents.csv$' .out || complain "no summary"
expect "the log" "$PYTHON" -c '
import json
lines = [json.loads(l) for l in open("log.json")]
assert [l["document"] for l in lines if l["event"] == "document"] == ["in/b.v2", "in/long.txt"], lines
assert lines[-1]["documents_done"] == 2 and lines[-1]["tokens"] == 12101 and lines[-1]["perplexity"] > 1, lines[-1]'
finish

#!/usr/bin/env bash
# tests/consumer/run.sh - installs the build tree into an empty prefix, moves the prefix, and builds a program against
# it in four ways: CMake package and pkg-config, shared and static. Run by CTest through tests/run-script.
set -euo pipefail

"$CMAKE" --install "$BUILD" --prefix "$SCRATCH/first" >install.log || { cat install.log; exit 1; }
mv first moved # nothing installed may remember where it was installed
prefix=$SCRATCH/moved
libdir=$(dirname "$(find "$prefix" -name libnatsl.a)")
config=$SOURCE/jobs/configs/natsl_340M.json
want="natsl $VERSION hidden_size 1024 key_dim 768 value_dim 1536"

expect() # NAME COMMAND...: its output is what the configuration says
{
    local name=$1 got
    shift
    got=$("$@") || { echo "$name: failed"; exit 1; }
    [ "$got" = "$want" ] || { echo "$name: printed '$got', expected '$want'"; exit 1; }
    echo "$name: $got"
}

[ "$("$prefix/bin/natsl" --version | head -n 1 | cut -d ' ' -f 1-2)" = "natsl $VERSION" ] ||
    { echo "the installed program does not say 'natsl $VERSION'"; exit 1; }
[ -n "$(find "$prefix" -path '*/doc/*/README.md')" ] || { echo "README.md was not installed"; exit 1; }

"$CMAKE" -S "$SOURCE/tests/consumer" -B cmake -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >cmake.log ||
    { cat cmake.log; exit 1; }
"$CMAKE" --build cmake >>cmake.log || { cat cmake.log; exit 1; }
expect "cmake, shared" ./cmake/consumer_shared "$config"
expect "cmake, static" ./cmake/consumer_static "$config"

export PKG_CONFIG_PATH=$libdir/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
[ "$(pkg-config --modversion natsl)" = "$VERSION" ] || { echo "natsl.pc: wrong version"; exit 1; }
# Word splitting is what pkg-config's output is for.
# shellcheck disable=SC2046
"$MPICC" -o pc_shared "$SOURCE/tests/consumer/main.c" $(pkg-config --cflags --libs natsl)
LD_LIBRARY_PATH=$libdir expect "pkg-config, shared" ./pc_shared "$config"
# The README's program, word for word, against the program's own answer.
[[ $(<"$SOURCE/README.md") == *"$(<"$SOURCE/tests/consumer/score.c")"* ]] || { echo "README.md shows another score.c"; exit 1; }
# shellcheck disable=SC2046
"$MPICC" -o score "$SOURCE/tests/consumer/score.c" $(pkg-config --cflags --libs natsl)
"$prefix/bin/natsl" init --config "$SOURCE/jobs/configs/byte-small.json" --seed 3 --out m.h5 --quiet
text="A text of some words, long enough to fill more than one chunk of sixty-four tokens with them, and a bit of a second one."
printf %s "$text" >text.txt
"$prefix/bin/natsl" score --model m.h5 text.txt --out r.h5 --quiet
got=$(LD_LIBRARY_PATH=$libdir ./score m.h5 "$text")
perplexity=$("$prefix/bin/natsl" info r.h5 | sed -n 's/.*perplexity \([0-9.]*\).*/\1/p')
awk -v a="$got" -v p="$perplexity" 'BEGIN { d = p > 0 ? a + log(p) : 1; exit !(d < 1e-5 && d > -1e-5) }' ||
    { echo "score.c says '$got', natsl score perplexity '$perplexity'"; exit 1; }
echo "score.c: $got"
rm "$libdir"/libnatsl.so* # leaves the static library for -lnatsl
# shellcheck disable=SC2046
"$MPICC" -o pc_static "$SOURCE/tests/consumer/main.c" $(pkg-config --static --cflags --libs natsl)
expect "pkg-config, static" ./pc_static "$config"

#!/usr/bin/env bash
# What the README says, with small files: run.sh PROGRAM.
set -euo pipefail
archive=$(realpath "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
mkdir -p monday/letters tuesday
seq 100000 >monday/numbers
(echo "one more"; cat monday/numbers) >tuesday/numbers
echo "dear reader" >monday/letters/first
ln -s letters/first monday/newest
chmod 0640 monday/numbers tuesday/numbers monday/letters/first
chmod 0755 monday monday/letters tuesday

"$archive" create both.arc monday tuesday | sed 's/chunks that differ, .*/chunks that differ/'
"$archive" create again.arc monday tuesday >again.txt
cmp both.arc again.arc && echo "the same bytes twice"
"$archive" list both.arc | sed 's/^l [0-9]*/l/'
"$archive" verify both.arc | sed 's/and .* chunks/and the chunks/'
"$archive" extract both.arc out
diff -r --no-dereference monday out/monday && diff -r tuesday out/tuesday && echo "back as they were"

printf damage | dd of=both.arc bs=1 seek=5000 conv=notrunc status=none
"$archive" verify both.arc 2>&1 | grep -o "in 'monday/numbers'" || true
"$archive" extract both.arc less 2>&1 | grep -o "left out" || true
cmp monday/letters/first less/monday/letters/first && echo "the others are there"

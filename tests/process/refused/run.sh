#!/usr/bin/env bash
# run.sh CXX: compiles refused.cpp once for each of its cases, and looks for the words of each in what the compiler says.
# Case 0 must compile.
set -euo pipefail
cd "$(dirname "$0")"
export CXX=$1

one() {
    local case=$1 words=$2 said status=0
    said=$("$CXX" -std=c++20 -fsyntax-only -I../../../include -DCASE="$case" refused.cpp 2>&1) || status=$?
    if ((case == 0)); then
        ((status == 0)) && return
    elif ((status != 0)) && [[ $said == *"leat: $words"* ]]; then
        return
    fi
    echo "case $case: expected '$words', and the compiler said (status $status):"
    head -c 3000 <<<"$said"
    return 1
}
export -f one

sed -n 's/^#\(el\)\?if CASE == \([0-9]*\)  *\/\/ \(.*\)/\2\t\3/p' refused.cpp |
    xargs -d '\n' -P "$(nproc)" -I '{}' bash -c 'IFS=$'"'\t'"' read -r case words <<<"$1"; one "$case" "$words"' - '{}'
echo "every case is as it should be"

#!/usr/bin/env bash
# run.sh BUILD_DIR CXX [FLAG...]: installs the build into a scratch folder, builds this project against it, runs its programs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=$1 cxx=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/installed" >"$scratch/install.log"
cmake -S "$here" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/installed" \
    -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_CXX_FLAGS="$*" >"$scratch/configure.log"
cmake --build "$scratch/build"
for program in core flow; do "$scratch/build/uses_$program"; done

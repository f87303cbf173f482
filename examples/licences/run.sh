#!/usr/bin/env bash
# The main job of the repository: leat on real files of this machine, its output checked.
# usage: run.sh PATH-OF-LEAT
set -euo pipefail
leat=$(realpath "$1")
cd "$(dirname "$0")/../.."
mkdir -p .leat
"$leat" run examples/licences/licences.toml --report .leat/licences-report.json
python3 examples/licences/check.py .leat/licences.jsonl .leat/licences-report.json

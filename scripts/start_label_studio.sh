#!/usr/bin/env bash
# Label Studio with a warm backend beside it; options as in `prelabel studio --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -d .venv/bin ]] && PATH="$PWD/.venv/bin:$PATH"
exec prelabel studio "$@"

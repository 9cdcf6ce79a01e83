#!/usr/bin/env bash
# The backend on a GPU where there is one; options as in `prelabel serve --help`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -d .venv/bin ]] && PATH="$PWD/.venv/bin:$PATH"

# prelabel falls back to the CPU, with one line saying so, where this device cannot be used.
export GROUNDING_DINO_DEVICE="${GROUNDING_DINO_DEVICE:-cuda}"

# NixOS keeps the GPU driver's libraries where no loader looks for them.
driver=/run/opengl-driver/lib
if [[ -d "$driver" ]]; then
  export LD_LIBRARY_PATH="$driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
exec prelabel serve "$@"

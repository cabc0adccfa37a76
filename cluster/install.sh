#!/usr/bin/env bash
# Install raysynth with the versions of constraints.txt: the steps of the container, of a cluster's nodes, and of CI.
#
#   cluster/install.sh [cpu|cuda] [PYTHON]
#
# cuda (default): torch as pip finds it, with the CUDA libraries that it brings (several GB); the driver is the host's.
# cpu: torch from the index that TORCH_CPU_INDEX names (the address is on PyTorch's page 'Get started', choice 'CPU').
set -euo pipefail
cd "$(dirname "$0")/.."
variant=${1:-cuda} python=${2:-python}

case $variant in
cpu)
    : "${TORCH_CPU_INDEX:?name the index of torch builds for CPU, or install the variant cuda}"
    "$python" -m pip install --no-deps --index-url "$TORCH_CPU_INDEX" "$(grep '^torch==' constraints.txt)"
    ;;
cuda) ;;
*)
    echo "install.sh: the variant is cpu or cuda; found '$variant'" >&2
    exit 2
    ;;
esac
"$python" -m pip install -c constraints.txt .
"$python" -m raysynth --version

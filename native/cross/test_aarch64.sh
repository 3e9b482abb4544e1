#!/usr/bin/env bash
# test_aarch64.sh [FOLDER]: builds for 64-bit ARM, in FOLDER if given, and runs the tests under
# qemu: as the newest processor, which has bf16 and dot products, as a Neoverse N1, which has only
# the latter, and as a Cortex-A57, which has neither.
set -euo pipefail
native=$(cd "$(dirname "$0")/.." && pwd)
for program in cmake aarch64-linux-gnu-g++ qemu-aarch64-static; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is not installed; on Debian: apt-get install" \
            "cmake ninja-build g++-aarch64-linux-gnu qemu-user-static" >&2
        exit 1
    fi
done
if [ $# -gt 0 ]; then
    build=$1
else
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
fi
for cpu in max neoverse-n1 cortex-a57; do
    MV2_QEMU_CPU=$cpu cmake -S "$native" -B "$build" \
        -DCMAKE_TOOLCHAIN_FILE="$native/cross/aarch64-linux-gnu.cmake" >/dev/null
    cmake --build "$build" --parallel "${JOBS:-1}"
    echo "as $cpu"
    if [ "$cpu" != max ]; then # which has their instructions too: what differs is the choice
        export MV2_FEW_CASES=1
    fi
    ctest --test-dir "$build" --output-on-failure
done

#!/usr/bin/env bash
# A linker that cannot link the agent is named before anything is built.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
has_any=

# All in one folder: who was refused names another one there.
for linker in gold lld bfd; do
	command -v "ld.$linker" >/dev/null || continue
	has_any=1
	can=yes
	cmake -S "$SPANPROF_TEST_SOURCE" -B "$folder/build" -DSP_TESTS=OFF \
		-DCMAKE_MODULE_LINKER_FLAGS="-fuse-ld=$linker" \
		>"$folder/said" 2>&1 || can=no
	if [ "$linker" != gold ] && [ $can = yes ]; then
		continue
	fi
	if [ "$linker" = gold ] && [ $can = no ] &&
		grep -q 'needs GNU ld .* or lld' "$folder/said"; then
		continue
	fi
	echo "ld.$linker can: $can"
	cat "$folder/said"
	exit 1
done
[ -n "$has_any" ] || exit 77

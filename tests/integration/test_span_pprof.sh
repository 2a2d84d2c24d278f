#!/usr/bin/env bash
# What pprof itself makes of spans: as roots of stacks, and as a profile of their own.
set -u

command -v go >/dev/null || { echo "no go"; exit 77; }
[ -e "$SPANPROF_TEST_AGENT" ] || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export HOME=$scratch PPROF_TMPDIR=$scratch PPROF_BINARY_PATH=$scratch
go tool pprof -help >/dev/null 2>&1 || { echo "no go tool pprof"; exit 77; }

# shellcheck source=/dev/null
. "$SPANPROF_TEST_SOURCE/tests/integration/cli/checks.sh"

mkdir "$scratch/out" "$scratch/run"
# The agent knows no variables of tests.
env -u SPANPROF_TEST_AGENT -u SPANPROF_TEST_CLI -u SPANPROF_TEST_PROGRAMS \
	-u SPANPROF_TEST_SOURCE SPANPROF_OUT="$scratch/out" XDG_RUNTIME_DIR="$scratch/run" \
	SPANPROF_HEAP_RATE=1 SPANPROF_RECORD_LABELS=user LD_PRELOAD="$SPANPROF_TEST_AGENT" \
	"$SPANPROF_TEST_PROGRAMS/span_server" 400 1000 >"$scratch/told" 2>"$scratch/errors" || {
	cat "$scratch/errors"
	exit 1
}

# pprof KIND OPTION...
pprof() {
	local kind=$1

	shift
	go tool pprof -symbolize=none "$@" "$scratch"/out/span_server.*."$kind".pb.gz 2>&1
}

told() {
	sed -n "s/^$1=//p" "$scratch/told" | tail -n 1
}

spans_are_roots_of_cpu_stacks() {
	local top

	pprof cpu -help | grep -q tagroot || return 0
	top=$(pprof cpu -top -cum -tagroot=span_name)
	# Nearly all of it, and nothing of its own: the stacks are below it.
	expect_match ' 0 +0% .* [5-9][0-9](\.[0-9]+)?% +part' "$top"
	expect_match 'burn' "$top"
}

spans_are_roots_of_the_memory_in_use() {
	local top

	pprof heap -help | grep -q tagroot || return 0
	top=$(pprof heap -top -cum -inuse_objects -tagroot=span_name)
	expect_match " $(told kept_blocks) .* part" "$top"
}

labels_can_be_focused_on() {
	expect_match 'user:' "$(pprof cpu -tags)"
	expect_match ': me' "$(pprof cpu -tags)"
}

span_profile_has_its_types_in_order() {
	expect_match '^wall/nanoseconds\[dflt\] wall_busy/nanoseconds wall_idle/nanoseconds cpu/nanoseconds cpu_user/nanoseconds cpu_sys/nanoseconds alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes spans/count$' \
		"$(pprof spans -raw)"
}

span_profile_shows_spans_in_spans() {
	local traces

	expect_match '^Type: wall$' "$(pprof spans -top)"
	traces=$(pprof spans -traces -sample_index=spans)
	expect_match '1600 +part' "$traces"
	expect_match '400 +request' "$traces"
	expect_match "^ +$(told part_blocks) .* part" "$(pprof spans -top -sample_index=alloc_objects)"
	expect_match "$(told kept_blocks) .* part" "$(pprof spans -top -sample_index=inuse_objects)"
	expect_match 'part .*span_server\.c:[0-9]+' "$(pprof spans -raw)"
}

check spans_are_roots_of_cpu_stacks
check spans_are_roots_of_the_memory_in_use
check labels_can_be_focused_on
check span_profile_has_its_types_in_order
check span_profile_shows_spans_in_spans
finish_checks

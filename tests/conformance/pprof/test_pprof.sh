#!/usr/bin/env bash
# What pprof, protoc and gzip make of our files. 77: a tool is missing.
set -u

for tool in go protoc gzip; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HOME=$folder PPROF_TMPDIR=$folder PPROF_BINARY_PATH=$folder
go tool pprof -help >/dev/null 2>&1 || { echo "no go tool pprof"; exit 77; }

failures=0
fail() {
	echo "FAILED: $1"
	[ $# -gt 1 ] && printf '%s\n' "$2" | sed 's/^/    /'
	failures=$((failures + 1))
}
# pprof OPTION... PROFILE: its output, errors included
pprof() {
	go tool pprof "$@" 2>&1 || echo "pprof $* failed"
}
# wants WHAT PATTERN TEXT: a line of the text matches
wants() {
	grep -Eq -- "$2" <<<"$3" || fail "$1: nothing like '$2' in" "$3"
}

"$WRITE_PROFILE" "$folder/out" || { echo "FAILED: write_profile"; exit 1; }
cd "$folder/out" || exit 1

for file in *.pb.gz; do
	gzip -t "$file" || fail "gzip -t $file"
	"$PROFILE_CAT" "$file" >/dev/null || fail "profile_cat $file"
	gzip -dc "$file" | protoc --decode=perftools.profiles.Profile \
		-I"$(dirname "$PROFILE_PROTO")" "$PROFILE_PROTO" >"$folder/text" 2>"$folder/errors" ||
		fail "protoc --decode $file" "$(cat "$folder/errors")"
	[ -s "$folder/errors" ] && fail "protoc has something to say of $file" "$(cat "$folder/errors")"
	# A field that the format does not have is shown as its number.
	grep -Eq '^ *[0-9]+:' "$folder/text" && fail "$file has unknown fields"
done

raw=$(pprof -raw -symbolize=none cpu.pb.gz)
wants "-raw" '^PeriodType: cpu nanoseconds$' "$raw"
wants "-raw" '^Period: 10000000$' "$raw"
wants "-raw" '^Duration: 2.5s?$|^Duration: 2.5' "$raw"
wants "-raw" '^samples/count cpu/nanoseconds\[dflt\]$' "$raw"
wants "-raw" '^ *100 1000000000: 1 2 3' "$raw"
wants "-raw" 'span_name:\[load\]' "$raw"
wants "-raw" 'size:\[4096 bytes\]' "$raw"
wants "-raw" '^1: 0x[0-9a-f]+/0x[0-9a-f]+/0x[0-9a-f]+ .*write_profile [0-9a-f]{40} *$' "$raw"

top=$(pprof -top -symbolize=none cpu.pb.gz)
wants "-top" '^Type: cpu$' "$top"
wants "-top" 'Total samples = 2000ms \(80.00%\)' "$top"
wants "-top" '1500ms 75.00% .* 1500ms 75.00%  leaf$' "$top"
wants "-top" '300ms 15.00% .* 1800ms 90.00%  work$' "$top"
wants "-top" '150ms .* \[jit\]$' "$top"
wants "-top" '50ms .* \[dropped\]$' "$top"
wants "-top" ' 0 .* 1950ms 97.50%  main_loop$' "$top"

# Where binaries are at hand pprof adds files and lines to our names: it has to
# find the same functions from our addresses and mappings.
if command -v addr2line >/dev/null || command -v llvm-symbolizer >/dev/null; then
	lines=$(pprof -top -lines cpu.pb.gz)
	for name in leaf work main_loop; do
		wants "-lines" " $name .*write_profile\.c:[0-9]+$" "$lines"
	done
fi

traces=$(pprof -traces -symbolize=none cpu.pb.gz)
wants "-traces" '^ *1s   leaf$' "$traces"
wants "-traces" '^ span_name: *store$' "$traces"
wants "-tagfocus, text" 'accounting for 500ms, 25.00%' \
	"$(pprof -top -symbolize=none -tagfocus=span_name=store cpu.pb.gz)"
wants "-tagfocus, range" 'accounting for 1s, 50.00% of 2s total' \
	"$(pprof -top -symbolize=none -tagfocus=size=1kb:8kb cpu.pb.gz)"
wants "-tags" '1.0s \(66.67%\): load' "$(pprof -tags -symbolize=none cpu.pb.gz)"
wants "-comments" '^second comment$' "$(pprof -comments cpu.pb.gz)"
wants "-sample_index" '^Type: samples$' "$(pprof -top -sample_index=samples cpu.pb.gz)"
if pprof -help | grep -q tagroot; then
	wants "-tagroot" '1000ms 50.00%  load$' \
		"$(pprof -top -symbolize=none -tagroot=span_name cpu.pb.gz)"
fi
wants "two profiles in one" 'Total samples = 4000ms|Total samples = 4s' \
	"$(pprof -top -symbolize=none cpu.pb.gz cpu.pb.gz)"
wants "-diff_base of itself" 'accounting for 0, 0% of' \
	"$(pprof -top -symbolize=none -diff_base=cpu.pb.gz cpu.pb.gz)"

heap=$(pprof -top -symbolize=none heap.pb.gz)
wants "heap" '^Type: alloc_space$' "$heap"
wants "heap" '2MB .* 100%  main_loop$' "$heap"
grep -q ' leaf$' <<<"$heap" && fail "drop_frames did not drop" "$heap"
wants "heap" '1MB .* main_loop$' "$(pprof -top -symbolize=none -inuse_space heap.pb.gz)"

recorded=$(pprof -top -symbolize=none recorded.heap.pb.gz)
wants "heap" '^Type: inuse_space$' "$recorded"
wants "heap" '4MB total$' "$recorded"
wants "heap" '3MB 75.00% .* leaf$' "$recorded"
wants "heap" '0 .* 4MB   100%  main_loop$' "$recorded"
wants "heap" '^Period: 1$' "$(pprof -raw -symbolize=none recorded.heap.pb.gz)"
wants "heap" '^PeriodType: space bytes$' "$(pprof -raw -symbolize=none recorded.heap.pb.gz)"
wants "heap" '^alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes\[dflt\]$' \
	"$(pprof -raw -symbolize=none recorded.heap.pb.gz)"
wants "heap, objects" '2 66.67% .* work$' \
	"$(pprof -top -symbolize=none -sample_index=alloc_objects recorded.heap.pb.gz)"
wants "heap, large blocks" 'accounting for 3MB, 75.00% of 4MB total' \
	"$(pprof -top -symbolize=none -tagfocus=bytes=2mb:8mb recorded.heap.pb.gz)"
wants "heap, sizes" '3.0MB \(75.00%\): 3MB' "$(pprof -tags -symbolize=none recorded.heap.pb.gz)"
wants "peak" '3MB 75.00% .* leaf$' "$(pprof -top -symbolize=none recorded.peak.pb.gz)"
wants "leaks" '3MB 75.00% .* leaf$' "$(pprof -top -symbolize=none recorded.leaks.pb.gz)"
wants "lifetimes" '64B   100% .* work$' \
	"$(pprof -top -symbolize=none recorded.lifetimes.pb.gz)"
wants "lifetimes, short" '64B   100% .* work$' \
	"$(pprof -top -symbolize=none -sample_index=short_lived_space recorded.lifetimes.pb.gz)"
wants "lifetimes, age" '^Type: total_age$' \
	"$(pprof -top -symbolize=none -sample_index=total_age recorded.lifetimes.pb.gz)"

"$SPANPROF_TEST_CLI" delta -o delta.pb.gz recorded.heap.pb.gz later.heap.pb.gz >/dev/null ||
	fail "spanprof delta"
delta=$(pprof -top -symbolize=none delta.pb.gz)
wants "delta" '2MB +100% .* leaf$' "$delta"
wants "delta" '1MB 33.33% .* work$' \
	"$(pprof -top -symbolize=none -sample_index=alloc_space delta.pb.gz)"
wants "delta" '^delta: later.heap.pb.gz less recorded.heap.pb.gz' "$(pprof -comments delta.pb.gz)"
# What pprof itself subtracts is the same.
ours=$(pprof -top -symbolize=none -sample_index=alloc_space delta.pb.gz | grep '%  ')
theirs=$(pprof -top -symbolize=none -sample_index=alloc_space -base=recorded.heap.pb.gz later.heap.pb.gz |
	grep '%  ')
[ "$ours" = "$theirs" ] || fail "delta and -base differ" "$ours"$'\n'"$theirs"

wants "no samples" 'Total samples = 0' "$(pprof -top -symbolize=none empty.pb.gz)"

odd=$(pprof -raw -symbolize=none odd.pb.gz)
wants "odd path" '/none/caf\\xe9\.so' "$odd"
wants "odd label" 'thread:\[\\xff\\xfe\]' "$odd"
wants "odd stack" '\[incomplete\]' "$odd"
wants "twin modules" 'M=2 ' "$odd"
wants "twin modules" 'M=3 ' "$odd"

[ "$failures" -eq 0 ] && echo "all readers agree"
exit $((failures > 0))

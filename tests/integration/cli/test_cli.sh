#!/usr/bin/env bash
# The spanprof command: what it prints, where, and with which exit status.
set -u

cli=$SPANPROF_TEST_CLI

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# shellcheck source=/dev/null
. "$SPANPROF_TEST_SOURCE/tests/integration/cli/checks.sh"

[ -x "$cli" ] || exit 77

# run STATUS ARGUMENTS... - leaves what was printed in $output and $errors.
run() {
	local expected=$1 status=0

	shift
	"$cli" "$@" >"$scratch/output" 2>"$scratch/errors" || status=$?
	output=$(cat "$scratch/output")
	errors=$(cat "$scratch/errors")
	expect_same "status $expected" "status $status" || {
		printf '%s\n' "$output" "$errors"
		return 1
	}
}

no_command_is_a_usage_error() {
	run 2
	expect_same "" "$output"
	expect_match 'no command.*spanprof help' "$errors"
}

an_unknown_command_names_the_nearest() {
	run 2 recovr
	expect_match 'unknown command "recovr" \(did you mean "recover"\?\)' "$errors"
	run 2 help pat
	expect_match 'did you mean "path"' "$errors"
}

an_unknown_option_is_named() {
	run 2 --frobnicate
	expect_match 'unknown option --frobnicate' "$errors"
	run 2 recover --frobnicate .
	expect_match '^spanprof recover: option --frobnicate' "$errors"
	expect_match '^usage: spanprof recover ' "$errors"
	run 2 recover -z .
	expect_match 'option -z' "$errors"
	run 2 recover -o
	expect_match 'option -o needs a value' "$errors"
	run 2 options --frobnicate
	expect_match '^spanprof options: option --frobnicate' "$errors"
}

help_and_version_are_output() {
	run 0 help
	expect_match '^    recover ' "$output"
	expect_same "" "$errors"
	run 0 --help
	expect_match '^    recover ' "$output"
	run 0 --version
	expect_match '^spanprof [0-9.]+$' "$output"
}

each_command_has_help() {
	local name

	for name in run recover delta options path help; do
		run 0 help "$name"
		expect_match "^usage: spanprof $name" "$output"
		run 0 "$name" --help
		expect_match "^usage: spanprof $name" "$output"
	done
}

one_argument_too_many_is_refused() {
	run 2 path extra
	run 2 options extra
	run 2 help path extra
}

output_that_could_not_be_written_is_a_failure() {
	local status=0

	"$cli" options >/dev/full 2>"$scratch/errors" || status=$?
	expect_same 1 "$status"
	expect_match 'cannot write to standard output' "$(cat "$scratch/errors")"
}

path_is_that_of_the_library_beside_it() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	run 0 path
	expect_same "$(realpath "$SPANPROF_TEST_AGENT")" "$output"
}

path_follows_an_installed_copy() {
	mkdir -p "$scratch/usr/bin" "$scratch/usr/lib"
	cp "$cli" "$scratch/usr/bin/spanprof"
	touch "$scratch/usr/lib/libspanprof.so"
	expect_same "$scratch/usr/lib/libspanprof.so" \
		"$(cd / && "$scratch/usr/bin/spanprof" path)"
	rm "$scratch/usr/lib/libspanprof.so"
	cli=$scratch/usr/bin/spanprof run 1 path
	expect_match 'no libspanprof.so beside' "$errors"
}

# run_to_end ARGUMENTS... - "spanprof run" with folders of its own.
run_to_end() {
	rm -rf "$scratch/profiles"
	mkdir -p "$scratch/profiles" "$scratch/recordings"
	env -i PATH="$PATH" SPANPROF_OUT="$scratch/profiles" \
		SPANPROF_RECORDING_DIR="$scratch/recordings" "$cli" run "$@"
}

# run_program STATUS ARGUMENTS... - as run, with folders of its own.
run_program() {
	local expected=$1 status=0

	shift
	run_to_end "$@" >"$scratch/output" 2>"$scratch/errors" || status=$?
	output=$(cat "$scratch/output")
	errors=$(cat "$scratch/errors")
	expect_same "status $expected" "status $status"
}

count_profiles() {
	find "$scratch/profiles" -name "$1.*.cpu.pb.gz" | wc -l
}

program_that_is_run_ends_as_without_us() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	run_program 7 sh -c 'echo out; echo err >&2; exit 7'
	expect_same out "$output"
	expect_match '^err' "$errors"
	expect_same 1 "$(count_profiles sh)"
	run_program 0 -- true
	expect_same 1 "$(count_profiles true)"
	run_program 127 "$scratch/no-such-program"
	expect_match 'cannot run .*/no-such-program: No such file' "$errors"
	run_program 126 /
	expect_same "" "$(ls "$scratch/recordings")"
}

program_that_is_killed_has_its_profile_when_run() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	# 128 + 9, and so is a child of its.
	# shellcheck disable=SC2016 # the inner shells' own numbers
	run_program 137 bash -c 'bash -c "kill -9 \$\$"; echo out; kill -9 $$'
	expect_same out "$output"
	expect_same 2 "$(count_profiles bash)"
	expect_same "" "$(ls "$scratch/recordings")"
}

what_signals_a_program_is_run_with_is_not_ours() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	run_program 0 grep -E '^Sig(Blk|Ign)' /proc/self/status
	expect_same "$(grep -E '^Sig(Blk|Ign)' /proc/self/status)" "$output"
	# shellcheck disable=SC2016 # of the shell that is run
	run_program 5 env --default-signal=INT bash -c \
		'trap "exit 5" INT; kill -INT $PPID; while :; do sleep 0.01; done'
	# shellcheck disable=SC2016
	run_program 5 bash -c \
		'trap "exit 5" TERM; kill -TERM $PPID; while :; do sleep 0.01; done'
	run_program 7 env --ignore-signal=CHLD "$cli" run bash -c 'exit 7'
	run_program 0 env --ignore-signal=CHLD "$cli" run grep SigIgn /proc/self/status
	expect_same "$(env --ignore-signal=CHLD grep SigIgn /proc/self/status)" "$output"
}

# state_is PID STATE - waits until the process is in that.
state_is() {
	local stat i

	for ((i = 0; i < 3000; i++)); do
		stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
		stat=${stat##*) }
		[ "${stat%% *}" != "$2" ] || return 0
		sleep 0.01
	done
	return 1
}

# start_job ARGUMENTS... - "spanprof run" in the background with a group of its own, as
# shells start jobs; its number is in $job.
start_job() {
	rm -f "$scratch/output" "$scratch/ready"
	set -m
	env -i PATH="$PATH" SPANPROF_OUT="$scratch" SPANPROF_RECORDING_DIR="$scratch" \
		"$cli" run "$@" >"$scratch/output" 2>"$scratch/errors" &
	job=$!
	set +m
}

# end_job STATUS - the job ends by itself with that.
end_job() {
	local status=0

	while kill -0 "$job" 2>/dev/null && ! state_is "$job" Z; do :; done
	wait "$job" || status=$?
	expect_same "status $1" "status $status"
}

program_that_stops_and_goes_on_does_so_with_us() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	local signal

	# shellcheck disable=SC2016 # the program's own number
	for signal in STOP TSTP TTOU; do
		start_job bash -c "kill -$signal"' $$; echo on; exit 7'
		expect_same stopped "$(state_is "$job" T && echo stopped)"
		expect_same "" "$(cat "$scratch/output")"
		# To us alone: whoever started us knows nobody else.
		kill -CONT "$job"
		end_job 7
		expect_same on "$(cat "$scratch/output")"
	done
}

program_that_does_not_stop_does_not_stop_us() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	# shellcheck disable=SC2016
	start_job bash -c 'trap "echo caught; exit 5" TSTP; echo >"$0"
		while :; do sleep 0.01; done' "$scratch/ready"
	while [ ! -e "$scratch/ready" ]; do sleep 0.01; done
	kill -TSTP "$job"
	end_job 5
	expect_same caught "$(cat "$scratch/output")"
}

recovery_goes_on_where_nobody_reads_of_it() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	local program status=0

	# Once nobody reads, a child is killed: its profile has to be recovered.
	# shellcheck disable=SC2016
	program='trap "" PIPE; while echo x >&2; do :; done; sh -c "kill -9 \$\$"; exit 3'
	run_to_end bash -c "$program" 2> >(:) || status=$?
	expect_same 3 "$status"
	expect_same 1 "$(count_profiles sh)"
	expect_same "" "$(ls "$scratch/recordings")"
	# The program's status is 0: ours is, too.
	status=0
	# shellcheck disable=SC2016
	run_to_end bash -c 'sh -c "kill -9 \$\$"; exit 0' 2>&- || status=$?
	expect_same 0 "$status"
	expect_same 1 "$(count_profiles sh)"
	expect_same "" "$(ls "$scratch/recordings")"
}

a_program_to_run_is_asked_for() {
	run 2 run
	expect_match 'no PROGRAM to run' "$errors"
	run 2 run --frobnicate true
	expect_match 'option --frobnicate is unknown' "$errors"
}

recover_without_a_file_is_a_usage_error() {
	run 2 recover
	expect_match 'no FILE or DIR' "$errors"
	run 2 recover --force --remove .
	expect_match '--remove with --force' "$errors"
}

recover_refuses_a_pattern_that_makes_no_file_name() {
	local pattern

	for pattern in a/b %x % ''; do
		run 2 recover --file "$pattern" .
		expect_match "\"$pattern\" is no file name" "$errors"
	done
}

recover_of_a_folder_without_recordings_is_no_failure() {
	mkdir -p "$scratch/empty/sub.spanprof"
	touch "$scratch/empty/other"
	ln -s other "$scratch/empty/link.spanprof"
	run 0 recover -o "$scratch" "$scratch/empty"
	expect_match 'no recording .*nothing to recover' "$output"
	expect_same "" "$errors"
}

recover_names_what_it_cannot_recover_and_goes_on() {
	mkdir "$scratch/mixed"
	echo garbage >"$scratch/mixed/a.spanprof"
	: >"$scratch/mixed/b.spanprof"
	run 1 recover -o "$scratch" "$scratch/missing" /dev/null "$scratch/mixed"
	expect_match "cannot recover $scratch/missing: No such file" "$errors"
	expect_match 'cannot recover /dev/null: neither a file nor a folder' "$errors"
	expect_match "cannot recover $scratch/mixed/a.spanprof: ." "$errors"
	expect_match "cannot recover $scratch/mixed/b.spanprof: ." "$errors"
	expect_same 4 "$(wc -l <<<"$errors")"
}

what_could_not_be_recovered_is_not_removed() {
	echo garbage >"$scratch/c.spanprof"
	run 1 recover --remove -o "$scratch" "$scratch/c.spanprof"
	[ -e "$scratch/c.spanprof" ]
}

recover_needs_a_folder_to_write_to() {
	touch "$scratch/occupied"
	run 1 recover -o "$scratch/occupied/out" "$scratch"
	expect_match "cannot write profiles to $scratch/occupied/out: Not a directory" "$errors"
	run 0 recover -o "$scratch/made/here" "$scratch/empty"
	[ -d "$scratch/made/here" ]
}

# A recording of a program that was killed, as $scratch/killed.spanprof.
make_recording() {
	mkdir "$scratch/killed"
	# shellcheck disable=SC2016 # the other bash expands it
	env -i PATH="$PATH" XDG_RUNTIME_DIR="$scratch/killed" SPANPROF_OUT="$scratch/killed" \
		LD_PRELOAD="$SPANPROF_TEST_AGENT" bash -c 'kill -KILL $$' || true
	mv "$scratch"/killed/*.spanprof "$scratch/killed.spanprof"
}

recover_under_a_limit_of_file_sizes_says_so() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	make_recording
	ulimit -f 0
	# Said through pipes, which have no size.
	status=0
	errors=$("$cli" recover -o "$scratch/killed" "$scratch/killed.spanprof" 2>&1) || status=$?
	expect_same 1 "$status"
	expect_match 'cannot write its cpu profile: File too large' "$errors"
	expect_same "" "$(ls -A "$scratch/killed")"
}

# No process has that number, but one of another pid namespace may have it there.
recording_that_has_just_been_made_is_left_alone() {
	mkdir "$scratch/making"
	touch "$scratch/making/made.2147483647.18ec928db55ae1ca.spanprof"
	run 0 recover --remove -o "$scratch" "$scratch/making"
	expect_match "left alone, it is only [0-9] s old: a process that cannot be seen" "$output"
	touch -d '1 hour ago' "$scratch"/making/*
	run 0 recover --remove -o "$scratch" "$scratch/making"
	expect_match "was killed before there was anything to record" "$output"
	expect_same "" "$(ls -A "$scratch/making")"
}

# The folder is open to all, the command too.
recordings_of_other_users_are_left_alone_in_a_folder() {
	local shared=$scratch/shared

	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		return 0
	fi
	chmod 711 "$scratch"
	mkdir -m 1777 "$shared"
	cp "$cli" "$shared/spanprof"
	echo garbage >"$shared/a.spanprof"
	chmod 600 "$shared/a.spanprof"
	cd "$shared" || return
	output=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$shared/spanprof" \
		recover -o "$shared/out" "$shared" 2>&1)
	expect_same "$shared/a.spanprof: left alone, it is another user's" "$output"
	# One that is asked for by its name is another matter.
	if output=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$shared/spanprof" \
		recover -o "$shared/out" "$shared/a.spanprof" 2>&1); then
		return 1
	fi
	expect_match 'cannot recover .*/a.spanprof: Permission denied' "$output"
}

delta_wants_two_profiles() {
	run 2 delta
	expect_match '^spanprof delta: two profiles are wanted, not 0' "$errors"
	run 2 delta one
	run 2 delta one two three
	expect_match '^usage: spanprof delta ' "$errors"
	run 2 delta -o
	expect_match 'option -o needs a value' "$errors"
}

delta_names_what_it_cannot_read() {
	echo garbage >"$scratch/garbage"
	run 1 delta "$scratch/missing" "$scratch/garbage"
	expect_same "spanprof: cannot read $scratch/missing: No such file or directory" "$errors"
	run 1 delta "$scratch/garbage" "$scratch/garbage"
	expect_same "spanprof: cannot read $scratch/garbage: not a whole gzip file" "$errors"
	run 1 delta "$scratch" "$scratch/garbage"
	expect_same "spanprof: cannot read $scratch: not a regular file" "$errors"
	gzip <"$scratch/garbage" >"$scratch/garbage.gz"
	run 1 delta "$scratch/garbage.gz" "$scratch/garbage"
	expect_same "spanprof: cannot read $scratch/garbage.gz: not a profile" "$errors"
}

# Twice the profiles of a program that runs, and what it did in between.
delta_tells_what_a_running_program_did() {
	local recording

	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	mkdir "$scratch/run"
	cd "$scratch/run" || return
	mkfifo orders answers
	exec 3<>orders 4<>answers
	# Without our own variables, which the agent would take for mistakes.
	# shellcheck disable=SC2016 # the other bash expands it
	env -i PATH="$PATH" XDG_RUNTIME_DIR="$scratch/run" SPANPROF=heap:rate=1 \
		LD_PRELOAD="$SPANPROF_TEST_AGENT" bash -c '
			while read -r bytes; do printf -v text "%${bytes}s" x; echo done; done' \
		<&3 >&4 2>said &
	echo 1000 >&3
	read -r -u 4 _
	recording=$(echo ./*.spanprof)
	run 0 recover --force -o before "$recording"
	echo 1000000 >&3
	read -r -u 4 _
	run 0 recover --force -o after "$recording"
	# It sleeps, and so does who looks at its clocks.
	sleep 1.5
	run 0 recover --force -o asleep "$recording"
	kill $!
	wait $! || true
	run 0 delta before/*.heap.pb.gz after/*.heap.pb.gz
	expect_match '^bash\.[0-9]+\.delta\.heap\.pb\.gz$' "$output"
	gzip -t "$output"
	run 0 delta -o chosen before/*.heap.pb.gz after/*.heap.pb.gz
	expect_same chosen "$output"
	run 0 delta -o slept after/*.heap.pb.gz asleep/*.heap.pb.gz
	expect_match ', [1-9][0-9]*\.[0-9]+ s later' "$(zcat slept | tr -cd '[:print:]')"
	run 1 delta before/*.heap.pb.gz after/*.peak.pb.gz
	expect_match '^spanprof: before/bash.*different kinds of profiles' "$errors"
	expect_same "" "$(find . -name '.spanprof-*')"
}

delta_tells_kinds_apart_that_measure_the_same() {
	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	mkdir "$scratch/kinds"
	cd "$scratch/kinds" || return
	env -i PATH="$PATH" SPANPROF=heap:rate=1,leaks=1 \
		LD_PRELOAD="$SPANPROF_TEST_AGENT" bash -c 'printf -v text "%1000s" x' 2>said
	run 1 delta ./bash.*.peak.pb.gz ./bash.*.leaks.pb.gz
	expect_match 'one is of the kind peak, the other leaks' "$errors"
	run 0 delta -o same ./bash.*.peak.pb.gz ./bash.*.peak.pb.gz
	expect_same 'same' "$output"
	# What is no file of profiles stays, and what was written is what is said.
	ln -s elsewhere taken.pb.gz
	run 0 delta -o ./taken.pb.gz ./bash.*.peak.pb.gz ./bash.*.peak.pb.gz
	expect_same './taken.2.pb.gz' "$output"
	gzip -t taken.2.pb.gz
	run 1 delta same ./bash.*.peak.pb.gz
	expect_match '^spanprof: same is itself what' "$errors"
}

check no_command_is_a_usage_error
check an_unknown_command_names_the_nearest
check an_unknown_option_is_named
check help_and_version_are_output
check each_command_has_help
check one_argument_too_many_is_refused
check output_that_could_not_be_written_is_a_failure
check path_is_that_of_the_library_beside_it
check path_follows_an_installed_copy
check program_that_is_run_ends_as_without_us
check program_that_is_killed_has_its_profile_when_run
check what_signals_a_program_is_run_with_is_not_ours
check program_that_stops_and_goes_on_does_so_with_us
check program_that_does_not_stop_does_not_stop_us
check recovery_goes_on_where_nobody_reads_of_it
check a_program_to_run_is_asked_for
check recover_without_a_file_is_a_usage_error
check recover_refuses_a_pattern_that_makes_no_file_name
check recover_of_a_folder_without_recordings_is_no_failure
check recover_names_what_it_cannot_recover_and_goes_on
check what_could_not_be_recovered_is_not_removed
check recover_needs_a_folder_to_write_to
check recover_under_a_limit_of_file_sizes_says_so
check recording_that_has_just_been_made_is_left_alone
check recordings_of_other_users_are_left_alone_in_a_folder
check delta_wants_two_profiles
check delta_names_what_it_cannot_read
check delta_tells_what_a_running_program_did
check delta_tells_kinds_apart_that_measure_the_same
finish_checks

# Small checks for shell tests: source it with $scratch set to a folder of the
# test's own, call check for each sentence, end with finish_checks. Each check runs in a subshell of its own with set -e, so a
# failing command fails its check and no other.
# shellcheck shell=bash

checks_failed=0
checks_run=0

# check FUNCTION - its name is the sentence.
check() {
	local log=${scratch:?}/check.log status

	checks_run=$((checks_run + 1))
	# Not in a condition: that would switch set -e off inside.
	(set -e; "$1") >"$log" 2>&1
	status=$?
	if [ "$status" -eq 0 ]; then
		echo "ok      ${1//_/ }"
	else
		checks_failed=$((checks_failed + 1))
		echo "FAILED  ${1//_/ }"
		sed 's/^/        /' "$log"
	fi
}

# expect_same EXPECTED ACTUAL
expect_same() {
	if [ "$1" != "$2" ]; then
		printf 'expected: %s\nactual:   %s\n' "$1" "$2"
		return 1
	fi
}

# expect_match PATTERN TEXT - an extended regular expression.
expect_match() {
	if ! grep -Eq -- "$1" <<<"$2"; then
		printf 'expected a match of: %s\nin: %s\n' "$1" "$2"
		return 1
	fi
}

finish_checks() {
	echo "$((checks_run - checks_failed)) of $checks_run passed"
	[ "$checks_failed" -eq 0 ]
}

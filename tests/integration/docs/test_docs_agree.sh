#!/usr/bin/env bash
# README, man page, pkg-config file and command say the same about the same things.
set -u

source_dir=$SPANPROF_TEST_SOURCE
cli=$SPANPROF_TEST_CLI
built_dir=$(dirname "$cli")
readme=$source_dir/README.md
man_page=$built_dir/spanprof.1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# shellcheck source=/dev/null
. "$SPANPROF_TEST_SOURCE/tests/integration/cli/checks.sh"

[ -x "$cli" ] || exit 77

# The names of all variables, from the table.
known_variables() {
	"$cli" options --markdown | grep -o 'SPANPROF_[A-Z_]*' | sort -u
}

readme_has_the_table_of_the_command() {
	local written told

	written=$(sed -n '/^<!-- options -->$/,/^<!-- \/options -->$/{//!p}' "$readme")
	told=$("$cli" options --markdown)
	[ -n "$told" ]
	diff <(echo "$written") <(echo "$told")
}

man_page_has_the_list_of_the_command() {
	local list page

	list=$("$cli" options --man)
	page=$(cat "$man_page")
	[ "$(grep -c '^\.TP' <<<"$list")" -ge 10 ]
	case $page in
	*"$list"*) ;;
	*)
		echo "$man_page lacks the output of 'spanprof options --man'"
		return 1
		;;
	esac
}

# shellcheck disable=SC2016 # the backquotes are Markdown's
every_form_lists_the_same_options() {
	local markdown man text

	markdown=$("$cli" options --markdown | sed -n 's/^| `\([^`=]*\).* | `\(SPANPROF_[A-Z_]*\)`.*/\1 \2/p')
	text=$("$cli" options | sed -n 's/^\([a-z:_-]*\)[^,]*, \(SPANPROF_[A-Z_]*\).* (default .*/\1 \2/p')
	man=$("$cli" options --man | sed 's/\\f[A-Z]//g; s/\\-/-/g' |
		sed -n 's/^\([a-z:_-]*\)[^,]*, \(SPANPROF_[A-Z_]*\).* (default .*/\1 \2/p')
	[ "$(wc -l <<<"$markdown")" -ge 10 ]
	diff <(echo "$markdown") <(echo "$text")
	diff <(echo "$markdown") <(echo "$man")
}

no_text_names_a_variable_that_does_not_exist() {
	local named

	# Not what only stands for any of them, SPANPROF_*, nor a macro of span.h.
	named=$(cat "$readme" "$source_dir/agent/spanprof.1.in" "$source_dir/scripts/quickstart" |
		grep -o 'SPANPROF_[A-Z_]*[A-Z]\((\|\)' | grep -v '($' | sort -u)
	diff <(comm -23 <(echo "$named") <(known_variables)) /dev/null
}

man_page_has_its_sections_in_order() {
	expect_same "NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS ENVIRONMENT FILES SIGNALS USED EXIT STATUS EXAMPLES BUGS SEE ALSO" \
		"$(sed -n 's/^\.SH //p' "$man_page" | tr '\n' ' ' | sed 's/ $//')"
}

man_page_is_well_formed() {
	command -v groff >/dev/null || return 0
	expect_same "" "$(groff -man -ww -Tutf8 "$man_page" 2>&1 >/dev/null)"
}

man_page_has_no_place_left_to_fill() {
	! grep -n '@[A-Z_]*@' "$man_page"
}

man_page_and_help_know_the_same_commands() {
	local helped documented

	helped=$("$cli" help | sed -n 's/^    \([a-z]*\)  .*/\1/p' | sort)
	documented=$(sed -n '/^\.SH COMMANDS/,/^\.SH OPTIONS/p' "$man_page" |
		grep -A1 '^\.TP' | sed 's/\\f[A-Z]//g' |
		sed -n 's/^\(\.BR* \)\{0,1\}\([a-z][a-z]*\).*/\2/p' | sort)
	[ "$(wc -l <<<"$helped")" -ge 4 ]
	diff <(echo "$helped") <(echo "$documented")
}

man_page_knows_every_option_of_recover() {
	local option

	for option in $("$cli" help recover | grep -o -- '--[a-z]*' | sort -u); do
		grep -q -- "${option//-/\\\\-}" "$man_page"
	done
}

# shellcheck disable=SC2016 # the backquotes are Markdown's
what_readme_points_to_is_there() {
	local file

	for file in $(grep -o 'scripts/[a-z-]*' "$readme" | sort -u) \
		$(grep -o '`agent/[a-z]*`' "$readme" | tr -d '`') \
		$(sed -n 's/.*](\([A-Za-z/.]*\)).*/\1/p' "$readme"); do
		[ -e "$source_dir/$file" ] || {
			echo "README.md names $file"
			return 1
		}
	done
}

pkg_config_knows_what_to_preload() {
	local preload

	command -v pkg-config >/dev/null || return 0
	preload=$(PKG_CONFIG_PATH=$built_dir pkg-config --variable=preload spanprof)
	expect_match '^/.*/libspanprof\.so$' "$preload"
}

# As cmake --install --prefix puts it elsewhere than it was configured for.
pkg_config_file_follows_where_it_is_installed() {
	local folder=$scratch/moved/usr/lib/pkgconfig

	command -v pkg-config >/dev/null || return 0
	mkdir -p "$folder"
	cp "$built_dir/spanprof.pc" "$folder"
	expect_match "^$scratch/" "$(PKG_CONFIG_PATH=$folder \
		pkg-config --variable=preload spanprof)"
}

version_is_one() {
	local version

	version=$("$cli" --version)
	expect_match '^spanprof [0-9]+\.[0-9]+\.[0-9]+$' "$version"
	grep -q "^\.TH .*\"$version\"" "$man_page"
	! command -v pkg-config >/dev/null ||
		expect_same "${version#spanprof }" \
			"$(PKG_CONFIG_PATH=$built_dir pkg-config --modversion spanprof)"
}

# The example of a mistake is what the agent says, but for the process id.
readme_shows_a_mistake_as_it_is_told() {
	local shown told

	[ -e "$SPANPROF_TEST_AGENT" ] || return 0
	shown=$(sed -n 's/^    spanprof\[[0-9]*\]: //p' "$readme")
	told=$(SPANPROF=hzz LD_PRELOAD=$SPANPROF_TEST_AGENT sh -c ':' 2>&1)
	expect_same "$shown" "${told#spanprof\[*\]: }"
}

check readme_has_the_table_of_the_command
check man_page_has_the_list_of_the_command
check every_form_lists_the_same_options
check no_text_names_a_variable_that_does_not_exist
check man_page_has_its_sections_in_order
check man_page_is_well_formed
check man_page_has_no_place_left_to_fill
check man_page_and_help_know_the_same_commands
check man_page_knows_every_option_of_recover
check what_readme_points_to_is_there
check pkg_config_knows_what_to_preload
check pkg_config_file_follows_where_it_is_installed
check version_is_one
check readme_shows_a_mistake_as_it_is_told
finish_checks

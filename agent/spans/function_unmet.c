/*
 * See function_unmet.h. Children that a profiled program starts, the shells and helpers
 * that have nothing to do with what is looked for, keep silent. Context: hook, unless
 * said otherwise.
 */
#include "function_unmet.h"

#include "function_patterns.h"
#include "sp_file_lines.h"
#include "sp_list.h"
#include "sp_next.h"
#include "sp_spans.h"
#include "sp_syscall.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Later ones are taken for met. */
#define PATTERNS_MAX 64U

static const char *patterns; /* NULL: none */
static _Atomic uint64_t met; /* by their numbers */
static uint32_t own_pid;
static bool has_looked, is_of_profiled;

void sp_function_unmet_begin(const char *wanted)
{
	patterns = wanted;
	own_pid = (uint32_t)sp_syscall0(SYS_getpid);
}

void sp_function_note_met(const char *name)
{
	uint64_t by_now = sp_function_patterns_for(patterns, name);

	/* Relaxed: told at the end. */
	if (by_now & ~atomic_load_explicit(&met, memory_order_relaxed))
		atomic_fetch_or_explicit(&met, by_now, memory_order_relaxed);
}

/* --- who started us --- */

/* Does the line of a mapping end with that name of a file? It may have been replaced by
 * another of the same name since. */
static bool names_file(const char *line, size_t line_bytes, const char *name)
{
	static const char replaced[] = " (deleted)";
	const size_t replaced_bytes = sizeof(replaced) - 1, name_bytes = strlen(name);

	if (line_bytes > replaced_bytes &&
	    memcmp(line + line_bytes - replaced_bytes, replaced, replaced_bytes) == 0)
		line_bytes -= replaced_bytes;
	return line_bytes > name_bytes && line[line_bytes - name_bytes - 1] == '/' &&
	       memcmp(line + line_bytes - name_bytes, name, name_bytes) == 0;
}

static bool look_for_us(void *is_found, const char *line, size_t line_bytes)
{
	const struct link_map *own = sp_next_own_object();

	*(bool *)is_found =
		own && names_file(line, line_bytes, sp_text_base_name(own->l_name));
	return !*(bool *)is_found;
}

static void path_of_parent(char *path, size_t path_bytes)
{
	struct sp_text text;

	sp_text_init(&text, path, path_bytes);
	sp_text_string(&text, "/proc/");
	sp_text_decimal(&text, (uint64_t)sp_syscall0(SYS_getppid));
	sp_text_string(&text, "/maps");
}

/* By what it has mapped: its environment may name us where nothing was preloaded, and
 * programs that change their titles write over it. What cannot be read is not profiled by
 * who runs us. */
static bool is_parent_profiled(void)
{
	bool is_profiled = false;
	char path[64];

	path_of_parent(path, sizeof(path));
	sp_file_lines_read(
		(int)sp_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0),
		look_for_us, &is_profiled);
	return is_profiled;
}

void sp_function_unmet_look(void)
{
	if (has_looked || !patterns)
		return;
	is_of_profiled = is_parent_profiled();
	has_looked = true;
}

/* --- the line at exit --- */

static void say_one(const struct sp_list_item *item, bool is_first, struct sp_text *text)
{
	sp_text_string(text, is_first ? "; no calls found of " : ", ");
	for (size_t i = 0; i < item->bytes; i++)
		sp_text_char(text, item->at[i]);
}

void sp_spans_say_unmet(struct sp_text *text)
{
	uint64_t met_now = atomic_load_explicit(&met, memory_order_relaxed);
	const char *rest = patterns;
	struct sp_list_item item;
	bool has_said = false;

	if (!patterns || !has_looked || is_of_profiled ||
	    own_pid != (uint32_t)sp_syscall0(SYS_getpid))
		return;
	for (uint32_t i = 0; i < PATTERNS_MAX && sp_list_next(&rest, &item); i++) {
		if (!item.bytes || met_now >> i & 1)
			continue;
		say_one(&item, !has_said, text);
		has_said = true;
	}
}

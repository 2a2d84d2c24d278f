/*
 * See function_unmet.h. Children that a profiled program starts, the shells and helpers
 * that have nothing to do with what is looked for, keep silent. Context: hook, unless
 * said otherwise.
 */
#include "function_unmet.h"

#include "function_patterns.h"
#include "sp_next.h"
#include "sp_pages.h"
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

#define ENVIRONMENT_BYTES_MAX ((size_t)128 * 1024)

/* Is it the file of an item of LD_PRELOAD? */
static bool names_file(const char *list, const char *name)
{
	size_t name_bytes = strlen(name), bytes;

	for (; *list; list += bytes + (list[bytes] != '\0')) {
		bytes = strcspn(list, ": ");
		if (bytes >= name_bytes &&
		    memcmp(list + bytes - name_bytes, name, name_bytes) == 0 &&
		    (bytes == name_bytes || list[bytes - name_bytes - 1] == '/'))
			return true;
	}
	return false;
}

/* Of an environment that is not longer than we look. */
static bool preloads_us(const char *environment, size_t bytes)
{
	static const char variable[] = "LD_PRELOAD=";
	const struct link_map *own = sp_next_own_object();
	const char *name = own ? sp_text_base_name(own->l_name) : "";

	for (size_t at = 0; at < bytes; at += strlen(environment + at) + 1) {
		const char *entry = environment + at;

		if (strncmp(entry, variable, sizeof(variable) - 1) == 0)
			return *name && names_file(entry + sizeof(variable) - 1, name);
	}
	return false;
}

static void path_of_parent(char *path, size_t path_bytes)
{
	struct sp_text text;

	sp_text_init(&text, path, path_bytes);
	sp_text_string(&text, "/proc/");
	sp_text_decimal(&text, (uint64_t)sp_syscall0(SYS_getppid));
	sp_text_string(&text, "/environ");
}

/* What cannot be read is not profiled by who runs us. */
static bool is_parent_profiled(void)
{
	char path[64], *environment = sp_pages_map(ENVIRONMENT_BYTES_MAX);
	bool is_profiled = false;
	size_t used = 0;
	long fd, got;

	if (!environment)
		return false;
	path_of_parent(path, sizeof(path));
	fd = sp_syscall4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd >= 0) {
		/* The last byte stays 0. */
		while ((got = sp_syscall3(SYS_read, fd, environment + used,
					  ENVIRONMENT_BYTES_MAX - 1 - used)) > 0)
			used += (size_t)got;
		sp_syscall1(SYS_close, fd);
		is_profiled = preloads_us(environment, used);
	}
	sp_pages_unmap(environment, ENVIRONMENT_BYTES_MAX);
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

static bool says_one(const char *item, size_t bytes, bool is_first, struct sp_text *text)
{
	sp_text_string(text, is_first ? "; no calls found of " : ", ");
	for (size_t i = 0; i < bytes; i++)
		sp_text_char(text, item[i]);
	return true;
}

void sp_spans_say_unmet(struct sp_text *text)
{
	uint64_t met_now = atomic_load_explicit(&met, memory_order_relaxed);
	const char *item = patterns;
	bool has_said = false;

	if (!patterns || !has_looked || is_of_profiled ||
	    own_pid != (uint32_t)sp_syscall0(SYS_getpid))
		return;
	for (uint32_t i = 0; *item && i < PATTERNS_MAX; i++) {
		size_t bytes = strcspn(item, ",");

		if (bytes && !(met_now >> i & 1))
			has_said |= says_one(item, bytes, !has_said, text);
		item += bytes + (item[bytes] == ',');
	}
}

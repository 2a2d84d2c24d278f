/* See function_patterns.h. */
#include "function_patterns.h"

#include <stddef.h>
#include <string.h>

static const char *const refused[] = {
	"setjmp",
	"_setjmp",
	"__setjmp",
	"sigsetjmp",
	"__sigsetjmp",
	"getcontext",
	"setcontext",
	"swapcontext",
	"makecontext",
	"longjmp",
	"_longjmp",
	"siglongjmp",
	"__longjmp_chk",
	"vfork",
	"__vfork",
	"fork",
	"__fork",
	"_Fork",
	"clone",
	"__clone",
	"clone3",
	"exit",
	"_exit",
	"_Exit",
	"quick_exit",
	"abort",
	"pthread_exit",
	"__pthread_unwind_next",
	"__pthread_register_cancel",
	"__pthread_unregister_cancel",
	"__stack_chk_fail",
	"__assert_fail",
	/* They look at their caller. */
	"dlopen",
	"dlmopen",
	"dlsym",
	"dlvsym",
	"dladdr",
	"dl_iterate_phdr",
	"_dl_find_object",
	"mcount",
	"_mcount",
	"__fentry__",
	"__gmon_start__",
	"__morestack",
	"backtrace",
	"__cyg_profile_func_enter",
	"__cyg_profile_func_exit",
};

/* Parts of compilers and loaders. */
static const char *const refused_prefixes[] = {
	"_Unwind_", "__cxa_",  "__gxx_",  "__tls_",  "__libc_",	 "_dl_",
	"_ITM_",    "__asan_", "__tsan_", "__msan_", "__ubsan_", "__sanitizer_",
};

bool sp_function_is_refused(const char *name)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (strcmp(refused[i], name) == 0)
			return true;
	for (size_t i = 0; i < sizeof(refused_prefixes) / sizeof(refused_prefixes[0]);
	     i++) {
		size_t bytes = strlen(refused_prefixes[i]);

		if (strlen(name) >= bytes &&
		    memcmp(name, refused_prefixes[i], bytes) == 0)
			return true;
	}
	return false;
}

/* Goes back to the last * only: what an earlier one took need not be taken anew. */
static bool matches_one(const char *pattern, const char *end, const char *name)
{
	const char *star = NULL, *star_name = NULL;

	while (*name) {
		if (pattern < end && *pattern == '*') {
			star = pattern++;
			star_name = name;
		} else if (pattern < end && *pattern == *name) {
			pattern++;
			name++;
		} else if (star) {
			pattern = star + 1;
			name = ++star_name;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}

bool sp_function_matches(const char *patterns, const char *name)
{
	while (*patterns) {
		size_t bytes = strcspn(patterns, ",");

		if (matches_one(patterns, patterns + bytes, name))
			return !sp_function_is_refused(name);
		patterns += bytes + (patterns[bytes] == ',');
	}
	return false;
}

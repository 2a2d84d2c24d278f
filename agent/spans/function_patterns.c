/* See function_patterns.h. */
#include "function_patterns.h"

#include "sp_list.h"

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
	"jump_fcontext",
	"make_fcontext",
	"ontop_fcontext",
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
	"_Unwind_",  "__cxa_",	 "__gxx_",  "__tls_",	 "__libc_",
	"_dl_",	     "_ITM_",	 "__asan_", "__hwasan_", "__tsan_",
	"__msan_",   "__ubsan_", "__lsan_", "__dfsan_",	 "__sanitizer_",
	"_Ux86_64_", "unw_",	 "__unw_",  "__svml_",	 "__libm_sse2_",
};

/* --- vectors --- */

#define VECTOR_BYTES_MAX 16U

/* "F" bits, with one more letter */
static size_t bytes_of_floating(const char *mangled)
{
	size_t bits = 0;

	for (mangled++; *mangled >= '0' && *mangled <= '9' && bits < 4096; mangled++)
		bits = bits * 10 + (size_t)(*mangled - '0');
	return bits / 8;
}

/* Of a builtin type as C++ mangles it; others are no parts of vectors. */
static size_t bytes_of_type(const char *mangled)
{
	switch (mangled[0]) {
	case 'D':
		if (mangled[1] == 'F')
			return bytes_of_floating(mangled + 1);
		return mangled[1] == 'h' ? 2 : 1;
	case 's':
	case 't':
		return 2;
	case 'i':
	case 'j':
	case 'f':
		return 4;
	case 'l':
	case 'm':
	case 'x':
	case 'y':
	case 'd':
		return 8;
	case 'n':
	case 'o':
		return 16;
	default:
		return 1;
	}
}

/* "Dv" count "_" type */
static bool is_wide_vector(const char *mangled)
{
	size_t count = 0;

	for (mangled += 2; *mangled >= '0' && *mangled <= '9' && count < 4096; mangled++)
		count = count * 10 + (size_t)(*mangled - '0');
	return *mangled == '_' && count * bytes_of_type(mangled + 1) > VECTOR_BYTES_MAX;
}

/*
 * Of these registers the stub keeps the lower 16 bytes only. What takes more says so in
 * its name where it is one that the compiler made of a loop (_ZGVdN4v_sin is for AVX2,
 * _ZGVbN2v_sin for SSE), or that of a C++ function.
 */
static bool takes_wide_vectors(const char *name)
{
	if (strncmp(name, "_Z", 2) != 0)
		return false;
	if (strncmp(name, "_ZGV", 4) == 0 && name[4] >= 'c' && name[4] <= 'e' &&
	    (name[5] == 'N' || name[5] == 'M'))
		return true;
	for (; *name; name++)
		if (name[0] == 'D' && name[1] == 'v' && is_wide_vector(name))
			return true;
	return false;
}

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
	return takes_wide_vectors(name);
}

/* Goes back to the last * only: what an earlier one took need not be taken anew. */
static bool matches_one(const struct sp_list_item *item, const char *name)
{
	const char *pattern = item->at, *end = pattern + item->bytes;
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

uint64_t sp_function_patterns_for(const char *patterns, const char *name)
{
	struct sp_list_item item;
	uint64_t matching = 0;

	for (uint32_t i = 0; i < 64 && sp_list_next(&patterns, &item); i++)
		if (matches_one(&item, name))
			matching |= UINT64_C(1) << i;
	return matching;
}

bool sp_function_matches(const char *patterns, const char *name)
{
	struct sp_list_item item;

	while (sp_list_next(&patterns, &item))
		if (matches_one(&item, name))
			return !sp_function_is_refused(name);
	return false;
}

/*
 * Compiler vocabulary shared by every folder. Usable in any context; holds no
 * code of its own beyond what expands in place.
 */
#ifndef SP_COMPILER_H
#define SP_COMPILER_H

#include <stddef.h>

/* Visible to the host: interposers and the public API, nothing else. */
#define SP_EXPORT __attribute__((visibility("default")))
/* On declarations of variables that hot code reads: no way round by the GOT. */
#define SP_HIDDEN __attribute__((visibility("hidden")))
/* Initial-exec keeps a hook's first TLS access from calling malloc. */
#define SP_TLS __thread __attribute__((tls_model("initial-exec")))
#define SP_COLD __attribute__((cold, noinline))
/* Runs for samples, amid the program's work: lies together, so that few pages and lines
 * have to be fetched. */
#define SP_SAMPLING __attribute__((section(".text.hot.sampling")))
/* The same of variables that samples look at. */
#define SP_SAMPLING_DATA __attribute__((section("sp_sampling_data")))
#define SP_NOINLINE __attribute__((noinline))
#define SP_PRINTF(format_index, first_index)                                             \
	__attribute__((format(printf, format_index, first_index)))

#define sp_likely(condition) __builtin_expect(!!(condition), 1)
#define sp_unlikely(condition) __builtin_expect(!!(condition), 0)

#define SP_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SP_ROUND_UP(value, multiple) (((value) + (multiple)-1) / (multiple) * (multiple))

#endif

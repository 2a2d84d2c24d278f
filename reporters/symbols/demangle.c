/*
 * Calls libiberty with a bounded buffer. Runs on the reporter thread. Invariant:
 * neither a hostile name nor an honest giant costs more than a full buffer:
 * a few characters can stand for gigabytes (each substitution may repeat all
 * before it), so the printing is left in the middle once the buffer is full.
 */
#include "sp_demangle.h"

#include <libiberty/demangle.h>
#include <string.h>

static const char cut_mark[] = "...";

struct output {
	char *bytes;
	size_t length;
	void *full[5]; /* where to go on when the buffer is full */
};

/* Context: libiberty's printer, which holds no resources it would have to give back. */
static void collect(const char *text, size_t length, void *opaque)
{
	struct output *output = opaque;
	size_t room = SP_DEMANGLE_OUTPUT_BYTES - 1 - output->length;

	if (length <= room) {
		memcpy(output->bytes + output->length, text, length);
		output->length += length;
		return;
	}
	memcpy(output->bytes + output->length, text, room);
	memcpy(output->bytes + SP_DEMANGLE_OUTPUT_BYTES - sizeof(cut_mark), cut_mark,
	       sizeof(cut_mark));
	output->length = SP_DEMANGLE_OUTPUT_BYTES - 1;
	__builtin_longjmp(output->full, 1);
}

typedef int (*demangler)(const char *, int, demangle_callbackref, void *);

/* Not inlined: __builtin_setjmp wants a frame to itself. */
static __attribute__((noinline)) size_t print(demangler demangle, const char *name,
					      struct output *output)
{
	output->length = 0;
	if (__builtin_setjmp(output->full) != 0)
		return output->length;
	/* DMGL_NO_OPTS: no parameters, and the recursion limit is on. */
	if (!demangle(name, DMGL_NO_OPTS, collect, output))
		return 0;
	return output->length;
}

size_t sp_demangle(const char *name, char *out)
{
	struct output output = {.bytes = out};
	size_t length = 0;
	bool is_v0 = name[0] == '_' && name[1] == 'R';

	if (!is_v0 && (name[0] != '_' || name[1] != 'Z'))
		return 0;
	if (strnlen(name, SP_DEMANGLE_INPUT_BYTES_MAX + 1) > SP_DEMANGLE_INPUT_BYTES_MAX)
		return 0;
	/* Rust's old mangling is C++'s with a hash at the end: first the one that
	 * can tell. */
	if (!is_v0 || sp_rust_v0_is_plain(name))
		length = print(rust_demangle_callback, name, &output);
	if (length == 0 && !is_v0)
		length = print(cplus_demangle_v3_callback, name, &output);
	out[length] = '\0';
	return length;
}

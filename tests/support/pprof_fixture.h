/*
 * A program and a library, their frames named by a stand-in for the symbol tables,
 * reported into memory and read back with a decoder that knows nothing of the
 * writer. A program that uses this gets the stand-in in place of sp_symbols.
 */
#ifndef PPROF_FIXTURE_H
#define PPROF_FIXTURE_H

#include "memory_sink.h"
#include "memory_view.h"
#include "profile_decode.h"
#include "sp_reporter.h"
#include "test_heap.h"

#include <check.h>

/* Functions are of 256 bytes each: "f<module>_<start>", for linkers "_Zf…". */
#define FUNCTION_BYTES 0x100
/* Generated code from here on is "JS:~<anonymous> app.js:1", below it has no name. */
#define JIT_NAMED_FROM UINT64_C(0x7f0000000000)

#define LIBRARY 3
#define PROGRAM 5

/* The library, and the program second: nothing says that it is told first. */
extern const struct sp_view_module pprof_modules[2];

extern struct memory_view memory; /* with both modules and no samples */
extern struct memory_sink sink;
extern struct profile *profile; /* after report() */

void pprof_setup(void);
void pprof_teardown(void);

/* Writes without asserting anything, into an emptied sink. 0 or -errno. */
int pprof_write(void);
/* Writes, which has to succeed, and reads back and checks what was written. */
void report(void);

void add_stack(int64_t count, uint64_t leaf, uint64_t root);
struct sp_view_sample *add_frame(int64_t count, uint64_t frame);
/* 5,000 stacks that no compressor makes much smaller. */
void add_many_stacks(void);

/* A string of the profile. */
const char *text(int64_t index);
/* The leaf of the n-th sample. */
const Perftools__Profiles__Location *leaf_of(size_t sample);

/* Runs the one case of a suite; what main() returns. */
int run_pprof_suite(const char *name, void (*add_tests)(TCase *tc));

#endif

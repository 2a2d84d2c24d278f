/*
 * Library functions whose calls are spans. Modules that call one are patched to call
 * an entry of function_stub.S instead, one of a fixed number, which says what it stands
 * for by its number. The stub calls the function with its arguments and returns what
 * that returns; before and after it calls what is declared here.
 *
 * A span ends when the function returns, or, in the moment when that happens, when
 *
 *   an exception, pthread_exit() or cancellation   the unwinder asks the stub's
 *     goes past the stub                           personality routine
 *   longjmp() and its like go past it              our hooks of these are called
 *
 * and else, where no unwinder is found or a program jumps by code of its own, when the
 * thread next calls such a function, jumps or ends.
 *
 * Not for functions that return twice, look at their caller (dlopen), are called on one
 * stack and return on another, take more than SP_FUNCTION_STACK_BYTES of arguments on
 * the stack or take or return vectors of more than 16 bytes: those known are refused.
 */
#ifndef SP_SPAN_FUNCTIONS_H
#define SP_SPAN_FUNCTIONS_H

/* Also read by the assembler. */
#define SP_FUNCTIONS_MAX 256
#define SP_FUNCTION_ENTRY_BYTES 16
/* Arguments on the caller's stack are copied, needed or not. */
#define SP_FUNCTION_STACK_BYTES 256

#ifndef __ASSEMBLER__

#include "sp_compiler.h"
#include "sp_got.h"

#include <stdbool.h>
#include <stdint.h>

/* One call, in the stub's frame. */
struct sp_function_call {
	uint64_t arguments[6]; /* integer registers, in order */
	uint64_t vector_count; /* al */
	uint64_t span;	       /* handle; 0: none */
	uint64_t static_chain; /* r10 */
};

/* By value in registers. */
struct sp_function_target {
	uint64_t address;
	uint64_t stack_bytes; /* to copy; SP_FUNCTION_STACK_BYTES at most */
};

/*
 * Context: hook, called by the stub. stack_arguments is where the caller put its
 * arguments; stack_pointer names the stub's frame: all of what is called lies below.
 */
struct sp_function_target sp_function_enter(uint32_t entry, struct sp_function_call *call,
					    uint64_t stack_arguments,
					    uint64_t stack_pointer);
void sp_function_exit(uint64_t span, uint64_t stack_pointer);

/* The C++ ABI's personality routine: the unwinder tells us that it goes past. */
int sp_function_personality(int version, int actions, uint64_t exception_class,
			    void *exception, void *context);

/* SP_FUNCTIONS_MAX of SP_FUNCTION_ENTRY_BYTES each. */
extern const char sp_function_entries[];

/* --- the table of functions (function_table.c) --- */

struct sp_function_label;

/*
 * Of a slot that waits for its first call, target is the code that finds the function.
 *
 *	NOT_CALLED ─── a call ──▶ CALLED ─── its slot is seen to be filled ──▶ BOUND
 */
enum sp_function_waits {
	SP_FUNCTION_BOUND, /* also all that never waited */
	SP_FUNCTION_NOT_CALLED,
	SP_FUNCTION_CALLED,
};

struct sp_function {
	_Atomic uint64_t target; /* 0: free */
	_Atomic bool is_named;	 /* all below is filled */
	_Atomic uint32_t site;	 /* callsite in one recording */
	char name[256], library[64];
	const struct sp_function_label *label; /* NULL: none that is recorded */
	_Atomic uint32_t waits;		       /* enum sp_function_waits */
	struct sp_got_slot slot;	       /* that waited */
};

/* How many are CALLED. */
extern SP_HIDDEN _Atomic uint32_t sp_functions_called;

/*
 * Context: hook; no lock. The address of the entry that stands for that function, 0
 * when there is none left. library is a file's name. slot: that waits for its first
 * call, which target finds the function for; NULL: target is the function.
 */
uint64_t sp_function_entry(uint64_t target, const char *name, const char *library,
			   const struct sp_got_slot *slot);

/* Context: signal. Where it is called. */
uint64_t sp_function_address(uint32_t entry);

/* Context: hook, for an entry that was given out. */
struct sp_function *sp_function_at(uint32_t entry);

/* --- texts among arguments (function_labels.c) --- */

/* The label that calls of this function get, NULL: none, or it is not recorded. */
const struct sp_function_label *sp_function_label_of(const char *name);

#define SP_FUNCTION_TEXT_BYTES 65U

/* Reads the text, which may hold secrets: only for who asked for its key. False: there
 * is none. */
bool sp_function_label_read(const struct sp_function_label *label, uint64_t target,
			    const uint64_t arguments[6],
			    char value[SP_FUNCTION_TEXT_BYTES]);
void sp_function_label(const struct sp_function_label *label, uint64_t span,
		       const char *value);

#endif
#endif

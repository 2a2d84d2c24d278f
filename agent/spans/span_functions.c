/*
 * Calls of library functions as spans (span_functions.h): opens and closes the spans.
 * Context: hook, unless said otherwise.
 */
#include "span_functions.h"

#include "function_modules.h"
#include "function_patterns.h"
#include "function_unmet.h"
#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_hooks.h"
#include "sp_list.h"
#include "sp_log.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_span_capture.h"
#include "sp_span_change.h"
#include "sp_thread.h"
#include "span_sources.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#pragma weak _dl_find_object

/* --- calls --- */

#define SITE_INDEX_BITS 20U
#define SITE_INDEX_MASK ((1U << SITE_INDEX_BITS) - 1)

static uint32_t callsite_of(struct sp_function *function)
{
	/* Relaxed: the callsite itself was published by whoever stored this. */
	uint32_t known = atomic_load_explicit(&function->site, memory_order_relaxed);
	uint32_t epoch = sp_span_epoch() << SITE_INDEX_BITS;
	struct sp_span_site site;
	uint32_t callsite;

	if (sp_likely((known & ~SITE_INDEX_MASK) == epoch && known))
		return (known & SITE_INDEX_MASK) - 1;
	/* Acquire: pairs with sp_function_entry(). */
	if (!atomic_load_explicit(&function->is_named, memory_order_acquire))
		return UINT32_MAX;
	site = (struct sp_span_site){
		.name = function->name,
		.target = function->library,
		.source = SP_SPAN_SOURCE_FUNCTIONS,
		.is_met = true,
	};
	callsite = sp_span_callsite(&site);
	if (callsite < SITE_INDEX_MASK)
		atomic_store_explicit(&function->site, epoch | (callsite + 1),
				      memory_order_relaxed);
	return callsite;
}

static bool is_on_own_stack(const struct sp_slot *slot, uint64_t address)
{
	return slot &&
	       address >= atomic_load_explicit(&slot->stack_low, memory_order_relaxed) &&
	       address < atomic_load_explicit(&slot->stack_high, memory_order_relaxed);
}

/*
 * How much of the caller's stack there is. On a stack that we know nothing of (a
 * coroutine's) it may end at any page.
 */
static uint64_t readable_bytes(uint64_t address)
{
	const struct sp_slot *slot = sp_thread_own_slot();
	uint64_t bytes, next;
	char byte;

	if (sp_likely(is_on_own_stack(slot, address))) {
		bytes = atomic_load_explicit(&slot->stack_high, memory_order_relaxed) -
			address;
		return bytes < SP_FUNCTION_STACK_BYTES ? bytes : SP_FUNCTION_STACK_BYTES;
	}
	bytes = SP_PAGE_BYTES - address % SP_PAGE_BYTES;
	next = address + bytes;
	if (bytes >= SP_FUNCTION_STACK_BYTES || !sp_capture_is_running() ||
	    sp_guarded_read(next, &byte, 1))
		return SP_FUNCTION_STACK_BYTES;
	return bytes;
}

/* Set while spans of this thread change: a handler of the program that calls one of
 * the functions in that moment is not followed. */
static SP_TLS volatile uint64_t changing_frame;

/* A handler that jumped away left it set. */
static bool is_interrupting(uint64_t stack_pointer)
{
	const struct sp_slot *slot = sp_thread_own_slot();
	uint64_t frame = changing_frame;

	return frame && !(is_on_own_stack(slot, stack_pointer) &&
			  is_on_own_stack(slot, frame) && stack_pointer >= frame);
}

/* Reading the label takes long: that is before the span. */
static SP_NOINLINE uint64_t begin_labelled(struct sp_function *function,
					   const struct sp_function_call *call,
					   uint32_t callsite, uint64_t stack_pointer)
{
	char value[SP_FUNCTION_TEXT_BYTES];
	bool has_value = sp_function_label_read(
		function->label,
		atomic_load_explicit(&function->target, memory_order_relaxed),
		call->arguments, value);
	uint64_t span = sp_span_create_within(callsite, SP_SPAN_CURRENT, NULL);

	if (has_value)
		sp_function_label(function->label, span, value);
	sp_span_enter(span, stack_pointer);
	return span;
}

static uint64_t begin_span(struct sp_function *function, struct sp_function_call *call,
			   uint64_t stack_pointer)
{
	uint32_t callsite = callsite_of(function);

	if (sp_unlikely(callsite == UINT32_MAX))
		return SP_SPAN_NONE;
	/* What is left of calls that did not return. */
	sp_span_unwind_to(stack_pointer + 1);
	if (sp_likely(!function->label))
		return sp_span_begin_within(callsite, stack_pointer);
	return begin_labelled(function, call, callsite, stack_pointer);
}

/* The loader fills the slot of a function that waited: then it is to be changed anew. */
static SP_COLD void note_first_call(struct sp_function *function)
{
	uint32_t waits = SP_FUNCTION_NOT_CALLED;

	if (atomic_compare_exchange_strong(&function->waits, &waits, SP_FUNCTION_CALLED))
		atomic_fetch_add(&sp_functions_called, 1);
}

struct sp_function_target sp_function_enter(uint32_t entry, struct sp_function_call *call,
					    uint64_t stack_arguments,
					    uint64_t stack_pointer)
{
	struct sp_function *function = sp_function_at(entry);
	struct sp_function_target target;
	int saved_errno = errno;
	uint64_t before;

	call->span = SP_SPAN_NONE;
	if (sp_unlikely(atomic_load_explicit(&function->waits, memory_order_relaxed) ==
			SP_FUNCTION_NOT_CALLED))
		note_first_call(function);
	if (sp_unlikely(!sp_span_is_on()))
		sp_span_begin_in_child();
	before = sp_span_begin_change();
	if (sp_likely(sp_span_is_on() && !is_interrupting(stack_pointer))) {
		changing_frame = stack_pointer;
		call->span = begin_span(function, call, stack_pointer);
		changing_frame = 0;
	}
	target.stack_bytes = readable_bytes(stack_arguments);
	sp_span_end_change(before);
	target.address = atomic_load_explicit(&function->target, memory_order_relaxed);
	errno = saved_errno;
	return target;
}

void sp_function_exit(uint64_t span, uint64_t stack_pointer)
{
	int saved_errno = errno;
	uint64_t before = sp_span_begin_change();

	if (sp_likely(!is_interrupting(stack_pointer))) {
		changing_frame = stack_pointer;
		sp_span_unwind_to(stack_pointer);
		sp_span_end_within(span);
		changing_frame = 0;
	}
	sp_span_end_change(before);
	if (sp_unlikely(atomic_load_explicit(&sp_functions_called, memory_order_relaxed)))
		sp_function_rebind();
	errno = saved_errno;
}

/* --- unwinding past a call --- */

/*
 * An unwinder's own function says whose frame it is at: for ours, the stack pointer
 * at the call. Looked up where the unwinder is, as we need none ourselves.
 */
typedef uint64_t (*get_cfa)(void *context);

#define CLEANUP_PHASE 2
#define CONTINUE_UNWIND 8

int sp_function_personality(int version, int actions, uint64_t exception_class,
			    void *exception, void *context)
{
	struct dl_find_object unwinder;
	get_cfa function = NULL;

	(void)exception_class;
	(void)exception;
	if (version != 1 || !(actions & CLEANUP_PHASE))
		return CONTINUE_UNWIND;
	if (_dl_find_object &&
	    _dl_find_object(__builtin_return_address(0), &unwinder) == 0)
		function = (get_cfa)sp_next_find_in(unwinder.dlfo_link_map,
						    "_Unwind_GetCFA", NULL);
	if (function)
		sp_span_end_frame(function(context));
	return CONTINUE_UNWIND;
}

/* --- life --- */

static const char *patterns; /* NULL: nothing is followed */

/* What we take the place of is called within us. */
static bool is_own(const char *name)
{
	const struct link_map *own = sp_next_own_object();

	return own && !sp_hooks_may_be_span(name) && sp_next_find_in(own, name, NULL);
}

static void tell_refused(void)
{
	const char *rest = patterns;
	struct sp_list_item item;
	char name[256];

	while (sp_list_next(&rest, &item)) {
		if (item.bytes >= sizeof(name))
			continue;
		memcpy(name, item.at, item.bytes);
		name[item.bytes] = '\0';
		if (!sp_function_is_refused(name) && !is_own(name))
			continue;
		sp_log_error("SPANPROF_SPANS: calls of %s() cannot be spans", name);
		sp_function_note_met(name);
	}
}

static bool begin(const struct sp_spans_setup *setup)
{
	/* Fork children find everything as it is. */
	if (patterns || !setup->functions || !setup->functions[0])
		return false;
	patterns = setup->functions;
	sp_function_unmet_begin(patterns);
	tell_refused();
	sp_function_patch_startup(patterns);
	return false;
}

const struct sp_span_source_ops sp_span_functions = {
	.source = SP_SPAN_SOURCE_FUNCTIONS,
	.is_on_by_default = true,
	.begin = begin,
	.module_loaded = sp_function_module_loaded,
	.wants_modules = sp_function_wants_modules,
};

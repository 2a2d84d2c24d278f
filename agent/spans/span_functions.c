/*
 * Calls of library functions as spans (span_functions.h): finds the functions, and
 * opens and closes the spans. Context: hook, unless said otherwise.
 */
#include "span_functions.h"

#include "function_patterns.h"
#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_got.h"
#include "sp_guarded.h"
#include "sp_log.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_span_capture.h"
#include "sp_text.h"
#include "sp_thread.h"
#include "span_sources.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#pragma weak _dl_find_object

static const char *patterns; /* NULL: nothing is followed */
static void *original_dlsym;
static _Atomic bool has_unbound; /* slots of modules that were loaded later */

/* --- finding them --- */

/* What is read of a module that may be unloaded is read with care. */
static bool read_bytes(uint64_t address, void *out, size_t size_bytes, bool is_kept)
{
	if (!is_kept)
		return sp_guarded_read(address, out, size_bytes);
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	memcpy(out, (const void *)address, size_bytes);
	return true;
}

/* Variables are imported by name, too, and patterns may fit them. */
static bool is_code(uint64_t target, const struct dl_find_object *found, bool is_kept)
{
	uint64_t start = (uint64_t)(uintptr_t)found->dlfo_map_start;
	Elf64_Ehdr header;

	if (!read_bytes(start, &header, sizeof(header), is_kept) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		return false;
	for (uint32_t i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		if (!read_bytes(start + header.e_phoff + i * sizeof(segment), &segment,
				sizeof(segment), is_kept))
			return false;
		if (segment.p_type != PT_LOAD || !(segment.p_flags & PF_X))
			continue;
		if (target - found->dlfo_link_map->l_addr - segment.p_vaddr <
		    segment.p_memsz)
			return true;
	}
	return false;
}

static bool is_ours(const struct dl_find_object *found)
{
	const struct link_map *own = sp_next_own_object();

	return !own || found->dlfo_link_map == own;
}

/* The text is the loader's, which frees it with the module. */
static void read_library(const struct link_map *object, char *library,
			 size_t library_bytes, bool is_kept)
{
	uint64_t name = 0;
	struct sp_text text;
	char path[256];

	library[0] = path[0] = '\0';
	if (!read_bytes((uint64_t)(uintptr_t)&object->l_name, &name, sizeof(name),
			is_kept) ||
	    !name)
		return;
	for (size_t i = 0; i + 1 < sizeof(path); i++) {
		if (!read_bytes(name + i, &path[i], 1, is_kept) || !path[i])
			break;
		path[i + 1] = '\0';
	}
	sp_text_init(&text, library, library_bytes);
	sp_text_string(&text, sp_text_base_name(path));
}

/* The address to call instead, or target. is_kept: its module stays loaded meanwhile. */
static uint64_t entry_for(uint64_t target, const char *name, bool is_kept)
{
	struct dl_find_object found;
	char library[64];
	uint64_t entry;

	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	if (!_dl_find_object || _dl_find_object((void *)target, &found) != 0 ||
	    is_ours(&found) || !is_code(target, &found, is_kept))
		return target;
	read_library(found.dlfo_link_map, library, sizeof(library), is_kept);
	entry = sp_function_entry(target, name, library);
	return entry ? entry : target;
}

static bool is_wanted(const char *name, void *context)
{
	(void)context;
	return sp_function_matches(patterns, name) || strcmp(name, "dlsym") == 0;
}

static uint64_t replacement_for(const char *name, uint64_t target, void *context)
{
	const bool *is_kept = context;

	if (strcmp(name, "dlsym") == 0)
		return target == (uint64_t)(uintptr_t)original_dlsym
			       ? (uint64_t)(uintptr_t)sp_function_dlsym
			       : 0;
	return entry_for(target, name, *is_kept);
}

static void tell_failed(const struct sp_got_result *result)
{
	static bool has_told;

	if (!result->failed || has_told)
		return;
	has_told = true;
	sp_log_error("spans: %u calls of the functions that SPANPROF_SPANS names could "
		     "not be redirected and are not seen",
		     result->failed);
}

/* Of two threads that look at modules one gives up: their stores to read-only
 * memory would get into each other's way. */
static bool module_loaded(uint64_t start, const struct link_map *link_map)
{
	static _Atomic bool is_patching;
	static bool is_kept = false;
	const struct sp_got_patch patch = {is_wanted, replacement_for, &is_kept, NULL};
	struct sp_got_result result = {0};
	int err;

	if (!patterns)
		return true;
	if (atomic_exchange(&is_patching, true)) {
		atomic_store(&has_unbound, true);
		return false;
	}
	err = sp_got_patch_module(start, link_map, &patch, &result);
	atomic_store(&is_patching, false);
	tell_failed(&result);
	if (result.unbound)
		atomic_store(&has_unbound, true);
	return err == 0 && !result.unbound;
}

/* --- what dlsym() finds --- */

#define HANDLES 256U

/*
 * A program that opens a module asks for something in it and calls that: what the
 * module calls is followed from its first moment on, not when the collector comes by.
 */
static void patch_early(const struct link_map *handle)
{
	static _Atomic uint64_t seen[HANDLES];
	uint64_t name = (uint64_t)(uintptr_t)handle->l_ld;
	_Atomic uint64_t *place = &seen[name / SP_PAGE_BYTES % HANDLES];
	struct dl_find_object found;

	/* Relaxed: who comes second does it again. */
	if (atomic_load_explicit(place, memory_order_relaxed) == name ||
	    !sp_capture_is_running() || !_dl_find_object ||
	    _dl_find_object(handle->l_ld, &found) != 0 || found.dlfo_link_map != handle)
		return;
	atomic_store_explicit(place, name, memory_order_relaxed);
	module_loaded((uint64_t)(uintptr_t)found.dlfo_map_start, handle);
}

static void *find_in_handle(void *handle, const char *name)
{
	void *found = ((void *(*)(void *, const char *))original_dlsym)(handle, name);
	int saved_errno = errno;

	if (found)
		patch_early(handle);
	errno = saved_errno;
	if (!found || !name || !sp_function_matches(patterns, name))
		return found;
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return (void *)entry_for((uint64_t)(uintptr_t)found, name, true);
}

/* RTLD_NEXT and RTLD_DEFAULT depend on who asks: these stay as they are. */
void *sp_observe_dlsym(void *handle, const char *name)
{
	(void)name;
	return handle == RTLD_NEXT || handle == RTLD_DEFAULT ? original_dlsym
							     : (void *)find_in_handle;
}

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
	};
	callsite = sp_span_callsite(&site);
	if (callsite < SITE_INDEX_MASK) {
		atomic_store_explicit(&function->site, epoch | (callsite + 1),
				      memory_order_relaxed);
		sp_spans_note_found(SP_SPAN_SOURCE_FUNCTIONS);
	}
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

static uint64_t begin_span(struct sp_function *function, struct sp_function_call *call,
			   uint64_t stack_pointer)
{
	uint32_t callsite = callsite_of(function);
	uint64_t span;

	if (sp_unlikely(callsite == UINT32_MAX))
		return SP_SPAN_NONE;
	/* What is left of calls that did not return. */
	sp_span_unwind_to(stack_pointer + 1);
	span = sp_span_create(callsite, SP_SPAN_CURRENT, NULL);
	if (sp_unlikely(function->label != NULL))
		sp_function_label(function->label, span, call->arguments);
	sp_span_enter(span, stack_pointer);
	return span;
}

struct sp_function_target sp_function_enter(uint32_t entry, struct sp_function_call *call,
					    uint64_t stack_arguments,
					    uint64_t stack_pointer)
{
	struct sp_function *function = sp_function_at(entry);
	struct sp_function_target target;
	int saved_errno = errno;

	call->span = SP_SPAN_NONE;
	if (sp_likely(sp_span_is_on() && !is_interrupting(stack_pointer))) {
		changing_frame = stack_pointer;
		call->span = begin_span(function, call, stack_pointer);
		changing_frame = 0;
	}
	target.address = atomic_load_explicit(&function->target, memory_order_relaxed);
	target.stack_bytes = readable_bytes(stack_arguments);
	errno = saved_errno;
	return target;
}

void sp_function_exit(uint64_t span, uint64_t stack_pointer)
{
	int saved_errno = errno;

	if (sp_likely(!is_interrupting(stack_pointer))) {
		changing_frame = stack_pointer;
		sp_span_unwind_to(stack_pointer);
		sp_span_exit(span);
		sp_span_close(span);
		changing_frame = 0;
	}
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

static void tell_refused(void)
{
	const char *item = patterns;

	while (*item) {
		size_t bytes = strcspn(item, ",");
		char name[256];

		if (bytes < sizeof(name)) {
			memcpy(name, item, bytes);
			name[bytes] = '\0';
			if (sp_function_is_refused(name))
				sp_log_error("SPANPROF_SPANS: calls of %s() cannot be "
					     "spans",
					     name);
		}
		item += bytes + (item[bytes] == ',');
	}
}

static bool begin(const struct sp_spans_setup *setup)
{
	static bool is_kept = true;
	const struct sp_got_patch patch = {is_wanted, replacement_for, &is_kept, NULL};
	struct sp_got_result result = {0};

	/* Fork children find everything as it is. */
	if (patterns || !setup->functions || !setup->functions[0])
		return false;
	patterns = setup->functions;
	original_dlsym = sp_next_find_first("dlsym", NULL);
	tell_refused();
	sp_got_patch_startup(&patch, &result);
	tell_failed(&result);
	return false;
}

static bool wants_modules(void)
{
	bool wants = atomic_exchange(&has_unbound, false); /* found again if they are */

	if (!patterns)
		return false;
	return sp_got_have_modules_changed() || wants;
}

const struct sp_span_source_ops sp_span_functions = {
	.source = SP_SPAN_SOURCE_FUNCTIONS,
	.is_on_by_default = true,
	.begin = begin,
	.module_loaded = module_loaded,
	.wants_modules = wants_modules,
};

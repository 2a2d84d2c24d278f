/*
 * The modules that call the functions to follow: their slots are changed to lead to the
 * functions' entries. Context: hook, unless said otherwise.
 */
#include "function_modules.h"

#include "function_patterns.h"
#include "function_unmet.h"
#include "sp_alloc_aside.h"
#include "sp_capture.h"
#include "sp_got.h"
#include "sp_guarded.h"
#include "sp_hooks.h"
#include "sp_log.h"
#include "sp_module_symbol.h"
#include "sp_next.h"
#include "sp_pages.h"
#include "sp_text.h"
#include "span_functions.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#pragma weak _dl_find_object

static const char *patterns;	 /* NULL: nothing is followed */
static _Atomic bool has_unbound; /* slots of modules that were loaded later */

/* --- what a function is --- */

/* What is read of a module that may be unloaded is read with care. */
static bool read_bytes(uint64_t address, void *out, size_t size_bytes, bool is_kept)
{
	if (!is_kept)
		return sp_guarded_read(address, out, size_bytes);
	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	memcpy(out, (const void *)address, size_bytes);
	return true;
}

/* Variables are imported by name, too, and patterns may fit them. Constants may lie in
 * the segment of the code: those the module's own symbols tell apart. */
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

/* What our hook of that name goes on to, where calls of it may be spans, and the object
 * that has it; 0 where they may not. */
static uint64_t behind_hook(const char *name, struct dl_find_object *found)
{
	void *next = sp_hooks_may_be_span(name) ? sp_next_find(name) : NULL;

	return next && _dl_find_object(next, found) == 0 ? (uint64_t)(uintptr_t)next : 0;
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

/* 0, and told once: there is none left. */
static uint64_t take_entry(uint64_t target, const char *name, const char *library,
			   const struct sp_got_slot *slot)
{
	static _Atomic bool has_told;
	uint64_t entry = sp_function_entry(target, name, library, slot);

	/* Relaxed: only who is the first matters. */
	if (!entry && !atomic_exchange_explicit(&has_told, true, memory_order_relaxed))
		sp_log_error("spans: more than %d functions are named by SPANPROF_SPANS; "
			     "calls of the rest are no spans",
			     SP_FUNCTIONS_MAX);
	return entry;
}

uint64_t sp_function_entry_for(uint64_t target, const char *name, bool is_kept)
{
	struct dl_find_object found;
	uint64_t code = target, entry;
	char library[64];

	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	if (!_dl_find_object || _dl_find_object((void *)target, &found) != 0)
		return target;
	if (is_ours(&found))
		code = behind_hook(name, &found);
	if (!code || sp_alloc_is_next(target) || !is_code(code, &found, is_kept) ||
	    sp_module_symbol_is_no_function((uint64_t)(uintptr_t)found.dlfo_map_start,
					    name))
		return target;
	read_library(found.dlfo_link_map, library, sizeof(library), is_kept);
	entry = take_entry(target, name, library, NULL);
	return entry ? entry : target;
}

bool sp_function_is_wanted(const char *name)
{
	if (!sp_function_matches(patterns, name))
		return false;
	sp_function_note_met(name);
	return true;
}

/* --- slots --- */

static bool is_wanted(const char *name, void *context)
{
	(void)context;
	return sp_function_is_wanted(name) || sp_function_is_lookup(name);
}

static uint64_t replacement_for(const char *name, uint64_t target, void *context)
{
	const bool *is_kept = context;

	return sp_function_is_lookup(name)
		       ? sp_function_lookup_for(name, target)
		       : sp_function_entry_for(target, name, *is_kept);
}

/* The first call goes through stub, whoever that will find. A look-up looks at its
 * caller, so it has to be the one that all modules find, unless they bring their own. */
static uint64_t replacement_for_waiting(const char *name, uint64_t stub,
					const struct sp_got_slot *slot, void *context)
{
	uint64_t entry;

	(void)context;
	if (sp_function_is_lookup(name))
		return sp_function_lookup_for(name, 0);
	entry = take_entry(stub, name, "", slot);
	/* There is none for it when it is bound either. */
	return entry ? entry : stub;
}

/* is_kept: what is patched cannot be unloaded meanwhile. */
static struct sp_got_patch patch_of(bool *is_kept)
{
	return (struct sp_got_patch){
		.is_wanted = is_wanted,
		.replacement_for = replacement_for,
		.replacement_for_waiting = replacement_for_waiting,
		.context = is_kept,
	};
}

void sp_function_rebind(void)
{
	for (uint32_t i = 0; i < SP_FUNCTIONS_MAX; i++) {
		struct sp_function *function = sp_function_at(i);
		struct sp_got_slot slot;
		uint64_t target;

		/* Acquire: pairs with who stored the slot. */
		if (atomic_load_explicit(&function->waits, memory_order_acquire) !=
		    SP_FUNCTION_CALLED)
			continue;
		slot = function->slot;
		target = sp_got_read(&slot);
		if (target == sp_function_address(i))
			continue; /* its first call has not found it yet */
		atomic_store_explicit(&function->waits, SP_FUNCTION_BOUND,
				      memory_order_relaxed);
		atomic_fetch_sub(&sp_functions_called, 1);
		if (!target)
			continue;
		sp_got_replace(&slot,
			       sp_function_entry_for(target, function->name, false));
	}
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

/* Two threads may look at one module at once: they store the same. */
bool sp_function_module_loaded(uint64_t start, const struct link_map *link_map)
{
	static bool is_kept = false;
	const struct sp_got_patch patch = patch_of(&is_kept);
	struct sp_got_result result = {0};
	int err;

	if (!patterns)
		return true;
	err = sp_got_patch_module(start, link_map, &patch, &result);
	tell_failed(&result);
	if (result.unbound)
		atomic_store(&has_unbound, true);
	return err == 0 && !result.unbound;
}

void sp_function_patch_startup(const char *wanted)
{
	static bool is_kept = true;
	const struct sp_got_patch patch = patch_of(&is_kept);
	struct sp_got_result result = {0};

	patterns = wanted;
	sp_got_patch_all(&patch, &result);
	tell_failed(&result);
}

bool sp_function_wants_modules(void)
{
	bool wants = atomic_exchange(&has_unbound, false); /* found again if they are */

	if (!patterns)
		return false;
	sp_function_unmet_look();
	if (atomic_load_explicit(&sp_functions_called, memory_order_relaxed))
		sp_function_rebind();
	return sp_got_have_modules_changed() || wants;
}

/* --- on the way --- */

#define HANDLES 256U

void sp_function_patch_early(const struct link_map *handle)
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
	sp_function_module_loaded((uint64_t)(uintptr_t)found.dlfo_map_start, handle);
}

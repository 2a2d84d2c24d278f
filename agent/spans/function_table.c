/*
 * Which function each entry stands for. Entries are claimed by the first store of a
 * target and never given back, as anybody may keep an entry's address; the entry of a
 * function whose library is gone serves the function of that name when the library
 * comes back elsewhere. Context: hook.
 */
#include "span_functions.h"

#include "sp_compiler.h"
#include "sp_pages.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#pragma weak _dl_find_object

/* Made when the first function is named: hardly any program has one. */
static _Atomic(struct sp_function *) functions;
_Atomic uint32_t sp_functions_called;

#define TABLE_BYTES                                                                      \
	SP_ROUND_UP(SP_FUNCTIONS_MAX * sizeof(struct sp_function), SP_PAGE_BYTES)

static SP_COLD struct sp_function *table(void)
{
	struct sp_function *made = atomic_load_explicit(&functions, memory_order_acquire),
			   *others = NULL;

	if (made)
		return made;
	made = sp_pages_map(TABLE_BYTES);
	/* Release: zeroes, as far as anybody sees. */
	if (made && !atomic_compare_exchange_strong_explicit(&functions, &others, made,
							     memory_order_acq_rel,
							     memory_order_acquire)) {
		sp_pages_unmap(made, TABLE_BYTES);
		made = others;
	}
	return made;
}

struct sp_function *sp_function_at(uint32_t entry)
{
	/* Whoever has an entry has a table. */
	return &atomic_load_explicit(&functions, memory_order_relaxed)[entry];
}

static void copy_text(char *to, size_t to_bytes, const char *from)
{
	size_t bytes = strlen(from);

	if (bytes >= to_bytes)
		bytes = to_bytes - 1;
	memcpy(to, from, bytes);
	to[bytes] = '\0';
}

static bool is_gone(uint64_t target)
{
	struct dl_find_object found;

	// NOLINTNEXTLINE(performance-no-int-to-ptr)
	return _dl_find_object && _dl_find_object((void *)target, &found) != 0;
}

uint64_t sp_function_address(uint32_t entry)
{
	return (uint64_t)(uintptr_t)sp_function_entries +
	       (uint64_t)entry * SP_FUNCTION_ENTRY_BYTES;
}

/* Does it stand for that function, at once or from now on? */
static bool is_entry_of(struct sp_function *function, uint64_t target, const char *name)
{
	uint64_t known;

	if (!atomic_load_explicit(&function->is_named, memory_order_acquire) ||
	    strcmp(function->name, name) != 0)
		return false;
	known = atomic_load_explicit(&function->target, memory_order_relaxed);
	return known == target ||
	       (is_gone(known) &&
		atomic_compare_exchange_strong(&function->target, &known, target));
}

/* Two threads that look at one module say the same. */
static void begin_waiting(struct sp_function *function, const struct sp_got_slot *slot)
{
	if (!slot)
		return;
	function->slot = *slot;
	/* Release: pairs with sp_function_rebind(). */
	atomic_store_explicit(&function->waits, SP_FUNCTION_NOT_CALLED,
			      memory_order_release);
}

uint64_t sp_function_entry(uint64_t target, const char *name, const char *library,
			   const struct sp_got_slot *slot)
{
	struct sp_function *entries = table();

	for (uint32_t i = 0; entries && i < SP_FUNCTIONS_MAX; i++) {
		struct sp_function *function = &entries[i];
		uint64_t none = 0;

		if (is_entry_of(function, target, name)) {
			begin_waiting(function, slot);
			return sp_function_address(i);
		}
		if (!atomic_compare_exchange_strong(&function->target, &none, target))
			continue;
		copy_text(function->name, sizeof(function->name), name);
		copy_text(function->library, sizeof(function->library), library);
		function->label = sp_function_label_of(name);
		begin_waiting(function, slot);
		/* Release: the texts are there for whoever sees this. */
		atomic_store_explicit(&function->is_named, true, memory_order_release);
		return sp_function_address(i);
	}
	return 0;
}

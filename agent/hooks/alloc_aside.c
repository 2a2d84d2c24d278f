/*
 * See sp_alloc_aside.h. Our own table of symbols gives the address of the next function
 * for that of ours, so that a look-up of the loader's, at any moment, finds the one or
 * the other. First the names change, then the slots: those that the loader fills in
 * between get the new target already. Context: init, hook, collector; each store may be
 * made by several threads at once, which store the same.
 */
#include "sp_alloc_aside.h"

#include "sp_alloc_family.h"
#include "sp_clock.h"
#include "sp_compiler.h"
#include "sp_got.h"
#include "sp_held_signals.h"
#include "sp_log.h"
#include "sp_next.h"
#include "sp_own_block.h"
#include "sp_pages.h"
#include "sp_syscall.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

/* Ours, and what the program finds without us; symbol NULL: it stays as it is. */
static struct function {
	const ElfW(Sym) * symbol;
	uint64_t value, aside_value; /* of the symbol */
	uint64_t ours, next;
} functions[SP_ALLOC_NAMES];

static _Atomic bool are_aside;
/* What came back is looked at again so often, and at least so far apart: a look-up of the
 * loader's that was under way may have stored what it had found before, in a module that
 * nobody knew. */
#define SETTLING_ROUNDS 3U
#define SETTLING_GAP_NS (SP_NS_PER_SECOND / 20)
static _Atomic uint32_t settling_rounds_left;
static uint64_t settled_ns;

static void find_functions(void)
{
	const struct link_map *own = sp_next_own_object();

	for (uint32_t i = 0; own && i < SP_ALLOC_NAMES; i++) {
		struct function *function = &functions[i];
		const ElfW(Sym) *symbol = sp_next_symbol_in(own, sp_alloc_names[i]);

		function->next = (uint64_t)(uintptr_t)sp_next_find(sp_alloc_names[i]);
		if (!symbol || !function->next)
			continue;
		function->value = symbol->st_value;
		function->aside_value = function->next - own->l_addr;
		function->ours = own->l_addr + symbol->st_value;
		function->symbol = symbol;
	}
}

bool sp_alloc_is_next(uint64_t target)
{
	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++)
		if (functions[i].symbol && functions[i].next == target)
			return true;
	return false;
}

/* --- names --- */

/* All of them, in whole pages. */
static void find_range(uint64_t *first, uint64_t *bytes)
{
	uint64_t low = UINT64_MAX, high = 0;

	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++) {
		uint64_t symbol = (uint64_t)(uintptr_t)functions[i].symbol;

		if (!symbol)
			continue;
		if (symbol < low)
			low = symbol;
		if (symbol + sizeof(*functions[i].symbol) > high)
			high = symbol + sizeof(*functions[i].symbol);
	}
	*first = low & ~(uint64_t)(SP_PAGE_BYTES - 1);
	*bytes = high > low ? SP_ROUND_UP(high, SP_PAGE_BYTES) - *first : 0;
}

static void put_name(const struct function *function, uint64_t value)
{
	ElfW(Addr) *place = (ElfW(Addr) *)(uintptr_t)&function->symbol->st_value;

	/* Other threads look it up. */
	__atomic_store_n(place, value, __ATOMIC_RELAXED);
}

/* The table stays writable where another thread may be at the same. */
static int put_names(bool are_there)
{
	uint64_t first, bytes;
	int err;

	find_range(&first, &bytes);
	if (!bytes)
		return -ENOENT;
	err = (int)sp_syscall3(SYS_mprotect, first, bytes, PROT_READ | PROT_WRITE);
	if (err)
		return err;
	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++)
		if (functions[i].symbol)
			put_name(&functions[i], are_there ? functions[i].value
							  : functions[i].aside_value);
	if (!are_there)
		sp_syscall3(SYS_mprotect, first, bytes, PROT_READ);
	return 0;
}

/* --- slots --- */

static const struct function *find_function(const char *name)
{
	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++)
		if (sp_alloc_names[i][0] == name[0] &&
		    strcmp(sp_alloc_names[i], name) == 0)
			return functions[i].symbol ? &functions[i] : NULL;
	return NULL;
}

/* Where the addresses are that slots hold now. */
static void narrow(struct sp_got_patch *patch, bool is_to_ours)
{
	patch->target_first = UINT64_MAX;
	for (uint32_t i = 0; i < SP_ALLOC_NAMES; i++) {
		const struct function *function = &functions[i];
		uint64_t target = is_to_ours ? function->next : function->ours;

		if (!function->symbol)
			continue;
		if (target < patch->target_first)
			patch->target_first = target;
		if (target > patch->target_last)
			patch->target_last = target;
	}
}

static bool is_wanted(const char *name, void *context)
{
	(void)context;
	return find_function(name) != NULL;
}

static uint64_t next_for(const char *name, uint64_t target, void *context)
{
	const struct function *function = find_function(name);

	(void)context;
	return target == function->ours ? function->next : 0;
}

static uint64_t ours_for(const char *name, uint64_t target, void *context)
{
	const struct function *function = find_function(name);

	(void)context;
	return target == function->next ? function->ours : 0;
}

void sp_alloc_stand_aside(void)
{
	struct sp_got_patch patch = {
		.is_wanted = is_wanted,
		.replacement_for = next_for,
	};
	struct sp_got_result result = {0};

	find_functions();
	sp_own_block_settle();
	if (put_names(false) != 0)
		return;
	narrow(&patch, false);
	sp_got_patch_all(&patch, &result);
	/* Who counts meanwhile comes too early to find that set: see the caller. */
	atomic_store(&are_aside, true);
}

/* --- an allocator's calls of itself, which lead to itself as without us --- */

static bool is_wanted_of_itself(const char *name, void *context)
{
	return find_function(name) != NULL && sp_next_find_object(name) == context;
}

static bool is_wanted_of_others(const char *name, void *context)
{
	return find_function(name) != NULL && sp_next_find_object(name) != context;
}

static void patch_allocators(const struct link_map *const *allocators,
			     struct sp_got_patch *patch, struct sp_got_result *result)
{
	for (; *allocators; allocators++) {
		patch->context = (void *)(uintptr_t)*allocators;
		sp_got_patch_object(*allocators, patch, result);
	}
}

void sp_alloc_leave_own_calls(struct sp_got_result *result)
{
	const struct link_map *allocators[SP_ALLOC_NAMES + 1];
	struct sp_got_patch patch = {
		.is_wanted = is_wanted_of_itself,
		.replacement_for = next_for,
	};

	sp_alloc_find_libraries(allocators);
	if (!allocators[0])
		return;
	find_functions();
	patch_allocators(allocators, &patch, result);
}

/* --- coming back --- */

static void put_slots_back(struct sp_got_result *result)
{
	const struct link_map *allocators[SP_ALLOC_NAMES + 1];
	struct sp_got_patch patch = {
		.is_wanted = is_wanted,
		.replacement_for = ours_for,
		.skipped = allocators,
	};

	sp_alloc_find_libraries(allocators);
	narrow(&patch, true);
	sp_got_patch_all(&patch, result);
	patch.is_wanted = is_wanted_of_others;
	patch.skipped = NULL;
	patch_allocators(allocators, &patch, result);
}

void sp_alloc_come_back(void)
{
	struct sp_got_result result = {0};
	uint64_t signals;

	/* Pairs with the one of whoever stands aside just now. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load(&are_aside))
		return;
	signals = sp_signals_hold();
	if (put_names(true) == 0)
		put_slots_back(&result);
	atomic_store(&settling_rounds_left, SETTLING_ROUNDS);
	/* Whoever comes meanwhile does it all again. */
	atomic_store(&are_aside, false);
	sp_signals_release(signals);
}

void sp_alloc_settle(void)
{
	struct sp_got_result result = {0};
	uint32_t left = atomic_load(&settling_rounds_left);
	uint64_t now_ns;

	if (!left)
		return;
	now_ns = sp_clock_monotonic_ns();
	if (now_ns - settled_ns < SETTLING_GAP_NS)
		return;
	settled_ns = now_ns;
	if (put_names(true) != 0)
		result.failed++;
	else
		put_slots_back(&result);
	/* Fails where another thread comes back: then from the start. */
	if (atomic_compare_exchange_strong(&settling_rounds_left, &left, left - 1) &&
	    left == 1 && result.failed)
		sp_log_error("spans: some calls of malloc() and its like could not be "
			     "redirected and are not counted");
}

/*
 * See scan_pace.h. Context: collector, one thread.
 */
#include "scan_pace.h"

#include "sp_capture.h"
#include "sp_clock.h"
#include "sp_unwind.h"

/* Between two looks for generated code: the least, the most where they find nothing new,
 * and how many times what the last one took. */
#define APART_NS_MIN (SP_NS_PER_SECOND / 20)
#define APART_NS_MAX (4 * SP_NS_PER_SECOND)
#define APART_TIMES_COST 500

static struct {
	uint64_t began_ns, generation;
	uint64_t apart_ns; /* 0: nothing was looked for yet */
	uint64_t due_ns;
	bool is_for_code;
} pace;

static uint64_t published_generation(void)
{
	const struct sp_unwind_snapshot *snapshot =
		atomic_load_explicit(&sp_unwind_snapshot, memory_order_relaxed);

	return snapshot ? snapshot->generation : 0;
}

static bool wants_code(void)
{
	return atomic_load_explicit(&sp_capture.wants_code, memory_order_relaxed);
}

bool sp_scan_is_due(void)
{
	return atomic_load_explicit(&sp_capture.wants_modules, memory_order_relaxed) ||
	       (wants_code() && sp_clock_monotonic_ns() >= pace.due_ns);
}

uint64_t sp_scan_wait_ns(uint64_t wait_ns)
{
	uint64_t now_ns;

	if (!wants_code())
		return wait_ns;
	now_ns = sp_clock_monotonic_ns();
	if (now_ns >= pace.due_ns)
		return 0;
	return pace.due_ns - now_ns < wait_ns ? pace.due_ns - now_ns : wait_ns;
}

void sp_scan_begin(void)
{
	pace.began_ns = sp_clock_monotonic_ns();
	pace.generation = published_generation();
	pace.is_for_code = wants_code();
	atomic_store_explicit(&sp_capture.wants_modules, false, memory_order_relaxed);
	atomic_store_explicit(&sp_capture.wants_code, false, memory_order_relaxed);
}

void sp_scan_end(void)
{
	uint64_t now_ns = sp_clock_monotonic_ns();
	uint64_t cost_ns = now_ns - pace.began_ns;

	/* Others, as the first of all, which reads each module, are no measure. */
	if (!pace.is_for_code)
		return;
	if (pace.apart_ns == 0 || published_generation() != pace.generation)
		pace.apart_ns = APART_NS_MIN;
	else
		pace.apart_ns *= 2;
	if (pace.apart_ns < cost_ns * APART_TIMES_COST)
		pace.apart_ns = cost_ns * APART_TIMES_COST;
	if (pace.apart_ns > APART_NS_MAX)
		pace.apart_ns = APART_NS_MAX;
	pace.due_ns = now_ns + pace.apart_ns;
}

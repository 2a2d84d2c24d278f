/*
 * Libraries that the program closes: another one may come to lie in the place of what is
 * then unloaded, and must not be taken for it. Context: hook, cold.
 */
#include "sp_hooks.h"

#include "sp_capture.h"
#include "sp_compiler.h"
#include "sp_held_signals.h"
#include "sp_next.h"
#include "sp_unwind.h"

#include <dlfcn.h>

/* Counted before, as another thread may open one as soon as it is done, and after:
 * destructors run in what is being unloaded. */
SP_EXPORT int dlclose(void *handle)
{
	uint64_t mask;
	int result;

	atomic_fetch_add(&sp_unwind_closes, 1);
	result = SP_NEXT(dlclose)(handle);
	/* Before the look: whoever publishes a snapshot that it does not meet sees this.
	 */
	atomic_fetch_add(&sp_unwind_closes, 1);
	/* A handler that jumps away would leave it counted for ever. */
	mask = sp_signals_hold();
	atomic_fetch_add(&sp_capture.handlers_running, 1);
	sp_unwind_mark_unloaded();
	atomic_fetch_sub(&sp_capture.handlers_running, 1);
	sp_signals_release(mask);
	return result;
}

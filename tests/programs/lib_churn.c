/* Opened and closed by loader_lock, under many names. */
#include "burn.h"

int64_t churn_work(int64_t cpu_ns);

int64_t churn_work(int64_t cpu_ns)
{
	return burn_here(cpu_ns);
}

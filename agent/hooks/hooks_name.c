/*
 * Threads that are given a name: samples carry it, and need not ask the kernel for it
 * each time as long as it is heard of here. Context: hook; the program's own call is
 * over when it is told.
 */
#include "sp_hooks.h"

#include "sp_compiler.h"
#include "sp_next.h"
#include "sp_sample_labels.h"

#include <pthread.h>

SP_EXPORT int pthread_setname_np(pthread_t thread, const char *name)
{
	int err = SP_NEXT(pthread_setname_np)(thread, name);

	sp_sample_thread_name_changed();
	return err;
}

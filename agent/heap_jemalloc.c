/*
 * sp_heap over the agent's private jemalloc: Debian's position-independent
 * archive with its public names rewritten (agent/CMakeLists.txt), so that it is
 * neither seen nor configured by a host that has a jemalloc of its own. Context:
 * collector.
 */
#include "sp_heap.h"

#include <errno.h>
#include <pthread.h>

void *sp_je_malloc(size_t size_bytes);
void *sp_je_calloc(size_t count, size_t size_bytes);
void *sp_je_realloc(void *ptr, size_t size_bytes);
void sp_je_free(void *ptr);

/* Parsed last by jemalloc, after the host's MALLOC_CONF: nothing of that is left. */
extern const char *sp_je_malloc_conf_2_conf_harder;
const char *sp_je_malloc_conf_2_conf_harder =
	"abort_conf:false,abort:false,background_thread:false,narenas:1,tcache:false,"
	"dirty_decay_ms:0,muzzy_decay_ms:0,prof:false,prof_active:false,stats_print:false,"
	"junk:false,zero:false,confirm_conf:false";

void *sp_heap_alloc(size_t size_bytes)
{
	return sp_je_malloc(size_bytes);
}

void *sp_heap_zalloc(size_t size_bytes)
{
	return sp_je_calloc(1, size_bytes);
}

void *sp_heap_realloc(void *ptr, size_t size_bytes)
{
	return sp_je_realloc(ptr, size_bytes);
}

void sp_heap_free(void *ptr)
{
	sp_je_free(ptr);
}

/*
 * What the archive refers to and never reaches with the configuration above: its own
 * profiler (mathematics, a backtrace by libgcc) and its background threads. Without
 * these the host would load two libraries more.
 */
double sp_je_no_exp(double x);
double sp_je_no_log(double x);
double sp_je_no_round(double x);
int sp_je_no_backtrace(void *callback, void *argument);
unsigned long sp_je_no_get_ip(void *context);
int sp_je_no_thread(pthread_t *thread, const pthread_attr_t *attributes,
		    void *(*start_routine)(void *), void *argument);

double sp_je_no_exp(double x)
{
	return x;
}

double sp_je_no_log(double x)
{
	return x;
}

double sp_je_no_round(double x)
{
	return x;
}

int sp_je_no_backtrace(void *callback, void *argument)
{
	(void)callback;
	(void)argument;
	return 0;
}

unsigned long sp_je_no_get_ip(void *context)
{
	(void)context;
	return 0;
}

int sp_je_no_thread(pthread_t *thread, const pthread_attr_t *attributes,
		    void *(*start_routine)(void *), void *argument)
{
	(void)thread;
	(void)attributes;
	(void)start_routine;
	(void)argument;
	return EAGAIN;
}

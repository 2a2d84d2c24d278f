/*
 * span_writer MS LIBRARY|- [broken]: warms up in a span of OpenTelemetry's, and works for
 * so many milliseconds of CPU time, by turns as it is, in a span of OpenTelemetry's, with
 * custom labels, and with both, which is seen in its stacks, too. What it publishes that
 * with is a part of it, or a library that it is linked to ("-"), or one that it opens.
 * broken: the labels are as no writer should leave them.
 */
#include "burn.h"

#include <dlfcn.h>
#include <string.h>

#ifdef HAS_WRITER
void writer_otel(int is_in);
void writer_labels(int is_in);
void writer_break_labels(unsigned int how);
#define OWN(function) (function)
#else
#define OWN(function) NULL
#endif

#define TURN_NS (20 * NS_PER_MS)
#define BLOCKS 50
#define WARM_UP_TURNS 5

static void (*set_otel)(int is_in);
static void (*set_labels)(int is_in);
static void (*break_labels)(unsigned int how);

static inline __attribute__((always_inline)) void work_here(void)
{
	for (int i = 0; i < BLOCKS; i++) {
		void *block = malloc(100);

		__asm__ volatile("" : "+r"(block));
		free(block);
	}
	burn_here(TURN_NS);
}

NOINLINE void warm_up(void);
NOINLINE void work_plain(void);
NOINLINE void work_otel(void);
NOINLINE void work_labels(void);
NOINLINE void work_both(void);

/* Until the names of attributes have been found. */
NOINLINE void warm_up(void)
{
	for (int i = 0; i < WARM_UP_TURNS; i++)
		work_here();
}

NOINLINE void work_plain(void)
{
	work_here();
}

NOINLINE void work_otel(void)
{
	work_here();
}

NOINLINE void work_labels(void)
{
	work_here();
}

NOINLINE void work_both(void)
{
	work_here();
}

static int find_writer(const char *library)
{
	void *handle;

	set_otel = OWN(writer_otel);
	set_labels = OWN(writer_labels);
	break_labels = OWN(writer_break_labels);
	if (strcmp(library, "-") != 0) {
		handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
		if (!handle)
			return 1;
		set_otel = (void (*)(int))dlsym(handle, "writer_otel");
		set_labels = (void (*)(int))dlsym(handle, "writer_labels");
		break_labels =
			(void (*)(unsigned int))dlsym(handle, "writer_break_labels");
	}
	return set_otel == NULL || set_labels == NULL || break_labels == NULL;
}

int main(int argc, char **argv)
{
	int64_t end_ns =
		thread_cpu_ns() + number_argument(argc, argv, 1, 100) * NS_PER_MS;

	if (argc < 3 || find_writer(argv[2]))
		return 1;
	if (argc > 3) {
		for (unsigned int how = 0; thread_cpu_ns() < end_ns; how++) {
			break_labels(how);
			work_labels();
		}
		return 0;
	}
	set_otel(1);
	warm_up();
	set_otel(0);
	while (thread_cpu_ns() < end_ns) {
		work_plain();
		set_otel(1);
		work_otel();
		set_labels(1);
		work_both();
		set_otel(0);
		work_labels();
		set_labels(0);
	}
	return 0;
}

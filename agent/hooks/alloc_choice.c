/*
 * SPANPROF_ALLOCATOR, decided at the process's first allocation, for a block must go
 * back to whom it came from: often in the loader, when neither the C library's
 * environment nor our constructor has run. So the options are read from where the
 * kernel put them, and only where the allocator is named at all. Context: hook.
 */
#include "sp_alloc_choice.h"

#include "sp_alloc_family.h"
#include "sp_alloc_jemalloc.h"
#include "sp_alloc_next.h"
#include "sp_compiler.h"
#include "sp_options.h"
#include "sp_seccomp_trial.h"
#include "sp_syscall.h"

#include <cpuid.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>

/* The loader's: where the kernel left the number of arguments. */
extern void *__libc_stack_end;

static const char *refusal;

/* NULL: the stack is not as the kernel leaves it. */
static char *const *first_environment(void)
{
	const long *argument_count = __libc_stack_end;
	char *const *arguments = (char *const *)(argument_count + 1);

	if (!argument_count || *argument_count < 0 || *argument_count > INT_MAX ||
	    arguments[*argument_count])
		return NULL;
	return arguments + *argument_count + 1;
}

/* Most programs are spared the parser. */
static bool is_named(char *const *environment)
{
	for (; *environment; environment++) {
		const char *variable = *environment;

		if (strncmp(variable, "SPANPROF", 8) == 0 &&
		    (strncmp(variable + 8, "_ALLOCATOR=", 11) == 0 ||
		     (variable[8] == '=' && strstr(variable, "allocator"))))
			return true;
	}
	return false;
}

/* Kept from the stack of whoever allocates first: the options are large. */
static SP_NOINLINE bool is_wanted(void)
{
	char *const *environment = first_environment();
	struct sp_options options;

	/* More rights than its caller: nobody's environment counts. */
	if (getauxval(AT_SECURE) || !environment || !is_named(environment))
		return false;
	sp_options_init(&options);
	/* A mistake is told by our constructor, which finds it again. */
	return sp_options_parse(&options, environment, NULL, 0) == 0 &&
	       !options.is_disabled && options.allocator == SP_ALLOCATOR_JEMALLOC;
}

/* Of a limited address space that much cannot be had, and less would be another limit. */
static bool is_address_space_limited(void)
{
	struct rlimit limit;

	return sp_syscall4(SYS_prlimit64, 0, RLIMIT_AS, NULL, &limit) == 0 &&
	       limit.rlim_cur != RLIM_INFINITY;
}

/* What runs the program says that it is QEMU, by the leaf for such names. */
static bool is_emulated_by_qemu(void)
{
	uint32_t leaf, name[3];

	__cpuid(0x40000000, leaf, name[0], name[1], name[2]);
	return memcmp(name, "TCGTCGTCGTCG", sizeof(name)) == 0;
}

/* QEMU 7 in user mode has a record of each page, also of those that are only reserved:
 * of so many addresses it takes 25 GB. It maps no vDSO, as kernels do, and as versions do
 * that have no such records. */
static bool do_addresses_cost_memory(void)
{
	return !getauxval(AT_SYSINFO_EHDR) && is_emulated_by_qemu();
}

/* NULL: nothing speaks against it. */
static const char *find_obstacle(const struct link_map *library)
{
	switch (sp_alloc_coverage()) {
	case SP_HEAP_PROGRAM_HAS_OWN:
		return "it has an allocator of its own";
	case SP_HEAP_LIBRARY_FIRST:
		return "a library brings another allocator";
	case SP_HEAP_COVERS_ALL:
	case SP_HEAP_PROGRAM_CALLS_NONE:
	case SP_HEAP_OTHER_NAMES:
		break;
	}
	if (!library || !sp_alloc_is_c_library(library))
		return "a library brings another allocator";
	if (is_address_space_limited())
		return "the address space is limited (ulimit -v)";
	if (do_addresses_cost_memory())
		return "QEMU would take memory for each address";
	return sp_seccomp_trial_passes() ? NULL : "a seccomp filter forbids it";
}

SP_COLD void sp_alloc_choose(const struct link_map *library, struct sp_alloc_next *next)
{
	if (!is_wanted())
		return;
	refusal = find_obstacle(library);
	if (!refusal && !sp_alloc_jemalloc_begin(next))
		refusal = "there is no memory for it";
}

bool sp_alloc_is_jemalloc(void)
{
	return sp_alloc_jemalloc.bytes != 0;
}

const char *sp_alloc_refusal(void)
{
	return refusal;
}

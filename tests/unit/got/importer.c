/* All the ways to reach a function of another module. */
#include "importer.h"

#include <stddef.h>

/* The same function; a slot that is called and nothing else waits for its call. */
int target(void);
int target_pointer(void);
int versioned_old(void);
int missing(void) __attribute__((weak));
__asm__(".symver versioned_old, versioned@OLD");

static int (*volatile variable)(void) = target_pointer;
static int (*const constant)(void) = target_pointer;

static int call(void)
{
	return target();
}

static int call_variable(void)
{
	return variable();
}

static int call_constant(void)
{
	/* Not a constant to the compiler. */
	int (*const volatile *function)(void) = &constant;

	return (*function)();
}

static int call_address(void)
{
	int (*volatile function)(void) = target_pointer;

	return function();
}

static int call_old_version(void)
{
	return versioned_old();
}

static int has_missing(void)
{
	return missing != NULL;
}

const struct importer IMPORTER = {
	.call = call,
	.call_variable = call_variable,
	.call_constant = call_constant,
	.call_address = call_address,
	.call_old_version = call_old_version,
	.has_missing = has_missing,
};

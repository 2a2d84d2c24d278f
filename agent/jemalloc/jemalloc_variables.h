/*
 * The private jemalloc's variables, which nothing may touch before they are opened.
 */
#ifndef SP_JEMALLOC_VARIABLES_H
#define SP_JEMALLOC_VARIABLES_H

#include <stdbool.h>

/* Context: hook, before jemalloc's first call; several threads may. Again is nothing.
 * False: there is no memory for them, and jemalloc must not be called. */
bool sp_jemalloc_variables_open(void);

#endif

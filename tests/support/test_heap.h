/*
 * sp_heap that counts and can refuse. A program that uses any of this gets it in
 * place of the C library's heap.
 */
#ifndef TEST_HEAP_H
#define TEST_HEAP_H

#include <stddef.h>

/* The allowed allocations succeed, then every one fails. SIZE_MAX: none fails. */
void test_heap_refuse_after(size_t allowed);

/* Forgets the peak and starts again from what is in use. */
void test_heap_reset_peak(void);
size_t test_heap_peak_bytes(void);
size_t test_heap_used_bytes(void);

#endif

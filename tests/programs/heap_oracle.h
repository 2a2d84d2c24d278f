/*
 * How heap_truth and lib_heap_oracle keep and tell the truth: for each site and each
 * size that was asked for, how many blocks were allocated, are in use now, and were in
 * use at the peak. One line for each:
 *
 *   site_12 4096 100 50 60
 */
#ifndef HEAP_ORACLE_H
#define HEAP_ORACLE_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Site 0 is everything outside of sites. */
#define HEAP_ORACLE_SITES 96U
#define HEAP_SITE_SIZES 96U

struct heap_site_rows {
	struct {
		_Atomic uint64_t size_plus_1; /* claims the row; 0 = free */
		_Atomic int64_t objects, inuse, at_peak;
	} rows[HEAP_SITE_SIZES];
};

/* Sizes beyond the table get lost: who tells a full table ends the program. */
static inline void heap_site_count(struct heap_site_rows *site, uint64_t size_bytes,
				   int objects, int inuse)
{
	for (unsigned i = 0; i < HEAP_SITE_SIZES; i++) {
		uint64_t seen = atomic_load_explicit(&site->rows[i].size_plus_1,
						     memory_order_relaxed);

		if (seen == 0 &&
		    atomic_compare_exchange_strong(&site->rows[i].size_plus_1, &seen,
						   size_bytes + 1))
			seen = size_bytes + 1;
		if (seen != size_bytes + 1)
			continue;
		if (objects != 0)
			atomic_fetch_add_explicit(&site->rows[i].objects, objects,
						  memory_order_relaxed);
		atomic_fetch_add_explicit(&site->rows[i].inuse, inuse,
					  memory_order_relaxed);
		return;
	}
}

static inline void heap_site_mark_peak(struct heap_site_rows *site)
{
	for (unsigned i = 0; i < HEAP_SITE_SIZES; i++)
		atomic_store(&site->rows[i].at_peak, atomic_load(&site->rows[i].inuse));
}

static inline void heap_site_tell(const char *before, unsigned number,
				  struct heap_site_rows *site)
{
	for (unsigned i = 0; i < HEAP_SITE_SIZES; i++) {
		uint64_t size_plus_1 = atomic_load(&site->rows[i].size_plus_1);

		if (size_plus_1 == 0)
			break;
		if (i == HEAP_SITE_SIZES - 1)
			abort();
		printf("%ssite_%u %llu %lld %lld %lld\n", before, number,
		       (unsigned long long)size_plus_1 - 1,
		       (long long)atomic_load(&site->rows[i].objects),
		       (long long)atomic_load(&site->rows[i].inuse),
		       (long long)atomic_load(&site->rows[i].at_peak));
	}
}

void heap_oracle_enter(unsigned site);
void heap_oracle_mark_peak(void);
void heap_oracle_tell(void);

#endif

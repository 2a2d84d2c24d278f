/*
 * Two neighbouring words that change at once. Context: signal.
 */
#ifndef SP_PAIR_H
#define SP_PAIR_H

#include <stdbool.h>
#include <stdint.h>

/* By value; where it is in memory two words, aligned as one of 16 bytes. */
struct sp_pair {
	uint64_t first, second;
};

/* Both orders. False: it was something else, which expected is then. C has no atomics of
 * this size that are sure to call no library. */
static inline bool sp_pair_change(void *words, struct sp_pair *expected,
				  struct sp_pair wanted)
{
	bool is_done;

	__asm__ volatile("lock cmpxchg16b %[words]"
			 : "=@ccz"(is_done), [words] "+m"(*(struct sp_pair *)words),
			   "+a"(expected->first), "+d"(expected->second)
			 : "b"(wanted.first), "c"(wanted.second)
			 : "memory");
	return is_done;
}

/* The same, right behind clearing a pointer that only this thread looks at: a handler
 * that jumps away meets both done or neither, but between these two instructions. */
static inline bool sp_pair_change_and_clear(void *words, struct sp_pair *expected,
					    struct sp_pair wanted, void *pointer)
{
	bool is_done;

	__asm__ volatile("movq $0, %[pointer]\n\t"
			 "lock cmpxchg16b %[words]"
			 : "=@ccz"(is_done), [words] "+m"(*(struct sp_pair *)words),
			   [pointer] "=m"(*(void **)pointer), "+a"(expected->first),
			   "+d"(expected->second)
			 : "b"(wanted.first), "c"(wanted.second)
			 : "memory");
	return is_done;
}

#endif

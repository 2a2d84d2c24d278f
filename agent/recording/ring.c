/*
 * Reserving space in a ring, and the pool of free rings. Context: signal. Two
 * producers (hook, and the handler that interrupts it) and one consumer share a
 * ring without locks; any number of threads share the pool.
 */
#include "sp_ring.h"

#include "sp_compiler.h"
#include "sp_recording_writer.h"

SP_SAMPLING struct sp_record *sp_ring_reserve(struct sp_ring *ring, uint32_t size_bytes)
{
	const uint64_t capacity = sp_ring_capacity(ring);
	/* Relaxed: only this thread moves head. */
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t at, pad;

	do {
		/* Pairs with the consumer's release: the space is zeroed. */
		uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

		at = head % capacity;
		pad = capacity - at < size_bytes ? capacity - at : 0;
		if (head + pad + size_bytes - tail > capacity)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
		&ring->head, &head, head + pad + size_bytes, memory_order_relaxed,
		memory_order_relaxed));
	if (pad) {
		sp_ring_commit((struct sp_record *)(void *)(ring->data + at),
			       (uint32_t)pad, SP_RECORD_PAD);
		at = 0;
	}
	return (struct sp_record *)(void *)(ring->data + at);
}

SP_SAMPLING uint32_t sp_ring_shrink(struct sp_ring *ring, const struct sp_record *record,
				    uint32_t reserved_bytes, uint32_t used_bytes)
{
	const uint64_t capacity = sp_ring_capacity(ring);
	/* Relaxed: only this thread moves head. */
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t start = (uint64_t)((const unsigned char *)record - ring->data);

	if ((start + reserved_bytes) % capacity != head % capacity)
		return reserved_bytes;
	/* Fails if a handler reserved in between. */
	return atomic_compare_exchange_strong_explicit(
		       &ring->head, &head, head - (reserved_bytes - used_bytes),
		       memory_order_relaxed, memory_order_relaxed)
		       ? used_bytes
		       : reserved_bytes;
}

static unsigned int pool_of(uint32_t id)
{
	return (id & SP_RING_IS_SMALL) != 0;
}

static uint32_t pool_pop(struct sp_recording *recording, unsigned int pool)
{
	_Atomic uint64_t *stack = &recording->header->free_rings[pool];
	/* Acquire: the ring's reset state is seen with its number. */
	uint64_t top = atomic_load_explicit(stack, memory_order_acquire);
	uint32_t id;
	uint64_t next;

	do {
		if (!(uint32_t)top)
			return 0;
		id = (uint32_t)top | (pool ? SP_RING_IS_SMALL : 0);
		/* May be stale; the tag then makes the exchange fail. */
		next = atomic_load_explicit(&sp_ring_of(recording, id)->next_free,
					    memory_order_relaxed);
		next |= ((top >> 32) + 1) << 32;
	} while (!atomic_compare_exchange_weak_explicit(
		stack, &top, next, memory_order_acquire, memory_order_acquire));
	atomic_fetch_sub_explicit(&recording->header->free_ring_count, 1,
				  memory_order_relaxed);
	return id;
}

uint32_t sp_ring_pool_take(struct sp_recording *recording)
{
	uint32_t id = pool_pop(recording, 0);

	return id ? id : pool_pop(recording, 1);
}

void sp_ring_pool_give(struct sp_recording *recording, uint32_t id)
{
	_Atomic uint64_t *stack = &recording->header->free_rings[pool_of(id)];
	struct sp_ring *ring = sp_ring_of(recording, id);
	uint64_t top = atomic_load_explicit(stack, memory_order_relaxed);
	uint64_t next;

	do {
		atomic_store_explicit(&ring->next_free, (uint32_t)top,
				      memory_order_relaxed);
		next = (id & ~SP_RING_IS_SMALL) | ((top >> 32) + 1) << 32;
		/* Release: pairs with the acquire in pool_pop(). */
	} while (!atomic_compare_exchange_weak_explicit(
		stack, &top, next, memory_order_release, memory_order_relaxed));
	atomic_fetch_add_explicit(&recording->header->free_ring_count, 1,
				  memory_order_relaxed);
}

/*
 * Threads that are at it at once may have the same ring in hand: they write the same to
 * it, and one of them gets it. So a ring is whole before it counts as there, also for
 * whoever reads what a kill has left.
 */
static uint32_t make_ring(struct sp_recording *recording, enum sp_section_kind kind)
{
	struct sp_section *section = &recording->header->sections[kind];
	bool is_small = kind == SP_SECTION_RINGS_SMALL;
	uint32_t ring_bytes = is_small ? SP_RING_SMALL_BYTES : SP_RING_LARGE_BYTES;
	uint64_t used = atomic_load_explicit(&section->used_items, memory_order_relaxed);
	struct sp_ring *ring;

	do {
		if (used >= section->capacity_items ||
		    (used >= sp_recording_reserved(recording, kind) &&
		     sp_recording_reserve(recording, kind, used + 1) != 0))
			return 0;
		ring = sp_recording_item(recording, kind, used);
		atomic_store_explicit(&ring->capacity_bytes,
				      ring_bytes - (uint32_t)sizeof(*ring),
				      memory_order_relaxed);
		/* Release: pairs with sp_recording_used(). */
	} while (!atomic_compare_exchange_weak_explicit(&section->used_items, &used,
							used + 1, memory_order_release,
							memory_order_relaxed));
	return ((uint32_t)used + 1) | (is_small ? SP_RING_IS_SMALL : 0);
}

uint32_t sp_ring_pool_make(struct sp_recording *recording)
{
	uint32_t id = make_ring(recording, SP_SECTION_RINGS_LARGE);

	return id ? id : make_ring(recording, SP_SECTION_RINGS_SMALL);
}

void sp_ring_pool_grow(struct sp_recording *recording, uint64_t wanted)
{
	while (atomic_load_explicit(&recording->header->free_ring_count,
				    memory_order_relaxed) < wanted) {
		uint32_t id = sp_ring_pool_make(recording);

		if (!id)
			return;
		sp_ring_pool_give(recording, id);
	}
}

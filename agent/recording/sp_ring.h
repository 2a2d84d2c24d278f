/*
 * Rings: who may write where (see struct sp_ring), and the pool they come from.
 */
#ifndef SP_RING_H
#define SP_RING_H

#include "sp_recording.h"

/* Ring ids: large rings are index + 1, small ones have this bit too. 0 = none. */
#define SP_RING_IS_SMALL UINT32_C(0x80000000)

/* Context: signal. id must be a ring that exists. */
static inline struct sp_ring *sp_ring_of(const struct sp_recording *recording,
					 uint32_t id)
{
	return id & SP_RING_IS_SMALL
		       ? sp_recording_item(recording, SP_SECTION_RINGS_SMALL,
					   (id & ~SP_RING_IS_SMALL) - 1)
		       : sp_recording_item(recording, SP_SECTION_RINGS_LARGE, id - 1);
}

/*
 * Context: signal. Wait-free but for retries after a producer that interrupted
 * this one. Returns zeroed space of size_bytes (multiple of 8), private to the
 * caller until sp_ring_commit(), or NULL when it does not fit.
 */
struct sp_record *sp_ring_reserve(struct sp_ring *ring, uint32_t size_bytes);

/*
 * Context: signal, on the producer that reserved the record last or an outer one.
 * Gives back what was reserved and not used (must still be zero). Returns the size
 * the record has now: used_bytes, or reserved_bytes if another record follows.
 */
uint32_t sp_ring_shrink(struct sp_ring *ring, const struct sp_record *record,
			uint32_t reserved_bytes, uint32_t used_bytes);

/* Context: signal. From here on the record counts. */
static inline void sp_ring_commit(struct sp_record *record, uint32_t size_bytes,
				  enum sp_record_type type)
{
	/* Pairs with the acquire in the consumer: contents before the first word. */
	atomic_store_explicit(&record->size_and_type, size_bytes << 8 | type,
			      memory_order_release);
}

/* Context: signal. Relaxed: it was there before anybody knew of the ring. */
static inline uint32_t sp_ring_capacity(const struct sp_ring *ring)
{
	return atomic_load_explicit(&ring->capacity_bytes, memory_order_relaxed);
}

/* Context: signal. Share of the ring in use, 0..256. */
static inline uint32_t sp_ring_fill(const struct sp_ring *ring)
{
	uint64_t used = atomic_load_explicit(&ring->head, memory_order_relaxed) -
			atomic_load_explicit(&ring->tail, memory_order_relaxed);

	return (uint32_t)(used * 256 / sp_ring_capacity(ring));
}

/* Context: signal. Id of a free ring, now the caller's; 0 when there is none. */
uint32_t sp_ring_pool_take(struct sp_recording *recording);

/* Context: signal, consumer. Drained, zeroed rings go back. */
void sp_ring_pool_give(struct sp_recording *recording, uint32_t id);

/*
 * Context: signal. Takes storage for one more ring, the caller's; any number of threads
 * may at once. Its id; 0 when none can be had.
 */
uint32_t sp_ring_pool_make(struct sp_recording *recording);

/* Context: signal. Takes storage until wanted rings are free or none can be had. */
void sp_ring_pool_grow(struct sp_recording *recording, uint64_t wanted);

#endif

/*
 * See custom_label_memo.h. Some memos for all threads, each for whichever address that
 * falls to it was looked at last. Whoever finds one in use goes without, so that a
 * handler may interrupt a hook here; a thread that is left in the middle keeps its memo
 * for ever. What was read in pieces is read again in as few as there may be, as the
 * kernel takes its time for each: together with what lies between neighbours on a page.
 * Context: signal.
 */
#include "custom_label_memo.h"

#include "sp_compiler.h"
#include "sp_guarded.h"
#include "sp_intern.h"
#include "sp_pages.h"
#include "sp_recording_span.h"
#include "sp_span_capture.h"

#include <stdatomic.h>
#include <string.h>

#define MEMOS 64U
/* Of more pieces, or more bytes, there is no memo. */
#define PIECES_MAX 24U
#define BYTES_MAX 4096U

struct piece {
	uint64_t address;
	size_t size_bytes;
	uint32_t run; /* that it is in */
};

struct sp_custom_memo {
	_Atomic bool is_taken;
	bool is_kept;
	uint32_t epoch; /* labels are known in one recording only */
	uint64_t address;
	uint64_t hash; /* of what was read */
	uint32_t piece_count, run_count, label_count;
	struct piece pieces[PIECES_MAX];
	struct iovec runs[PIECES_MAX];
	struct sp_sample_label labels[SP_SPAN_LABELS_MAX];
	uint8_t bytes[BYTES_MAX]; /* read now */
};

/* Made when the first labels are met; NULL: not yet. */
static _Atomic(struct sp_custom_memo *) memos;

static SP_COLD struct sp_custom_memo *make_memos(void)
{
	const size_t size_bytes = MEMOS * sizeof(struct sp_custom_memo);
	struct sp_custom_memo *made = sp_pages_map(size_bytes), *others = NULL;

	if (!made || atomic_compare_exchange_strong_explicit(&memos, &others, made,
							     memory_order_acq_rel,
							     memory_order_acquire))
		return made;
	sp_pages_unmap(made, size_bytes);
	return others;
}

struct sp_custom_memo *sp_custom_memo_take(uint64_t address)
{
	/* Acquire, twice: pairs with who made them, and with who gave it back. */
	struct sp_custom_memo *memo = atomic_load_explicit(&memos, memory_order_acquire);

	if (sp_unlikely(!memo))
		memo = make_memos();
	if (!memo)
		return NULL;
	memo += sp_intern_mix(1, address) % MEMOS;
	return atomic_exchange_explicit(&memo->is_taken, true, memory_order_acquire)
		       ? NULL
		       : memo;
}

void sp_custom_memo_give(struct sp_custom_memo *memo)
{
	if (memo)
		atomic_store_explicit(&memo->is_taken, false, memory_order_release);
}

static uint64_t mix_bytes(uint64_t hash, const uint8_t *bytes, size_t size_bytes)
{
	uint64_t word;

	hash = sp_intern_mix(hash, size_bytes);
	for (; size_bytes >= sizeof(word); size_bytes -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = sp_intern_mix(hash, word);
		bytes += sizeof(word);
	}
	word = 0;
	memcpy(&word, bytes, size_bytes);
	return sp_intern_mix(hash, word);
}

static uint64_t start_of(const struct iovec *run)
{
	return (uint64_t)(uintptr_t)run->iov_base;
}

/* The piece's bytes, where all runs are. */
static const uint8_t *bytes_of(const struct sp_custom_memo *memo,
			       const struct piece *piece)
{
	const uint8_t *at = memo->bytes;

	for (uint32_t i = 0; i < piece->run; i++)
		at += memo->runs[i].iov_len;
	return at + (piece->address - start_of(&memo->runs[piece->run]));
}

static bool is_same(struct sp_custom_memo *memo)
{
	uint64_t hash = 1;

	if (!sp_guarded_gather(memo->runs, memo->run_count, memo->bytes))
		return false;
	for (uint32_t i = 0; i < memo->piece_count; i++) {
		const struct piece *piece = &memo->pieces[i];

		hash = mix_bytes(hash, bytes_of(memo, piece), piece->size_bytes);
	}
	return hash == memo->hash;
}

bool sp_custom_memo_add(struct sp_custom_memo *memo, uint64_t address,
			struct sp_span_labels *labels, bool *has_added)
{
	if (!memo || !memo->is_kept || memo->address != address ||
	    memo->epoch != sp_span_epoch() || !is_same(memo))
		return false;
	for (uint32_t i = 0; i < memo->label_count; i++)
		*has_added |= sp_sample_label_put(labels, memo->labels[i]);
	return true;
}

void sp_custom_memo_begin(struct sp_custom_memo *memo, uint64_t address)
{
	if (!memo)
		return;
	memo->is_kept = false;
	memo->epoch = sp_span_epoch();
	memo->address = address;
	memo->hash = 1;
	memo->piece_count = memo->run_count = memo->label_count = 0;
}

/* From its first byte to its last there is no page that neither of both is on. */
static bool is_neighbour(const struct iovec *run, const struct piece *piece)
{
	uint64_t run_start = start_of(run), run_end = run_start + run->iov_len;
	uint64_t piece_end = piece->address + piece->size_bytes;

	if (piece->address >= run_end)
		return piece->address / SP_PAGE_BYTES == (run_end - 1) / SP_PAGE_BYTES;
	return piece_end > run_start ||
	       (piece_end - 1) / SP_PAGE_BYTES == run_start / SP_PAGE_BYTES;
}

static void extend(struct iovec *run, const struct piece *piece)
{
	uint64_t start = start_of(run), end = start + run->iov_len;
	uint64_t piece_end = piece->address + piece->size_bytes;

	start = piece->address < start ? piece->address : start;
	end = piece_end > end ? piece_end : end;
	*run = (struct iovec){(void *)(uintptr_t)start, end - start};
}

static void find_run(struct sp_custom_memo *memo, struct piece *piece)
{
	while (piece->run < memo->run_count &&
	       !is_neighbour(&memo->runs[piece->run], piece))
		piece->run++;
	if (piece->run < memo->run_count)
		extend(&memo->runs[piece->run], piece);
	else
		memo->runs[memo->run_count++] = (struct iovec){
			(void *)(uintptr_t)piece->address, piece->size_bytes};
}

void sp_custom_memo_note_read(struct sp_custom_memo *memo, uint64_t address,
			      const void *bytes, size_t size_bytes)
{
	if (!memo)
		return;
	if (memo->piece_count < PIECES_MAX) {
		struct piece *piece = &memo->pieces[memo->piece_count];

		*piece = (struct piece){address, size_bytes, 0};
		find_run(memo, piece);
		memo->hash = mix_bytes(memo->hash, bytes, size_bytes);
	}
	memo->piece_count++;
}

void sp_custom_memo_note_label(struct sp_custom_memo *memo, struct sp_sample_label label)
{
	if (!memo)
		return;
	if (memo->label_count < SP_SPAN_LABELS_MAX)
		memo->labels[memo->label_count] = label;
	/* For want of room it is another one each time, and each is to be counted. */
	memo->label_count += label.key && label.value ? 1 : SP_SPAN_LABELS_MAX + 1;
}

void sp_custom_memo_keep(struct sp_custom_memo *memo)
{
	size_t size_bytes = 0;

	if (!memo)
		return;
	for (uint32_t i = 0; i < memo->run_count; i++)
		size_bytes += memo->runs[i].iov_len;
	memo->is_kept = memo->piece_count <= PIECES_MAX &&
			memo->label_count <= SP_SPAN_LABELS_MAX &&
			size_bytes <= BYTES_MAX;
}

/*
 * The redo log. A process killed by SIGKILL loses no store that was carried out,
 * only those still to come; x86-64 and the release order keep the stores of one
 * thread in order for whoever reads the file later. Context: signal.
 */
#include "journal.h"

#include "sp_absorb.h"
#include "sp_double.h"

void (*sp_absorber_testpoint)(const char *step);

/*
 * A release keeps earlier stores before it; this keeps later ones after it. Whoever
 * reads after a kill sees what this thread had stored, in the order in which it
 * stored it: the compiler must not reorder, the CPU cannot matter.
 */
static void keep_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

void sp_change_begin(struct sp_change *change, struct sp_recording *recording)
{
	change->recording = recording;
	change->count = 0;
}

void sp_change_put(struct sp_change *change, const void *word, uint64_t value)
{
	struct sp_journal *journal = &change->recording->header->journal;
	const unsigned char *base = (const unsigned char *)change->recording->header;

	if (change->count == SP_JOURNAL_WRITES_MAX)
		return;
	journal->writes[change->count].offset =
		(uint64_t)((const unsigned char *)word - base);
	journal->writes[change->count].value = value;
	change->count++;
}

void sp_change_add(struct sp_change *change, const _Atomic uint64_t *word,
		   uint64_t addend)
{
	sp_change_put(change, word, sp_atomic_value(word) + addend);
}

void sp_change_add_double(struct sp_change *change, const _Atomic uint64_t *word,
			  double addend)
{
	double sum = sp_double_from_bits(sp_atomic_value(word)) + addend;

	sp_change_put(change, word, sp_double_to_bits(sum));
}

static void carry_out(struct sp_recording *recording, uint64_t count)
{
	struct sp_journal *journal = &recording->header->journal;

	for (uint64_t i = 0; i < count; i++) {
		_Atomic uint64_t *word =
			sp_recording_at(recording, journal->writes[i].offset);

		/* Release: a producer that sees a new tail sees the zeroed space. */
		atomic_store_explicit(word, journal->writes[i].value,
				      memory_order_release);
		sp_absorber_step("journal: word stored");
	}
}

void sp_change_commit(struct sp_change *change, void (*between)(void *), void *argument)
{
	struct sp_journal *journal = &change->recording->header->journal;

	sp_absorber_step("journal: filled");
	atomic_store_explicit(&journal->count, change->count, memory_order_release);
	keep_order();
	sp_absorber_step("journal: committed");
	if (between)
		between(argument);
	sp_absorber_step("journal: before the words");
	carry_out(change->recording, change->count);
	atomic_store_explicit(&journal->count, 0, memory_order_release);
	keep_order();
	sp_absorber_step("journal: finished");
}

void sp_journal_replay(struct sp_recording *recording)
{
	struct sp_journal *journal = &recording->header->journal;
	uint64_t count = atomic_load_explicit(&journal->count, memory_order_acquire);

	if (!count || count > SP_JOURNAL_WRITES_MAX)
		return;
	carry_out(recording, count);
	atomic_store_explicit(&journal->count, 0, memory_order_release);
	keep_order();
}

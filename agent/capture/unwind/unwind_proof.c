/*
 * What the stack in a memo follows from, taken out of it: the registers at its leaf, the
 * words that the walk read, the modules that may go. Where all are as they were, so is
 * the stack, and nobody need walk it; a proof is of one stack, and a thread may keep
 * many. Context: hook.
 */
#include "unwind_memo_entries.h"
#include "unwind_step.h"

/* So many words are looked at together. */
#define AT_ONCE 4U
_Static_assert(SP_UNWIND_PROOF_WORDS % AT_ONCE == 0, "the last words have company");

/* Every entry that the stack depends on, as verify() looks at them. */
static bool prove_words(const struct sp_unwind_memo *memo, struct sp_unwind_proof *proof)
{
	proof->word_count = 0;
	for (uint32_t i = memo->entry_count - 1; i-- > 0;) {
		const struct sp_memo_entry *entry = &memo->entries[i];

		if (proof->word_count + 2 > SP_UNWIND_PROOF_WORDS)
			return false;
		proof->words[proof->word_count++] = (struct sp_unwind_word){
			sp_memo_rsp_of(entry->key) - SP_RULE_WORD_BYTES, entry->pc};
		if (entry->rbp_slot > SP_MEMO_RBP_UNUSED)
			proof->words[proof->word_count++] =
				(struct sp_unwind_word){entry->rbp_slot, entry->rbp};
	}
	for (; proof->word_count % AT_ONCE; proof->word_count++)
		proof->words[proof->word_count] = proof->words[proof->word_count - 1];
	return true;
}

static bool prove_modules(const struct sp_unwind_memo *memo,
			  struct sp_unwind_proof *proof)
{
	proof->module_count = 0;
	for (uint32_t i = 0; i < memo->run_count; i++) {
		const struct sp_memo_run *run = &memo->runs[i];
		uint32_t at = proof->module_count;

		while (at > 0 && proof->modules[at - 1].module != run->module)
			at--;
		if (at > 0)
			continue;
		if (proof->module_count == SP_UNWIND_PROOF_MODULES)
			return false;
		at = proof->module_count++;
		proof->modules[at].module = run->module;
		proof->modules[at].address =
			sp_memo_address_of(&memo->entries[run->first]);
	}
	return true;
}

bool sp_unwind_memo_prove(const struct sp_unwind_memo *memo,
			  struct sp_unwind_proof *proof)
{
	const struct sp_memo_entry *leaf;

	proof->rsp = 0;
	/* Not all of it may be left out of the next walk. */
	if (!memo->entry_count || memo->spliceable_count != memo->entry_count ||
	    memo->entry_count > SP_UNWIND_PROOF_WORDS)
		return false;
	if (!prove_words(memo, proof) || !prove_modules(memo, proof))
		return false;
	leaf = &memo->entries[memo->entry_count - 1];
	proof->hash = leaf->hash;
	proof->generation = memo->generation;
	proof->stack_high = memo->stack_high;
	proof->pc = leaf->pc;
	proof->rbp = leaf->rbp;
	proof->depends_on_rbp = leaf->rbp_slot != SP_MEMO_RBP_UNUSED;
	/* A jump out of a handler leaves a proof of nothing. */
	atomic_signal_fence(memory_order_seq_cst);
	proof->rsp = sp_memo_rsp_of(leaf->key);
	return true;
}

SP_UNSANITIZED static inline uint64_t difference_at(const struct sp_unwind_word *word)
{
	return sp_memo_word_at(word->address) ^ word->value;
}

SP_UNSANITIZED static bool are_words_same(const struct sp_unwind_proof *proof)
{
	const struct sp_unwind_word *word = proof->words, *end = word + proof->word_count;

	/* They lie between the stack pointer and the end of the stack: none need be as
	 * it was for the next to be there. */
	for (; word < end; word += AT_ONCE)
		if (difference_at(&word[0]) | difference_at(&word[1]) |
		    difference_at(&word[2]) | difference_at(&word[3]))
			return false;
	return true;
}

bool sp_unwind_proof_holds(const struct sp_unwind_proof *proof,
			   const struct sp_unwind_snapshot *snapshot,
			   const struct sp_unwind_regs *regs,
			   const struct sp_unwind_stack *stack)
{
	if (proof->rsp != regs->value[SP_DWARF_RSP] ||
	    proof->pc != regs->value[SP_DWARF_RA] ||
	    (proof->depends_on_rbp && proof->rbp != regs->value[SP_DWARF_RBP]) ||
	    !snapshot || proof->generation != snapshot->generation ||
	    proof->stack_high != stack->high || proof->rsp < stack->low ||
	    stack->is_guarded || stack->delta != 0 || !are_words_same(proof))
		return false;
	for (uint32_t i = 0; i < proof->module_count; i++)
		if (!sp_walk_is_still_loaded(proof->modules[i].module,
					     proof->modules[i].address))
			return false;
	return true;
}

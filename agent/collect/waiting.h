/*
 * What threads of the program wait for, each for so long at most: an answer of our
 * thread, or that it has come so far. And the wait of that thread itself.
 */
#ifndef SP_WAITING_H
#define SP_WAITING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Whoever asks draws a ticket, and is served when that many have been: futexes. */
struct sp_ticket_queue {
	_Atomic uint32_t tickets, served;
};

/* Context: hook, collector. As the kernel's call: -ETIMEDOUT when the time is over. */
long sp_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);

/* Context: hook, collector. All who wait for another value of the word. */
void sp_futex_wake_all(_Atomic uint32_t *word);

/* Context: hook. What is asked for is said before. */
uint32_t sp_ticket_draw(struct sp_ticket_queue *queue);

/* Context: hook. True when that ticket has been served. */
bool sp_ticket_await(struct sp_ticket_queue *queue, uint32_t ticket, uint64_t timeout_ns);

/* Context: collector. The tickets that were there when the work began. */
void sp_ticket_serve(struct sp_ticket_queue *queue, uint32_t tickets);

/* Context: hook, in a fork child. */
void sp_ticket_forget(struct sp_ticket_queue *queue);

/* Context: collector. The word, a futex, is 1 from here on. */
void sp_step_tell(_Atomic uint32_t *step);

/* Context: hook. Until then, or until there is no thread of ours. */
void sp_step_await(_Atomic uint32_t *step, const _Atomic bool *has_thread,
		   uint64_t timeout_ns);

#endif

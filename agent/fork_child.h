#ifndef SP_FORK_CHILD_H
#define SP_FORK_CHILD_H

/* Context: hook, in the child, in the thread that forked. No more than arming its
 * timer; most children exec at once. */
void sp_fork_child_note(void);

/*
 * Context: signal. The child's own recording, by handler or hook, whoever is first: the
 * parent's mapping is left, ids of modules stay what they were, and the thread that
 * forked gets the first slot. There is no reporter thread; the handler drains until
 * somebody starts one.
 */
void sp_fork_child_begin(void);

#endif

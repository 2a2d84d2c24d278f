/*
 * What makes a process this one and not a later one with the same number.
 */
#ifndef SP_PROCESS_IDENTITY_H
#define SP_PROCESS_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

/*
 * Where our thread looks up its own process: in the main thread's folder, and in its own
 * only where that thread has ended and its folder is empty. What was looked up below a
 * thread's folder the kernel forgets at that thread's end; a parent that waits for the
 * process spins meanwhile, on a busy machine for milliseconds. What is below the main
 * thread's, the parent forgets itself.
 */
#define SP_PROCESS_FOLDER "/proc/self"
#define SP_PROCESS_FOLDER_OF_THREAD "/proc/thread-self"

struct sp_process_identity {
	uint64_t boot_id_hash;	/* /proc/sys/kernel/random/boot_id */
	uint64_t pid_namespace; /* inode of /proc/self/ns/pid */
	/* Field 22 of /proc/PID/stat; 0: no such process, or it is over and only waits
	 * for its parent to ask. */
	uint64_t start_ticks;
};

/* Context: signal; some ten system calls. Fields that cannot be read are 0. */
void sp_process_identity_read(struct sp_process_identity *identity, int pid);

/* Context: signal. Reads at most out_bytes - 1 bytes, ends them with NUL; the number
 * read, 0 on error. */
size_t sp_process_read_file(const char *path, char *out, size_t out_bytes);

#endif

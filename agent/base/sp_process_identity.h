/*
 * What makes a process this one and not a later one with the same number.
 */
#ifndef SP_PROCESS_IDENTITY_H
#define SP_PROCESS_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sp_process_identity {
	uint64_t boot_id_hash;	/* /proc/sys/kernel/random/boot_id */
	uint64_t pid_namespace; /* inode of /proc/self/ns/pid */
	/* Field 22 of /proc/PID/stat; 0: no such process, or it is over and only waits
	 * for its parent to ask. */
	uint64_t start_ticks;
};

/* Context: signal; some ten system calls. Fields that cannot be read are 0. */
void sp_process_identity_read(struct sp_process_identity *identity, int pid);

/*
 * Context: signal; two or four system calls. Opens a file in /proc that tells of the own
 * process and its memory, like "maps", to be read: a descriptor, or -errno.
 *
 * It is that of the main thread's folder, and of the calling thread's only where the main
 * thread has ended and has no memory any more. What was looked up below a thread's folder
 * the kernel forgets at that thread's end; a parent that waits for the process spins
 * meanwhile, on a busy machine for milliseconds. What is below the main thread's, the
 * parent forgets itself. "maps", "mem" and "exe" stay what they are when the main thread
 * ends later; "statm" may be all 0 then.
 */
int sp_process_open(const char *name);

/* Context: signal. Reads at most out_bytes - 1 bytes, ends them with NUL; the number
 * read, 0 on error. */
size_t sp_process_read_file(const char *path, char *out, size_t out_bytes);

/* The same of a file of that name which tells of a thread of the own process. */
size_t sp_process_read_task(int tid, const char *name, char *out, size_t out_bytes);

/* The same of a descriptor, which is closed; a negative one is an error. */
size_t sp_process_read_open(int fd, char *out, size_t out_bytes);

/* Context: signal; three system calls. Was that thread of the own process made by the
 * kernel, for work of the process that runs in the kernel alone? */
bool sp_process_is_kernel_worker(int tid);

#endif

/*
 * Making a recording and taking storage for it.
 */
#ifndef SP_RECORDING_WRITER_H
#define SP_RECORDING_WRITER_H

#include "sp_recording.h"

struct sp_recording_settings {
	const char *directory;	       /* wanted, or "" to choose */
	const char *runtime_directory; /* XDG_RUNTIME_DIR, or NULL */
	const char *out_directory;
	const char *program; /* base name */
	uint64_t bytes_max;
	/* It is to lie where parts of it can become large pages. */
	bool wants_large_pages;
};

/*
 * Context: signal; about a dozen system calls, no descriptor is left open. Creates
 * the recording in the first place that works: the wanted directory, or the
 * runtime directory, /dev/shm, the output directory; else anonymous memory. Its
 * size is halved until address space and file size limits allow it. Every section
 * has its first storage. 0 or -errno.
 */
int sp_recording_create(struct sp_recording *recording,
			const struct sp_recording_settings *settings);

/*
 * Context: signal, one caller for a section at a time: the consumer, or whoever adds
 * modules. Makes sure that the first items items of a section have storage. 0,
 * -ENOSPC at capacity or at the storage limit, else what the kernel said; counted.
 */
int sp_recording_reserve(struct sp_recording *recording, enum sp_section_kind kind,
			 uint64_t items);

/* Context: collector. Removes the file, if it is still there; memory stays mapped. 0 or
 * -errno. */
int sp_recording_remove(struct sp_recording *recording);

/*
 * Context: signal, while nobody else touches the recording. A file of the same name in
 * place of one that was removed. 0, also where it was not, or -errno: then all is as it
 * was.
 */
int sp_recording_put_back(struct sp_recording *recording);

/*
 * Context: hook; waits a second at most for whoever takes storage. The program
 * has limited its address space (RLIMIT_AS): what a recording would not take of it at
 * its start is given back, as far as it has no storage.
 */
void sp_recording_fit_addresses(struct sp_recording *recording);

/*
 * Context: signal, in a fork child with one thread. Whoever still writes to the parent's
 * recording writes to memory of the child's own from here on, where nothing is kept;
 * what sp_recording_copy_modules() reads is there.
 */
void sp_recording_cut_off(struct sp_recording *recording);

/* Context: signal. Unmaps, in a fork child that leaves it to its parent. */
void sp_recording_detach(struct sp_recording *recording);

/*
 * Context: collector, consumer. Appends a module; its id, or 0 when the table is
 * full (counted).
 */
uint16_t sp_recording_add_module(struct sp_recording *recording,
				 const struct sp_module_record *module, const char *path);

#define SP_MODULE_RECORDS_MAX 65533U /* ids are 16 bits wide, three are taken */

/* Context: signal, consumer. A fork child's frames mean what they meant to its parent. */
void sp_recording_copy_modules(struct sp_recording *to, const struct sp_recording *from);

#endif

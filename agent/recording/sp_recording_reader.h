/*
 * Opening somebody else's recording, which may be damaged, cut off, being written,
 * or no recording at all.
 */
#ifndef SP_RECORDING_READER_H
#define SP_RECORDING_READER_H

#include "sp_recording.h"

/*
 * Context: collector. Copies the recording at path into private memory (the file
 * is only read) and checks everything that the rest of the code relies on. On
 * success *recording can be drained as if it were the own one. On failure a
 * negative errno and one line in error that says what is wrong.
 */
int sp_recording_open(struct sp_recording *recording, const char *path, char *error,
		      size_t error_bytes);

/*
 * The same of a recording whose process may run and change it meanwhile. Where the file
 * may be written to, and that process lives, it is asked by a word in it to keep the
 * heap's tables so that no block is missed or met twice.
 */
int sp_recording_open_live(struct sp_recording *recording, const char *path, char *error,
			   size_t error_bytes);

/* As sp_recording_open(), from memory: for tests and the fuzzer. */
int sp_recording_open_memory(struct sp_recording *recording, const void *bytes,
			     size_t size_bytes, char *error, size_t error_bytes);

/*
 * Context: collector, when the rings are drained. 0, or -EINVAL and one line in error
 * if the sums are such that only damage explains them.
 */
int sp_recording_check_sums(const struct sp_recording *recording, char *error,
			    size_t error_bytes);

void sp_recording_close(struct sp_recording *recording);

/* Whether the process that writes it still runs: 1, 0, or -errno if unknown (another
 * pid namespace or boot). */
int sp_recording_is_live(const struct sp_recording *recording);

/* A recording that is being made, or was when its process was killed. */
struct sp_unfinished {
	int pid;	 /* as its name says, in whatever pid namespace */
	bool is_open;	 /* somebody, wherever, has it open to write or mapped */
	uint64_t age_ns; /* since it was changed last; UINT64_MAX: in the future */
};

/*
 * Context: collector, in the command. True where the file at path is such one, so that
 * there is nothing in it.
 */
bool sp_recording_is_unfinished(const char *path, struct sp_unfinished *unfinished);

/* String at an offset of the strings section; "" if out of range. */
const char *sp_recording_string(const struct sp_recording *recording, uint64_t offset);

#endif

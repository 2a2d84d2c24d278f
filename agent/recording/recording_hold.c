/*
 * A word of the recording, written by whoever reads it, asks the process to keep its heap
 * as it is. The word is written to the file, which the process has mapped; nothing is
 * written to files that are not such a recording.
 */
#include "recording_hold.h"

#include "layout.h"
#include "sp_clock.h"
#include "sp_recording_heap.h"
#include "sp_recording_reader.h"

#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Whoever frees a block at this moment has not seen the word. */
#define PAUSE_NS (SP_NS_PER_SECOND / 1000)

#define WORD_OFFSET ((off_t)offsetof(struct sp_recording_header, heap_held_at))

static bool write_word(const struct sp_recording_hold *hold, uint64_t cycles)
{
	return pwrite(hold->fd, &cycles, sizeof(cycles), WORD_OFFSET) ==
	       (ssize_t)sizeof(cycles);
}

static bool is_being_written(int fd)
{
	union {
		struct sp_recording_header header;
		unsigned char bytes[SP_HEADER_BYTES];
	} first;
	const struct sp_recording recording = {.header = &first.header};

	return pread(fd, &first, sizeof(first), 0) == (ssize_t)sizeof(first) &&
	       memcmp(first.header.magic, SP_RECORDING_MAGIC,
		      sizeof(first.header.magic)) == 0 &&
	       first.header.layout_version == SP_RECORDING_VERSION &&
	       first.header.heap_rate_bytes != 0 && sp_recording_is_live(&recording) != 0;
}

void sp_recording_hold_begin(struct sp_recording_hold *hold)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t now_cycles = sp_clock_cycles();

	hold->held_at_cycles = 0;
	if (hold->fd < 0 || !is_being_written(hold->fd) || !write_word(hold, now_cycles))
		return;
	hold->held_at_cycles = now_cycles;
	nanosleep(&pause, NULL);
}

bool sp_recording_hold_lasts(const struct sp_recording_hold *hold)
{
	uint64_t cycles;

	return !hold->held_at_cycles || (pread(hold->fd, &cycles, sizeof(cycles),
					       WORD_OFFSET) == (ssize_t)sizeof(cycles) &&
					 cycles == hold->held_at_cycles &&
					 sp_heap_is_held(cycles, sp_clock_cycles()));
}

void sp_recording_hold_end(struct sp_recording_hold *hold)
{
	if (hold->held_at_cycles)
		write_word(hold, 0);
	hold->held_at_cycles = 0;
}

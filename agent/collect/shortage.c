/*
 * Threads without a timer show as [unsampled] and in a comment of the profile; who
 * reads only the exit line would take it for whole. Context: collector.
 */
#include "shortage.h"

#include "sp_text.h"

void sp_shortage_say(const struct sp_recording_header *header, char *text,
		     size_t text_bytes)
{
	uint64_t threads = sp_atomic_value(&header->losses[SP_LOSS_NO_TIMER]);
	struct sp_text line;

	sp_text_init(&line, text, text_bytes);
	if (!threads)
		return;
	sp_text_string(&line, "; ");
	sp_text_decimal(&line, threads);
	sp_text_string(&line, threads == 1 ? " thread" : " threads");
	sp_text_string(&line, " had no timer (ulimit -i)");
}

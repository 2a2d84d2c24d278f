/*
 * What the exit line adds where the program's limits kept us from sampling.
 */
#ifndef SP_SHORTAGE_H
#define SP_SHORTAGE_H

#include "sp_recording.h"

/*
 * Context: collector. Empty where nothing was short, else "; 3 threads had no timer
 * (ulimit -i)". What does not fit is cut.
 */
void sp_shortage_say(const struct sp_recording_header *header, char *text,
		     size_t text_bytes);

#endif

/*
 * Names of the frames that are not code. Context: signal.
 */
#include "sp_frame.h"

const char *sp_pseudo_frame_name(uint64_t offset)
{
	static const char *const names[SP_PSEUDO_COUNT] = {
		[SP_PSEUDO_DROPPED] = "[dropped]",
		[SP_PSEUDO_UNSAMPLED] = "[unsampled]",
		[SP_PSEUDO_TRUNCATED] = "[truncated]",
		[SP_PSEUDO_INCOMPLETE] = "[incomplete]",
		[SP_PSEUDO_AGENT] = "[spanprof]",
		[SP_PSEUDO_UNKNOWN_THREAD] = "[unknown thread]",
		[SP_PSEUDO_KERNEL_WORKER] = "[kernel worker]",
	};

	return offset < SP_PSEUDO_COUNT && names[offset] ? names[offset] : "[?]";
}

/*
 * Between the consumer and the reporters of events (sp_reporter.h): what they are told,
 * when and in which order. Context of everything here: collector, on the reporter
 * thread alone.
 */
#ifndef SP_SPAN_REPORTERS_H
#define SP_SPAN_REPORTERS_H

#include "sp_absorb.h"
#include "sp_reporter.h"

struct sp_span_reporters;

#define SP_EVENT_REPORTERS_MAX 8U

/*
 * Lock held. Begins those of the reporters that want to know of events. NULL if none
 * does, or memory is short. From here on nobody but the calling thread absorbs spans.
 * now_ns: of the monotonic clock, as later.
 */
struct sp_span_reporters *
sp_span_reporters_create(struct sp_absorber *absorber,
			 const struct sp_reporter_ops *const *reporters, size_t count,
			 const struct sp_reporter_config *config, uint64_t now_ns);

/*
 * Context: init. Spans stay where they are until reporters that want to know of events
 * are created. False: none of these does.
 */
bool sp_span_reporters_await(struct sp_absorber *absorber,
			     const struct sp_reporter_ops *const *reporters,
			     size_t count);

/* Another thread takes over; SP_NO_THREAD: one that is not known yet. */
#define SP_NO_THREAD UINT32_MAX
void sp_span_reporters_move_to(struct sp_span_reporters *reporters, uint32_t tid);

/* Lock held, after the spans were absorbed. */
void sp_span_reporters_look(struct sp_span_reporters *reporters);

/* Lock not held: tells what is new, may block. is_final: the process may end now. */
void sp_span_reporters_tell(struct sp_span_reporters *reporters, uint64_t now_ns,
			    bool is_final);

/* Is there one left that has not failed? */
bool sp_span_reporters_are_on(const struct sp_span_reporters *reporters);

/* Lock held. Ends all reporters; any thread absorbs spans again. */
void sp_span_reporters_destroy(struct sp_span_reporters *reporters);

/* Context: signal, in a fork child: there they are nobody's. */
void sp_span_reporters_forget(struct sp_absorber *absorber);

#endif

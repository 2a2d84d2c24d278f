/*
 * Attributes of otel_thread_ctx_v1 have numbers for keys. What these stand for, the
 * program publishes in its process context (OpenTelemetry enhancement proposal 4719).
 */
#ifndef OTEL_KEY_NAMES_H
#define OTEL_KEY_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#define SP_OTEL_KEYS 256U

/* Context: init, or in a fork child, whose names are not its parent's. recorded: keys
 * that are wanted, separated by commas; stays. */
void sp_otel_key_names_begin(const char *recorded);

struct sp_otel_key {
	const char *name; /* within recorded, not terminated; NULL: not wanted */
	uint32_t bytes;
	bool is_nameless; /* its name is not known, so that it may be wanted */
};

/* Context: signal. A name that is not known yet is looked for by the collector. */
struct sp_otel_key sp_otel_key_name(uint8_t number);

/* Context: collector, each round. Looks for names if some were missed; once a second
 * at most, as it may be in vain. */
void sp_otel_key_names_look(void);

#endif

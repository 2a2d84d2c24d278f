/*
 * spanprof/span.h - marking spans for spanprof.
 *
 * A span is a request, a query, a task, a named region. Programs that mark theirs see
 * samples of CPU time and memory by span, and exact totals for each, when they run
 * under spanprof. Nothing needs to be linked: without the agent every call here is a
 * test of a pointer.
 *
 *	void handle(const char *user)
 *	{
 *		SPANPROF_SCOPE("request");
 *		spanprof_label("user", user);
 *		...
 *	}
 *
 * All functions may be called from any thread, none from a signal handler; none
 * fails, allocates from the program's heap, or sets errno. Texts are copied.
 */
#ifndef SPANPROF_SPAN_H
#define SPANPROF_SPAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A place that makes spans. Static, one for each place; id is the agent's. */
struct spanprof_callsite {
	const char *name;
	const char *target; /* module or component; may be NULL */
	const char *file;   /* may be NULL */
	uint32_t line;
	uint32_t id;
};

#define SPANPROF_CALLSITE(name_, target_)                                                \
	{                                                                                \
		name_, target_, __FILE__, __LINE__, 0                                    \
	}

/* Of a span; 0 is none, and is allowed wherever a span is. */
typedef uint64_t spanprof_span;

/* As parent: what the calling thread has entered last; or none at all. */
#define SPANPROF_CURRENT UINT64_C(0xffffffffffffffff)
#define SPANPROF_ROOT UINT64_C(0)

#if defined(__GNUC__)
#define SPANPROF_WEAK __attribute__((weak))
#else
#define SPANPROF_WEAK
#endif

/* The agent's side, also for other languages (FFI). Absent (NULL) without it; C and C++
 * call the functions below. */
extern spanprof_span spanprof_v1_create(struct spanprof_callsite *site,
					spanprof_span parent) SPANPROF_WEAK;
extern void spanprof_v1_enter(spanprof_span span) SPANPROF_WEAK;
extern void spanprof_v1_exit(spanprof_span span) SPANPROF_WEAK;
extern void spanprof_v1_close(spanprof_span span) SPANPROF_WEAK;
extern void spanprof_v1_label(spanprof_span span, const char *key,
			      const char *value) SPANPROF_WEAK;
extern void spanprof_v1_follows(spanprof_span span, spanprof_span cause) SPANPROF_WEAK;
extern spanprof_span spanprof_v1_current(void) SPANPROF_WEAK;

/* Where a function of the agent is. Asked of the global offset table by hand: in a
 * program that is not position-independent the compiler would take the address for a
 * constant, and the linker make it NULL for ever. */
#if defined(__GNUC__) && defined(__x86_64__) && defined(__linux__)
#define SPANPROF_FIND(function, name)                                                    \
	__asm__(".weak " #name "\n\tmovq " #name "@GOTPCREL(%%rip), %0" : "=r"(function))
#else
#define SPANPROF_FIND(function, name) ((function) = (name))
#endif

/* Creates a span that nobody has entered yet; it idles until somebody does. Close it
 * once. parent: a span, SPANPROF_CURRENT or SPANPROF_ROOT. */
static inline spanprof_span spanprof_create(struct spanprof_callsite *site,
					    spanprof_span parent)
{
	spanprof_span (*create)(struct spanprof_callsite *, spanprof_span);

	SPANPROF_FIND(create, spanprof_v1_create);
	return create ? create(site, parent) : 0;
}

/* From here on the calling thread works for span, until it exits it. */
static inline void spanprof_enter(spanprof_span span)
{
	void (*agent_enter)(spanprof_span);

	SPANPROF_FIND(agent_enter, spanprof_v1_enter);
	if (agent_enter && span)
		agent_enter(span);
}

static inline void spanprof_exit(spanprof_span span)
{
	void (*agent_exit)(spanprof_span);

	SPANPROF_FIND(agent_exit, spanprof_v1_exit);
	if (agent_exit && span)
		agent_exit(span);
}

/* Nothing more will come for span. Its memory in use goes on counting for it. */
static inline void spanprof_close(spanprof_span span)
{
	void (*agent_close)(spanprof_span);

	SPANPROF_FIND(agent_close, spanprof_v1_close);
	if (agent_close && span)
		agent_close(span);
}

/* A label of span (0: of the one the thread has entered last). It counts from the
 * next time that the span is entered; keys that are not recorded are ignored. */
static inline void spanprof_span_label(spanprof_span span, const char *key,
				       const char *value)
{
	void (*label)(spanprof_span, const char *, const char *);

	SPANPROF_FIND(label, spanprof_v1_label);
	if (label)
		label(span, key, value);
}

static inline void spanprof_label(const char *key, const char *value)
{
	spanprof_span_label(0, key, value);
}

/* span was caused by another, which need not wait for it. */
static inline void spanprof_follows(spanprof_span span, spanprof_span cause)
{
	void (*follows)(spanprof_span, spanprof_span);

	SPANPROF_FIND(follows, spanprof_v1_follows);
	if (follows && span)
		follows(span, cause);
}

/* To be carried to another thread, which enters it there, or makes children of it. */
static inline spanprof_span spanprof_current(void)
{
	spanprof_span (*current)(void);

	SPANPROF_FIND(current, spanprof_v1_current);
	return current ? current() : 0;
}

/* Creates and enters; exits and closes. */
static inline spanprof_span spanprof_begin(struct spanprof_callsite *site)
{
	spanprof_span span = spanprof_create(site, SPANPROF_CURRENT);

	spanprof_enter(span);
	return span;
}

static inline void spanprof_end(spanprof_span span)
{
	spanprof_exit(span);
	spanprof_close(span);
}

#ifdef __cplusplus
}

namespace spanprof
{
/* A span that lives as long as this object: exceptions end it too. */
class scope
{
      public:
	explicit scope(spanprof_callsite &site) : span_(spanprof_begin(&site))
	{
	}
	~scope()
	{
		spanprof_end(span_);
	}
	void label(const char *key, const char *value)
	{
		spanprof_span_label(span_, key, value);
	}
	spanprof_span get() const
	{
		return span_;
	}
	scope(const scope &) = delete;
	scope &operator=(const scope &) = delete;

      private:
	spanprof_span span_;
};
} /* namespace spanprof */

#define SPANPROF_NAME_2(a, b) a##b
#define SPANPROF_NAME(a, b) SPANPROF_NAME_2(a, b)
/* A span from here to the end of the block. */
#define SPANPROF_SCOPE(name)                                                             \
	static spanprof_callsite SPANPROF_NAME(spanprof_site_, __LINE__) =               \
		SPANPROF_CALLSITE(name, nullptr);                                        \
	spanprof::scope SPANPROF_NAME(spanprof_scope_, __LINE__)                         \
	{                                                                                \
		SPANPROF_NAME(spanprof_site_, __LINE__)                                  \
	}

#elif defined(__GNUC__)

static inline void spanprof_end_at(const spanprof_span *span)
{
	spanprof_end(*span);
}

#define SPANPROF_NAME_2(a, b) a##b
#define SPANPROF_NAME(a, b) SPANPROF_NAME_2(a, b)
/* A span from here to the end of the block. */
#define SPANPROF_SCOPE(name)                                                             \
	static struct spanprof_callsite SPANPROF_NAME(spanprof_site_, __LINE__) =        \
		SPANPROF_CALLSITE(name, NULL);                                           \
	__attribute__((cleanup(spanprof_end_at), unused)) spanprof_span SPANPROF_NAME(   \
		spanprof_scope_, __LINE__) =                                             \
		spanprof_begin(&SPANPROF_NAME(spanprof_site_, __LINE__))
#endif

#endif

/*
 * What one option is: shared by the table (options.c) and the parser
 * (options_parse.c), and by the test that holds them together.
 */
#ifndef SP_OPTIONS_TABLE_H
#define SP_OPTIONS_TABLE_H

#include "sp_options.h"

enum sp_option_kind {
	SP_OPTION_DISABLE,	/* bool: ends it all */
	SP_OPTION_PROFILE,	/* bool: naming one switches the others off */
	SP_OPTION_SWITCH,	/* bool */
	SP_OPTION_NUMBER,	/* unsigned, minimum..maximum */
	SP_OPTION_SIZE,		/* bytes, with K, M, G */
	SP_OPTION_DURATION,	/* nanoseconds, with ns, us, ms, s, m, h */
	SP_OPTION_CHOICE,	/* unsigned: index into choices */
	SP_OPTION_PROBABILITY,	/* unsigned, millionths */
	SP_OPTION_LIST,		/* char[size_bytes]; the default is stored as "" */
	SP_OPTION_DIRECTORY,	/* char[size_bytes] */
	SP_OPTION_FILE_PATTERN, /* char[size_bytes], see sp_options_file_name() */
};

struct sp_option {
	struct sp_option_help help;
	enum sp_option_kind kind;
	size_t offset_bytes; /* in struct sp_options */
	size_t size_bytes;
	uint64_t minimum, maximum;
	const char *const *choices; /* NULL at the end */
	bool has_auto;		    /* "auto" is a value too, stored as 0 or "" */
};

/* Context: signal. NULL past the end. */
const struct sp_option *sp_options_entry(size_t index);

#endif

/*
 * The spanprof command: a table of commands (main.c), one file a command
 * (cmd_NAME.c). An ordinary program, so stdio and the heap are fine here.
 */
#ifndef SP_CLI_H
#define SP_CLI_H

#include "sp_compiler.h"

#include <stddef.h>

enum sp_exit {
	SP_EXIT_OK = 0,
	SP_EXIT_FAILED = 1, /* something could not be done; it was told what */
	SP_EXIT_USAGE = 2,  /* not understood; nothing was done */
};

struct sp_command {
	const char *name;
	const char *arguments; /* for the usage line */
	const char *summary;   /* one line */
	const char *details;   /* lines for "spanprof help NAME", each with its end */
	/* argv[0] is the command's name. Returns an enum sp_exit. */
	int (*run)(int argc, char **argv);
};

extern const struct sp_command sp_cmd_delta;
extern const struct sp_command sp_cmd_help;
extern const struct sp_command sp_cmd_options;
extern const struct sp_command sp_cmd_path;
extern const struct sp_command sp_cmd_recover;
extern const struct sp_command sp_cmd_run;

/* NULL past the end. */
const struct sp_command *sp_command_at(size_t index);
/* NULL if there is none; complains then, with the nearest one. */
const struct sp_command *sp_command_find(const char *name);

/* One line on standard error: "spanprof: ...". */
void sp_cli_complain(const char *format, ...) SP_PRINTF(1, 2);

/* As above, then the usage line of the command. Returns SP_EXIT_USAGE. */
int sp_cli_usage(const struct sp_command *command, const char *format, ...)
	SP_PRINTF(2, 3);

/*
 * What getopt_long() just refused, with opterr = 0 and a ':' first in its letters.
 * Returns SP_EXIT_USAGE.
 */
int sp_cli_usage_option(const struct sp_command *command, int result, char **argv);

/* The path of libspanprof.so, PATH_MAX bytes. Complains where there is none; an enum
 * sp_exit. */
int sp_cli_find_agent(char *found);

/* Prints text in lines of at most 78 columns, each after indent blanks. */
void sp_cli_print_wrapped(const char *text, int indent);

#endif

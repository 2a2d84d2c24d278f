/*
 * spanprof options: the table of options as text, and in the two forms that the
 * README and the man page are made of. Context: command; invariant: nothing about
 * an option is written here, all of it comes from the table.
 */
#include "sp_cli.h"
#include "sp_options.h"

#include <getopt.h>
#include <stdio.h>

static void print_text(void)
{
	const struct sp_option_help *help;

	fputs("Options of the profiler. It reads them from the environment: each can be "
	      "a\n"
	      "variable of its own, or all stand in one, separated by commas:\n"
	      "\n"
	      "    SPANPROF_CPU_HZ=199 SPANPROF_OUT=/tmp\n"
	      "    SPANPROF=cpu:hz=199,out=/tmp\n"
	      "\n"
	      "There, a comma in a value is written \\, and a backslash \\\\. A single\n"
	      "variable wins over SPANPROF. Switches take yes or no.\n",
	      stdout);
	for (size_t i = 0; (help = sp_options_help(i)) != NULL; i++) {
		const char *equals = help->value[0] != '\0' ? "=" : "";

		printf("\n%s%s%s, %s%s%s (default %s)\n", help->compact, equals,
		       help->value, help->environment, equals, help->value,
		       help->default_text);
		sp_cli_print_wrapped(help->meaning, 4);
	}
}

static void print_markdown(void)
{
	const struct sp_option_help *help;

	fputs("| In `SPANPROF` | Variable | Default | Meaning |\n"
	      "|---|---|---|---|\n",
	      stdout);
	for (size_t i = 0; (help = sp_options_help(i)) != NULL; i++) {
		const char *equals = help->value[0] != '\0' ? "=" : "";

		printf("| `%s%s%s` | `%s` | `%s` | ", help->compact, equals, help->value,
		       help->environment, help->default_text);
		for (const char *next = help->meaning; *next != '\0'; next++)
			printf("%s%c", *next == '|' ? "\\" : "", *next);
		fputs(" |\n", stdout);
	}
}

/* A hyphen that one types, not one that a formatter may turn into a dash. */
static void print_roff(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			fputs("\\e", stdout);
		else if (*text == '-')
			fputs("\\-", stdout);
		else
			putchar(*text);
	}
}

static void print_roff_name(const char *name, const char *value)
{
	fputs("\\fB", stdout);
	print_roff(name);
	fputs("\\fR", stdout);
	if (value[0] != '\0')
		printf("=\\fI%s\\fR", value);
}

static void print_man(void)
{
	const struct sp_option_help *help;

	for (size_t i = 0; (help = sp_options_help(i)) != NULL; i++) {
		fputs(".TP\n", stdout);
		print_roff_name(help->compact, help->value);
		fputs(", ", stdout);
		print_roff_name(help->environment, help->value);
		fputs(" (default ", stdout);
		print_roff(help->default_text);
		/* \& keeps a first dot or quote from being a request. */
		fputs(")\n\\&", stdout);
		print_roff(help->meaning);
		putchar('\n');
	}
}

static int run_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"markdown", no_argument, NULL, 'm'},
		{"man", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	void (*print)(void) = print_text;
	int letter;

	opterr = 0;
	while ((letter = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (letter == 'm')
			print = print_markdown;
		else if (letter == 'r')
			print = print_man;
		else
			return sp_cli_usage_option(&sp_cmd_options, letter, argv);
	}
	if (optind < argc)
		return sp_cli_usage(&sp_cmd_options, "\"%s\" is one too many",
				    argv[optind]);
	print();
	return SP_EXIT_OK;
}

const struct sp_command sp_cmd_options = {
	.name = "options",
	.arguments = "[--markdown | --man]",
	.summary = "List the options of the profiler, their defaults and meaning",
	.details = "  --markdown  as a table for a README\n"
		   "  --man       as a list for a man page\n",
	.run = run_options,
};

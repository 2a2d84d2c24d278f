/*
 * The spanprof command: finds the command in a table and runs it. Context: an
 * ordinary program of its own; invariant: whoever gets exit status 0 has got all
 * of the output, too.
 */
#include "sp_cli.h"
#include "sp_options_value.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct sp_command *const commands[] = {
	&sp_cmd_run,	 &sp_cmd_recover, &sp_cmd_delta,
	&sp_cmd_options, &sp_cmd_path,	  &sp_cmd_help,
};

#define WIDTH_COLUMNS 78

const struct sp_command *sp_command_at(size_t index)
{
	return index < SP_ARRAY_COUNT(commands) ? commands[index] : NULL;
}

const struct sp_command *sp_command_find(const char *name)
{
	const struct sp_command *nearest = commands[0];
	unsigned int nearest_distance = ~0U;

	for (size_t i = 0; i < SP_ARRAY_COUNT(commands); i++) {
		const char *known = commands[i]->name;
		unsigned int distance =
			sp_word_distance(name, strlen(name), known, strlen(known));

		if (strcmp(name, known) == 0)
			return commands[i];
		if (distance < nearest_distance) {
			nearest = commands[i];
			nearest_distance = distance;
		}
	}
	sp_cli_complain("unknown command \"%s\" (did you mean \"%s\"?); "
			"\"spanprof help\" lists all",
			name, nearest->name);
	return NULL;
}

void sp_cli_complain(const char *format, ...)
{
	va_list arguments;

	fputs("spanprof: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

int sp_cli_usage(const struct sp_command *command, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "spanprof %s: ", command->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\nusage: spanprof %s%s%s\n", command->name,
		command->arguments[0] ? " " : "", command->arguments);
	return SP_EXIT_USAGE;
}

int sp_cli_usage_option(const struct sp_command *command, int result, char **argv)
{
	/* optopt is 0 for an unknown long option, else the letter or code. */
	const char *option = argv[optind - 1];
	char letter[3] = {'-', (char)optopt, '\0'};

	if (optopt > ' ' && optopt < 0x7f && strncmp(option, "--", 2) != 0)
		option = letter;
	if (result == ':')
		return sp_cli_usage(command, "option %s needs a value", option);
	return sp_cli_usage(command, "option %s is unknown, or takes no value", option);
}

void sp_cli_print_wrapped(const char *text, int indent)
{
	size_t column = WIDTH_COLUMNS;

	while (*text != '\0') {
		size_t word_bytes = strcspn(text, " ");

		if (column + 1 + word_bytes > WIDTH_COLUMNS) {
			printf("%s%*s", column == WIDTH_COLUMNS ? "" : "\n", indent, "");
			column = (size_t)indent;
		} else {
			putchar(' ');
			column++;
		}
		printf("%.*s", (int)word_bytes, text);
		column += word_bytes;
		text += word_bytes;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static int print_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("spanprof " SP_VERSION);
	return SP_EXIT_OK;
}

/* Not in the list of commands. */
static const struct sp_command cmd_version = {.name = "--version", .run = print_version};

/* What the first argument asks for; NULL after a complaint. */
static const struct sp_command *choose(const char *word)
{
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
		return &cmd_version;
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return &sp_cmd_help;
	if (word[0] == '-') {
		sp_cli_complain(
			"unknown option %s; \"spanprof help\" tells what there is", word);
		return NULL;
	}
	return sp_command_find(word);
}

/* Files that we open must not take the place of a standard stream that was closed: what
 * is said would go into them. A program that is run finds it closed all the same. */
static void fill_standard_streams(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	} while (fd >= 0 && fd < STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

int main(int argc, char **argv)
{
	const struct sp_command *command;
	int status;

	fill_standard_streams();
	if (argc < 2) {
		sp_cli_complain("no command; \"spanprof help\" tells what there is");
		return SP_EXIT_USAGE;
	}
	command = choose(argv[1]);
	if (command == NULL)
		return SP_EXIT_USAGE;
	/* A limit on file sizes is then an error like a full disk, and no end without a
	 * word. Who runs a program sees to that itself. */
	if (command != &sp_cmd_run)
		signal(SIGXFSZ, SIG_IGN);
	if (argc == 3 && strcmp(argv[2], "--help") == 0)
		status = sp_cmd_help.run(2, (char *[]){argv[0], argv[1], NULL});
	else
		status = command->run(argc - 1, argv + 1);

	/* A full disk shows here, or nowhere. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		sp_cli_complain("cannot write to standard output: %s", strerror(errno));
		return status == SP_EXIT_OK ? SP_EXIT_FAILED : status;
	}
	return status;
}

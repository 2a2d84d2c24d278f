/*
 * spanprof help: what commands there are, and how to use one. Context: command.
 */
#include "sp_cli.h"

#include <stdio.h>
#include <string.h>

static void print_all(void)
{
	const struct sp_command *command;

	fputs("spanprof profiles unmodified native programs.\n"
	      "\n"
	      "Profile a program:\n"
	      "\n"
	      "    LD_PRELOAD=$(spanprof path) PROGRAM ARGUMENTS...\n"
	      "    go tool pprof -top PROGRAM.PID.cpu.pb.gz\n"
	      "\n"
	      "Commands:\n"
	      "\n",
	      stdout);
	for (size_t i = 0; (command = sp_command_at(i)) != NULL; i++)
		printf("    %-10s %s\n", command->name, command->summary);
	fputs("\n"
	      "\"spanprof help COMMAND\" says more about one, spanprof(1) about all.\n"
	      "\"spanprof --version\" prints the version.\n",
	      stdout);
}

static int run_help(int argc, char **argv)
{
	const struct sp_command *command;

	if (argc > 2)
		return sp_cli_usage(&sp_cmd_help, "one command at a time");
	if (argc < 2) {
		print_all();
		return SP_EXIT_OK;
	}
	command = sp_command_find(argv[1]);
	if (command == NULL)
		return SP_EXIT_USAGE;
	printf("usage: spanprof %s%s%s\n\n%s.\n%s%s", command->name,
	       command->arguments[0] ? " " : "", command->arguments, command->summary,
	       command->details[0] ? "\n" : "", command->details);
	return SP_EXIT_OK;
}

const struct sp_command sp_cmd_help = {
	.name = "help",
	.arguments = "[COMMAND]",
	.summary = "Say what commands there are, or how to use one",
	.details = "",
	.run = run_help,
};

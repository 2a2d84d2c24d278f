/*
 * Who is being recorded: what a reader of the recording needs to name its files
 * and to tell whether the process still runs. Context: collector.
 */
#include "sp_collector.h"

#include "sp_process_identity.h"
#include "sp_syscall.h"
#include "sp_text.h"

#include <fcntl.h>
#include <string.h>

static void copy_text(char *out, size_t out_bytes, const char *text)
{
	struct sp_text copy;

	sp_text_init(&copy, out, out_bytes);
	sp_text_string(&copy, text);
}

void sp_collector_identify(struct sp_recording *recording,
			   const struct sp_options *options, const char *program)
{
	struct sp_recording_header *header = recording->header;
	struct sp_process_identity identity;
	long length;

	sp_process_identity_read(&identity, (int)header->pid);
	header->pid_namespace = identity.pid_namespace;
	header->process_start_ticks = identity.start_ticks;
	header->boot_id_hash = identity.boot_id_hash;
	header->settings_hash = sp_options_hash(options);
	header->cpu_period_ns =
		options->is_cpu_enabled ? UINT64_C(1000000000) / options->cpu_hz : 0;
	copy_text(header->program, sizeof(header->program), program);
	copy_text(header->file_pattern, sizeof(header->file_pattern),
		  options->file_pattern);
	copy_text(header->out_dir, sizeof(header->out_dir), options->out_dir);
	/* A main thread that has ended has neither. */
	length = sp_syscall4(SYS_readlinkat, AT_FDCWD, "/proc/thread-self/exe",
			     header->exe_path, sizeof(header->exe_path) - 1);
	header->exe_path[length > 0 ? length : 0] = '\0';
	sp_process_read_file("/proc/thread-self/cmdline", header->command_line,
			     sizeof(header->command_line));
}

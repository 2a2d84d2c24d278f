/*
 * The name of a profile's file, from the user's pattern. Context: collector.
 * Invariant: what comes out is one path component, whatever the program or the
 * host is called.
 */
#include "sp_options.h"

#include "sp_text.h"

#include <errno.h>
#include <sys/utsname.h>

/* Text that somebody else chose. */
static void append_clean(struct sp_text *name, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char letter = (unsigned char)*text;

		sp_text_char(name, letter < ' ' || letter == 0x7f || letter == '/'
					   ? '_'
					   : *text);
	}
}

static void append_host(struct sp_text *name)
{
	struct utsname host;

	if (uname(&host) == 0 && host.nodename[0] != '\0')
		append_clean(name, host.nodename);
	else
		append_clean(name, "localhost");
}

/* Expands what follows a '%'. */
static int append_expanded(struct sp_text *name, char what, const char *program, int pid,
			   uint64_t start_ns)
{
	switch (what) {
	case 'e':
		append_clean(name, *program != '\0' ? program : "unknown");
		return 0;
	case 'p':
		sp_text_decimal(name, (unsigned int)pid);
		return 0;
	case 't':
		sp_text_decimal(name, start_ns);
		return 0;
	case 'h':
		append_host(name);
		return 0;
	case '%':
		sp_text_char(name, '%');
		return 0;
	default: /* the NUL after a last '%', too */
		return -EINVAL;
	}
}

int sp_options_file_name(const char *pattern, const char *program, int pid,
			 uint64_t start_ns, const char *kind, const char *extension,
			 char *out, size_t out_bytes)
{
	struct sp_text name;
	int err = 0;

	if (out_bytes == 0)
		return -ENAMETOOLONG;
	sp_text_init(&name, out, out_bytes > NAME_MAX + 1 ? NAME_MAX + 1 : out_bytes);

	for (const char *next = pattern; *next != '\0' && !err; next++) {
		if (*next == '/')
			err = -EINVAL;
		else if (*next == '%')
			err = append_expanded(&name, *++next, program, pid, start_ns);
		else
			sp_text_char(&name, *next);
	}
	sp_text_char(&name, '.');
	append_clean(&name, kind);
	sp_text_char(&name, '.');
	append_clean(&name, extension);
	if (!err && name.is_cut)
		err = -ENAMETOOLONG;
	if (err)
		out[0] = '\0';
	return err;
}

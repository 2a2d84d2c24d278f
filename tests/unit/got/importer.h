/* What the test calls of an importing module. */
#ifndef IMPORTER_H
#define IMPORTER_H

struct importer {
	/* Each calls target(), in another way. */
	int (*call)(void);
	int (*call_variable)(void); /* a pointer that the module may change */
	int (*call_constant)(void); /* one that it may not */
	int (*call_address)(void);
	int (*call_old_version)(void); /* versioned@OLD */
	int (*has_missing)(void);      /* whether a weak function is there */
};

/* Of the module that the test is linked to. */
extern const struct importer startup_importer;

#endif

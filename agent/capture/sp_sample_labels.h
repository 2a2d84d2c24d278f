/*
 * What a sample carries besides its thread's span: what sources of spans read of the
 * thread and the process at that very moment, such as their names. Context: signal, on
 * the thread that is sampled, unless said otherwise.
 */
#ifndef SP_SAMPLE_LABELS_H
#define SP_SAMPLE_LABELS_H

#include <stdbool.h>
#include <stdint.h>

struct sp_slot;
struct sp_span_labels;

/*
 * The label set of a sample: label_set, that of its span, with what the sources add.
 * slot: the thread's own; NULL (it has none): it gets no names. now_cycles:
 * sp_clock_cycles().
 */
uint32_t sp_sample_label_set(struct sp_slot *slot, uint32_t label_set,
			     uint64_t now_cycles);

/* --- for sources --- */

enum sp_sample_name { SP_SAMPLE_THREAD_NAME, SP_SAMPLE_PROCESS_TITLE, SP_SAMPLE_NAMES };

/* With the NUL at its end. */
#define SP_SAMPLE_NAME_BYTES 64U

/*
 * Context: init, or in a fork child whose recording has just begun. read() says what the
 * calling thread, or its process, is called; false: nothing. It may make system
 * calls, as nobody calls it more often than about ten times a millisecond for each
 * thread. A title on a sample is no older than that; so is a thread's name, but one
 * that changed with nobody telling us is up to a second old.
 */
void sp_sample_name_source(enum sp_sample_name which,
			   bool (*read)(char text[SP_SAMPLE_NAME_BYTES]));

/* Context: hook; keeps errno. A thread of the process may have been given a name. */
void sp_sample_thread_name_changed(void);

#define SP_SAMPLE_LABEL_SOURCES_MAX 2U

/*
 * Context: init, or in a fork child whose recording has just begun; again is nothing.
 * has_any() is asked at every sample, and add() then called if there are labels perhaps;
 * true: it added some, by sp_sample_label_add(). Of two sources with a label of one key
 * that which came first counts.
 */
void sp_sample_label_source(bool (*has_any)(void),
			    bool (*add)(struct sp_span_labels *labels));

/* Texts of the recording; 0: there was no room for one. */
struct sp_sample_label {
	uint32_t key, value;
};

struct sp_sample_label sp_sample_label_of(const char *key, const char *value);

/* False: there is no room, or a label of that key is there already, which stays. */
bool sp_sample_label_put(struct sp_span_labels *labels, struct sp_sample_label label);

/* Both. */
bool sp_sample_label_add(struct sp_span_labels *labels, const char *key,
			 const char *value);

#endif

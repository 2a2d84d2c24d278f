/*
 * Interrupting a change at each of its instructions, one in each turn: the processor's
 * single-step flag runs a handler after an instruction. What earlier turns have stepped
 * through runs at full speed, up to a breakpoint.
 */
#ifndef TEST_STEPS_FIXTURE_H
#define TEST_STEPS_FIXTURE_H

#include "sp_pages.h"

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

/* More than any change takes, where spans and names are known. */
#define STEPS_MAX 20000U

/* Sanitized changes take many times as many instructions, most of which are not ours:
 * minutes, if each of them is met. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#define IS_SANITIZED __has_feature(address_sanitizer)
#else
#define IS_SANITIZED 0
#endif
#define EACH (IS_SANITIZED ? 37U : 1U)

/* Those where the steps begin are not run without them. */
#define STEPS_FIRST 16U
#define STEP_FLAG 0x100
#define BREAKPOINT 0xcc

/* Where a change was after so many steps, the last time. */
struct way {
	void (*change)(void);
	uint32_t known;
	uint64_t places[STEPS_MAX];
};
static struct way ways[2];

static struct way *way; /* of the change at work */
static volatile uint32_t steps, act_at;
static void (*volatile act)(void);
/* In this turn: the action was run; a change did not come by the breakpoint. */
static volatile bool has_met, has_missed;
static bool is_slow; /* no breakpoint in this turn */
static volatile bool is_inside;

/* NULL: none. It is met at step break_steps, when it was met so many times. */
static uint8_t *volatile break_at;
static uint8_t broken_byte;
static volatile uint32_t break_meetings, break_steps;
static volatile bool is_passing;

static void put_breakpoint(uint8_t *place)
{
	broken_byte = *place;
	*(volatile uint8_t *)place = BREAKPOINT;
	break_at = place;
}

static void take_breakpoint(void)
{
	uint8_t *place = break_at;

	break_at = NULL;
	if (place)
		*(volatile uint8_t *)place = broken_byte;
}

/* What comes after the action need not be met. */
static void act_at_step(greg_t *flags)
{
	if (steps != act_at)
		return;
	*flags &= ~STEP_FLAG;
	has_met = true;
	act();
}

static uint8_t *passed;

static void on_breakpoint(greg_t *registers)
{
	passed = break_at;
	take_breakpoint();
	registers[REG_RIP]--;
	registers[REG_EFL] |= STEP_FLAG;
	is_passing = --break_meetings > 0;
	if (is_passing)
		return;
	steps = break_steps;
	act_at_step(&registers[REG_EFL]);
}

static void on_step(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)number;
	(void)info;
	if (break_at && registers[REG_RIP] - 1 == (greg_t)(uintptr_t)break_at) {
		on_breakpoint(registers);
	} else if (!is_inside) {
		registers[REG_EFL] &= ~STEP_FLAG;
	} else if (is_passing) {
		registers[REG_EFL] &= ~STEP_FLAG;
		put_breakpoint(passed);
	} else if (++steps < STEPS_MAX) {
		way->places[steps] = (uint64_t)registers[REG_RIP];
		if (way->known < steps)
			way->known = steps;
		act_at_step(&registers[REG_EFL]);
	}
}

/* Past the red zone. */
#define SET_FLAGS(operation)                                                             \
	__asm__ volatile("leaq -128(%%rsp), %%rsp\n\t"                                   \
			 "pushfq\n\t" operation "\n\t"                                   \
			 "popfq\n\t"                                                     \
			 "leaq 128(%%rsp), %%rsp"                                        \
			 :                                                               \
			 :                                                               \
			 : "memory", "cc")

static inline void begin_steps(void)
{
	SET_FLAGS("orq $0x100, (%%rsp)");
}

static inline void end_steps(void)
{
	SET_FLAGS("andq $~0x100, (%%rsp)");
}

/* Of this program's code, not of libraries. */
extern uint8_t __executable_start, etext;

static inline void steps_begin(void)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	uintptr_t low = (uintptr_t)&__executable_start & ~(SP_PAGE_BYTES - 1);

	memset(ways, 0, sizeof(ways));
	has_met = has_missed = is_slow = false;
	ck_assert_int_eq(mprotect((void *)low, (uintptr_t)&etext - low,
				  PROT_READ | PROT_WRITE | PROT_EXEC),
			 0);
	sigaction(SIGTRAP, &action, NULL);
}

static inline struct way *way_of(void (*change)(void))
{
	struct way *found =
		ways[0].change && ways[0].change != change ? &ways[1] : &ways[0];

	ck_assert(!found->change || found->change == change);
	found->change = change;
	return found;
}

static inline bool is_in_program(uint64_t place)
{
	return place >= (uintptr_t)&__executable_start && place < (uintptr_t)&etext;
}

/* False: not this time. What a sanitizer has put into changes is in the handler, too. */
static inline bool run_to_breakpoint(uint32_t at)
{
	uint32_t step = at < way->known ? at : way->known;

	if (IS_SANITIZED)
		return false;
	while (step > STEPS_FIRST && !is_in_program(way->places[step]))
		step--;
	if (is_slow || step <= STEPS_FIRST)
		return false;
	break_steps = step;
	break_meetings = 0;
	for (uint32_t i = 1; i <= step; i++)
		break_meetings += way->places[i] == way->places[step];
	put_breakpoint((uint8_t *)way->places[step]);
	return true;
}

/* Runs change(), and action() at its instruction number at. False: action() was not run.
 */
static inline bool interrupt(void (*change)(void), void (*action)(void), uint32_t at)
{
	bool had_met = has_met, is_met;

	way = way_of(change);
	if (is_slow)
		way->known = 0;
	steps = 0;
	act_at = at;
	act = action;
	has_met = is_passing = false;
	is_inside = true;
	if (!run_to_breakpoint(at))
		begin_steps();
	change();
	is_inside = false;
	end_steps();
	has_missed |= break_at != NULL;
	take_breakpoint();
	ck_assert_uint_lt(steps, STEPS_MAX);
	is_met = has_met;
	has_met |= had_met;
	return is_met;
}

/* The number after that, 0 when no change has so many. The same again, slowly, where one
 * went another way than before. */
static inline uint32_t next_step(uint32_t at)
{
	bool has_more = has_met || has_missed;

	is_slow = has_missed;
	has_met = has_missed = false;
	if (!has_more)
		return 0;
	return is_slow ? at : at + EACH;
}

#endif

/*
 * The part of classic BPF that the kernel takes for seccomp. Jumps go forward only,
 * so every run ends. Context: signal.
 */
#include "sp_seccomp_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>

/* The verdicts that newer kernels know. */
#ifndef SECCOMP_RET_LOG
#define SECCOMP_RET_LOG 0x7ffc0000U
#endif

struct machine {
	uint32_t a, x;
	uint32_t memory[BPF_MEMWORDS];
	struct seccomp_data data;
};

static uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b)
{
	switch (operation) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return b ? a / b : 0;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return a << (b & 31);
	case BPF_RSH:
		return a >> (b & 31);
	default: /* BPF_NEG */
		return 0 - a;
	}
}

static bool holds(uint16_t condition, uint32_t a, uint32_t b)
{
	switch (condition) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	default: /* BPF_JSET */
		return (a & b) != 0;
	}
}

/* BPF_LD and BPF_LDX; false where the kernel knows no such load. */
static bool load(const struct machine *machine, const struct sock_filter *step,
		 uint32_t *value)
{
	switch (BPF_MODE(step->code)) {
	case BPF_ABS:
		if (step->k % 4 || step->k >= sizeof(machine->data))
			return false;
		memcpy(value, (const char *)&machine->data + step->k, sizeof(*value));
		return true;
	case BPF_IMM:
		*value = step->k;
		return true;
	case BPF_MEM:
		if (step->k >= BPF_MEMWORDS)
			return false;
		*value = machine->memory[step->k];
		return true;
	case BPF_LEN:
		*value = sizeof(machine->data);
		return true;
	default:
		return false;
	}
}

/* Everything but jumps and returns. */
static bool compute(struct machine *machine, const struct sock_filter *step)
{
	uint32_t operand = BPF_SRC(step->code) == BPF_X ? machine->x : step->k;
	bool is_known = true;

	switch (BPF_CLASS(step->code)) {
	case BPF_LD:
		return load(machine, step, &machine->a);
	case BPF_LDX:
		return load(machine, step, &machine->x);
	case BPF_ST:
	case BPF_STX:
		is_known = step->k < BPF_MEMWORDS;
		if (is_known)
			machine->memory[step->k] =
				BPF_CLASS(step->code) == BPF_ST ? machine->a : machine->x;
		return is_known;
	case BPF_ALU:
		machine->a = calculate(BPF_OP(step->code), machine->a, operand);
		return true;
	default: /* BPF_MISC */
		if (BPF_MISCOP(step->code) == BPF_TXA)
			machine->a = machine->x;
		else
			machine->x = machine->a;
		return true;
	}
}

/* How many instructions to leave out. */
static uint32_t jump(const struct machine *machine, const struct sock_filter *step)
{
	uint32_t operand = BPF_SRC(step->code) == BPF_X ? machine->x : step->k;

	if (BPF_OP(step->code) == BPF_JA)
		return step->k;
	return holds(BPF_OP(step->code), machine->a, operand) ? step->jt : step->jf;
}

uint32_t sp_seccomp_filter_run(const struct sock_filter *filter, uint32_t length,
			       uint32_t system_call)
{
	struct machine machine = {
		.data = {.nr = (int)system_call, .arch = AUDIT_ARCH_X86_64},
	};

	for (uint64_t at = 0; at < length; at++) {
		const struct sock_filter *step = &filter[at];

		if (BPF_CLASS(step->code) == BPF_RET)
			return BPF_RVAL(step->code) == BPF_A ? machine.a : step->k;
		if (BPF_CLASS(step->code) == BPF_JMP)
			at += jump(&machine, step);
		else if (!compute(&machine, step))
			break;
	}
	return SECCOMP_RET_KILL_PROCESS;
}

bool sp_seccomp_is_survivable(uint32_t verdict)
{
	uint32_t action = verdict & SECCOMP_RET_ACTION_FULL;

	/* Not a trap or a tracer: whoever waits there expects the program's calls. */
	return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG ||
	       action == SECCOMP_RET_ERRNO;
}

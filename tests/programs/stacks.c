/*
 * stacks MODE [CPU_MS]: burns on stacks of unusual kinds. Tells its own CPU; a
 * program that breaks under sampling crashes here.
 */
#include "burn.h"

#include <alloca.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define SMALL_STACK_BYTES (16 * 1024)
#define COROUTINES 8
#define RECURSION_FRAMES 10000
#define JIT_FUNCTION_BYTES 32
#define JIT_FUNCTIONS_MAX 100

static int64_t cpu_ns;
static ucontext_t main_context, coroutines[COROUTINES];
static int finished_coroutines;
static volatile sig_atomic_t handled_signals;

NOINLINE void altstack_work(int number);
NOINLINE void coroutine_work(int index);
NOINLINE void deep_work(int frames_left);
NOINLINE void nearly_full_work(size_t taken_bytes);

/* Leaves only about 1 KiB of the thread's stack to whoever interrupts it. */
void nearly_full_work(size_t taken_bytes)
{
	volatile char *taken = alloca(taken_bytes);

	taken[0] = 1;
	taken[taken_bytes - 1] = 1;
	burn_here(cpu_ns);
	taken[0] = taken[taken_bytes - 1];
}

static void *small_thread(void *left_bytes)
{
	pthread_attr_t attributes;
	char *low;
	size_t bytes;

	pthread_getattr_np(pthread_self(), &attributes);
	pthread_attr_getstack(&attributes, (void **)&low, &bytes);
	pthread_attr_destroy(&attributes);
	nearly_full_work((size_t)((char *)__builtin_frame_address(0) - low) -
			 (size_t)(uintptr_t)left_bytes);
	return NULL;
}

static int run_small_thread(size_t left_bytes)
{
	pthread_attr_t attributes;
	pthread_t id;
	int error;

	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, SMALL_STACK_BYTES) != 0)
		return 3;
	error = pthread_create(&id, &attributes, small_thread, (void *)left_bytes);
	if (error != 0)
		return 4;
	return pthread_join(id, NULL);
}

void altstack_work(int number)
{
	(void)number;
	burn_here(cpu_ns / 4);
	handled_signals++;
}

/* The kernel refuses stacks that can't take its frame; 2 KiB only where it may. */
static int run_on_altstack(size_t bytes)
{
	char *memory = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = {.ss_sp = memory, .ss_size = bytes};
	struct sigaction action = {.sa_handler = altstack_work, .sa_flags = SA_ONSTACK};

	if (sigaltstack(&stack, NULL) != 0)
		return 77;
	sigaction(SIGUSR1, &action, NULL);
	/* The alternate stack is set while sampled code runs; only then used. */
	burn(cpu_ns);
	if (bytes >= 8192) {
		for (int i = 0; i < 4; i++)
			raise(SIGUSR1);
		tell("handled", handled_signals);
	}
	return 0;
}

void coroutine_work(int index)
{
	for (int i = 0; i < 10; i++) {
		burn_here(cpu_ns / (10 * COROUTINES));
		swapcontext(&coroutines[index], &main_context);
	}
	finished_coroutines++;
}

static int run_coroutines(void)
{
	for (int i = 0; i < COROUTINES; i++) {
		getcontext(&coroutines[i]);
		coroutines[i].uc_stack.ss_sp =
			mmap(NULL, SMALL_STACK_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
		coroutines[i].uc_stack.ss_size = SMALL_STACK_BYTES;
		coroutines[i].uc_link = &main_context;
		makecontext(&coroutines[i], (void (*)(void))coroutine_work, 1, i);
	}
	for (int turn = 0; turn < 11; turn++) {
		for (int i = 0; i < COROUTINES; i++)
			swapcontext(&main_context, &coroutines[i]);
	}
	tell("finished", finished_coroutines);
	return finished_coroutines == COROUTINES ? 0 : 5;
}

void deep_work(int frames_left)
{
	if (frames_left > 0)
		deep_work(frames_left - 1);
	else
		burn_here(cpu_ns);
	/* Work after the call: no tail call. */
	handled_signals = frames_left;
}

/*
 * What a JIT makes: code without unwind tables, with frame pointers.
 *   push rbp; mov rbp,rsp; call burn through rax; pop rbp; ret
 * burn's argument in rdi stays as it is. That many, each calling the next: a chain to
 * walk.
 */
static int run_jit(int functions)
{
	unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0,	  0,	0,
				0,    0,    0,	  0,	0,    0xff, 0xd0, 0x5d, 0xc3};
	int64_t (*target)(int64_t) = burn;
	int64_t (*outer)(int64_t);
	unsigned char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = functions - 1; i >= 0; i--) {
		memcpy(code + 6, &target, sizeof(target));
		memcpy(memory + i * JIT_FUNCTION_BYTES, code, sizeof(code));
		target =
			(int64_t(*)(int64_t))(uintptr_t)(memory + i * JIT_FUNCTION_BYTES);
	}
	if (mprotect(memory, 4096, PROT_READ | PROT_EXEC) != 0)
		return 6;
	outer = (int64_t(*)(int64_t))(uintptr_t)memory;
	return outer(cpu_ns) >= cpu_ns ? 0 : 7;
}

/* Endless work inside the jitted code itself: loop: dec rdi; jnz loop; ret */
static int run_jit_leaf(void)
{
	static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xff,
					     0xcf, 0x75, 0xfb, 0x5d, 0xc3};
	unsigned char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t start_ns = thread_cpu_ns();
	void (*leaf)(int64_t);

	memcpy(memory, code, sizeof(code));
	if (mprotect(memory, 4096, PROT_READ | PROT_EXEC) != 0)
		return 6;
	leaf = (void (*)(int64_t))(uintptr_t)memory;
	while (thread_cpu_ns() - start_ns < cpu_ns)
		leaf(1000000);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "small";
	int status = 2;

	cpu_ns = number_argument(argc, argv, 2, 500) * NS_PER_MS;
	/* Binds what burn() calls here, where the loader has stack for it. */
	burn(1);
	if (strcmp(mode, "small") == 0)
		status = run_small_thread(1024);
	else if (strcmp(mode, "small_roomy") == 0)
		status = run_small_thread(8192);
	else if (strcmp(mode, "altstack_2k") == 0)
		status = run_on_altstack(2048);
	else if (strcmp(mode, "altstack_8k") == 0)
		status = run_on_altstack(8192);
	else if (strcmp(mode, "coroutines") == 0)
		status = run_coroutines();
	else if (strcmp(mode, "deep") == 0)
		deep_work(RECURSION_FRAMES), status = 0;
	else if (strcmp(mode, "jit") == 0)
		status = run_jit(2);
	else if (strcmp(mode, "jit_chain") == 0)
		status = run_jit(JIT_FUNCTIONS_MAX);
	else if (strcmp(mode, "jit_leaf") == 0)
		status = run_jit_leaf();
	tell("self_cpu_ns", process_cpu_ns());
	return status;
}

/*
 * Guarded access to our own memory. Context: collector, init, unless said otherwise;
 * keeps errno. Reads use process_vm_readv(), or /proc where a sandbox forbids it; both
 * by way of the calling thread, as a main thread that has ended has no memory.
 *
 * Neither of the two promises that a write of eight bytes is one store: the kernel
 * copies them as a string. So a store goes by way of a register that user space on
 * x86-64 Linux has no use for: arch_prctl() sets the base of GS and then puts it,
 * in a single move that may fault, where we want it.
 */
#include "sp_guarded.h"

#include "sp_compiler.h"
#include "sp_syscall.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

/* Where a sandbox forbids process_vm_readv(). */
static SP_COLD bool read_proc_mem(uint64_t address, void *buffer, size_t size_bytes)
{
	long fd = sp_syscall3(SYS_open, "/proc/thread-self/mem", O_RDONLY | O_CLOEXEC, 0);
	size_t done = 0;

	if (fd < 0)
		return false;
	while (done < size_bytes) {
		long got = sp_syscall4(SYS_pread64, fd, (char *)buffer + done,
				       size_bytes - done, address + done);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	sp_syscall1(SYS_close, fd);
	return done == size_bytes;
}

static bool is_forbidden(long result)
{
	return result == -ENOSYS || result == -EPERM;
}

bool sp_guarded_read(uint64_t address, void *buffer, size_t size_bytes)
{
	struct iovec local = {buffer, size_bytes};
	struct iovec remote = {(void *)(uintptr_t)address, size_bytes};
	long got = sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_gettid),
			       (long)&local, 1, (long)&remote, 1, 0);

	if (is_forbidden(got))
		return read_proc_mem(address, buffer, size_bytes);
	return got == (long)size_bytes;
}

static SP_COLD bool read_one_by_one(const uint64_t *addresses, uint32_t count,
				    void *buffer, size_t size_bytes)
{
	for (uint32_t i = 0; i < count; i++) {
		if (!sp_guarded_read(addresses[i], (char *)buffer + i * size_bytes,
				     size_bytes))
			return false;
	}
	return true;
}

bool sp_guarded_read_pieces(const uint64_t *addresses, uint32_t count, void *buffer,
			    size_t size_bytes)
{
	struct iovec local = {buffer, count * size_bytes};
	struct iovec remote[SP_GUARDED_PIECES_MAX];
	long got;

	for (uint32_t i = 0; i < count; i++)
		remote[i] = (struct iovec){(void *)(uintptr_t)addresses[i], size_bytes};
	got = sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_gettid), (long)&local, 1,
			  (long)remote, (long)count, 0);
	if (is_forbidden(got))
		return read_one_by_one(addresses, count, buffer, size_bytes);
	return got == (long)(count * size_bytes);
}

bool sp_guarded_gather(const struct iovec *pieces, uint32_t count, void *buffer)
{
	struct iovec local = {buffer, 0};

	for (uint32_t i = 0; i < count; i++)
		local.iov_len += pieces[i].iov_len;
	return sp_syscall6(SYS_process_vm_readv, sp_syscall0(SYS_gettid), (long)&local, 1,
			   (long)pieces, (long)count, 0) == (long)local.iov_len;
}

int sp_guarded_store(uint64_t address, uint64_t value)
{
	uint64_t before;
	long err = sp_syscall2(SYS_arch_prctl, ARCH_GET_GS, &before);

	if (err)
		return (int)err;
	err = sp_syscall2(SYS_arch_prctl, ARCH_SET_GS, value);
	if (err)
		return (int)err;
	err = sp_syscall2(SYS_arch_prctl, ARCH_GET_GS, address);
	sp_syscall2(SYS_arch_prctl, ARCH_SET_GS, before);
	return (int)err;
}

// A program of Go and C: many goroutines that change threads, stacks that grow and move,
// garbage collection with its signals, a fault that is recovered from, a child, and at
// last an end that no library sees. What it prints is always the same.
package main

/*
#include <stdint.h>
#include <time.h>

static int64_t thread_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

__attribute__((noinline)) int64_t burn_in_c(int64_t cpu_ns)
{
	int64_t end_ns = thread_ns() + cpu_ns, rounds = 0;

	while (thread_ns() < end_ns)
		for (int i = 0; i < 10000; i++)
			__asm__ volatile("" : "+r"(i));
	return rounds;
}
*/
import "C"

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
)

func fibonacci(n int) int {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}

// Needs a stack of about a megabyte, which Go moves while it grows.
func deep(n int) int {
	var frame [16]int

	if n == 0 {
		return 0
	}
	frame[n%16] = n
	return deep(n-1) + frame[n%16]
}

func work(i int) int {
	m := map[int]string{}
	for k := 0; k < 5000; k++ {
		m[k] = fmt.Sprint(k)
	}
	runtime.GC()
	return fibonacci(31+i%3) + deep(5000) + len(m) + int(C.burn_in_c(20000000))
}

func fault() {
	defer func() { fmt.Println("recovered:", recover()) }()
	var nothing *int
	fmt.Println(*nothing)
}

func main() {
	var all sync.WaitGroup
	results := make([]int, 16)

	for i := range results {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			results[i] = work(i)
		}(i)
	}
	all.Wait()
	fmt.Println(results)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)

	fault()
	output, err := exec.Command("/bin/echo", "child").Output()
	fmt.Printf("%s%v\n", output, err)

	// Threads that end with their goroutine.
	for i := 0; i < 20; i++ {
		all.Add(1)
		go func() {
			runtime.LockOSThread()
			C.burn_in_c(1000000)
			all.Done()
		}()
	}
	all.Wait()
	os.Exit(5)
}

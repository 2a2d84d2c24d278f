/*
 * Language runtimes under the agent: interpreters, JIT compilers, many threads
 * that the program never made itself.
 */
#include "real_program.h"

#include <stdio.h>
#include <stdlib.h>

START_TEST(python_runs_unchanged)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("python3")))
		return;
	victim = real_program_compare(
		"/usr/bin/python3 -c \"\n"
		"import json, sys, threading, subprocess, multiprocessing, signal\n"
		"def work(n):\n"
		"    d = {str(i): [i, i * 2, {'k': 'v' * (i % 10)}] for i in range(n)}\n"
		"    s = json.dumps(d, sort_keys=True)\n"
		"    return len(s), sum(len(x) for x in json.loads(s))\n"
		"def child(n):\n"
		"    return work(n)[0]\n"
		"r = []\n"
		"ts = [threading.Thread(target=lambda: r.append(work(60000))) for _ in "
		"range(4)]\n"
		"[t.start() for t in ts]; [t.join() for t in ts]\n"
		"print(sorted(r))\n"
		"p = multiprocessing.Pool(2); print(p.map(child, [10000, 20000, "
		"30000]))\n"
		"p.close(); p.join()\n"
		"print(subprocess.run(['/bin/echo', 'sub'], "
		"capture_output=True).stdout)\n"
		"signal.signal(signal.SIGALRM, lambda *a: print('alarm'))\n"
		"signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()\n"
		"sys.exit(9)\"; echo $?");
	real_program_assert_largest(victim, "python3*.cpu.pb.gz", 3,
				    NAMES("_PyEval_EvalFrameDefault"));
	victim_free(victim);
}
END_TEST

START_TEST(node_runs_unchanged)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("node")))
		return;
	victim = real_program_compare(
		"cat >t.js <<'EOF'\n"
		"const { Worker, isMainThread, parentPort } = "
		"require('worker_threads');\n"
		"function work(n) { let o = {}; for (let i = 0; i < n; i++) "
		"o['k' + i % 5000] = (o['k' + i % 5000] || 0) + i % 7;\n"
		"  return JSON.stringify(o).length; }\n"
		"if (isMainThread) {\n"
		"  const w = new Worker(__filename);\n"
		"  w.on('message', m => { console.log('worker', m); });\n"
		"  w.on('exit', () => {\n"
		"    require('zlib').gzip(Buffer.alloc(5000000, 'abc'), (e, b) => {\n"
		"      console.log(b.length > 100, work(3000000));\n"
		"      console.log(require('child_process').execSync('/bin/echo "
		"sub').toString());\n"
		"      process.exitCode = 6; }); });\n"
		"} else parentPort.postMessage(work(2000000));\n"
		"EOF\n"
		"node t.js; echo $?");
	real_program_assert_largest(victim, "node*.cpu.pb.gz", 1, NAMES("v8"));
	victim_free(victim);
}
END_TEST

START_TEST(java_runs_unchanged)
{
	struct victim *victim;

	if (!real_program_has_commands(NAMES("java")) ||
	    system("java --list-modules 2>/dev/null | grep -q '^jdk.compiler'") != 0) {
		printf("no java that runs a source file: skipped\n");
		return;
	}
	victim = real_program_compare(
		"cat >T.java <<'EOF'\n"
		"import java.util.*; import java.util.stream.*;\n"
		"public class T {\n"
		"  static long work(int n) { Map<Integer, String> m = new HashMap<>();\n"
		"    for (int i = 0; i < n; i++) m.merge(i % 1000, \"x\", (a, b) -> "
		"a.length() > 50 "
		"? \"\" : a + b);\n"
		"    return m.values().stream().mapToLong(String::length).sum(); }\n"
		"  public static void main(String[] a) throws Exception {\n"
		"    System.out.println(work(3000000));\n"
		"    Thread[] t = new Thread[4]; long[] r = new long[4];\n"
		"    for (int i = 0; i < 4; i++) { int k = i; t[i] = new Thread(() -> "
		"r[k] = "
		"work(1000000)); t[i].start(); }\n"
		"    for (Thread x : t) x.join();\n"
		"    System.out.println(Arrays.toString(r));\n"
		"    System.gc(); System.exit(8); } }\n"
		"EOF\n"
		/* Compiled code keeps a frame pointer only if asked. */
		"java -Xmx256m -XX:+PreserveFramePointer T.java; echo $?");
	real_program_assert_largest(victim, "java*.cpu.pb.gz", 1,
				    NAMES("JavaCalls", "JavaMain"));
	victim_free(victim);
}
END_TEST

static void add(TCase *tcase)
{
	tcase_add_test(tcase, python_runs_unchanged);
	tcase_add_test(tcase, node_runs_unchanged);
	tcase_add_test(tcase, java_runs_unchanged);
}

int main(void)
{
	return victim_main("real_languages", add);
}

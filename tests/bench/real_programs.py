"""The real programs that are measured, and their inputs.

What a program prints must be the same under every variant: if not, the run failed.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time

from harness import BARE, Failed, Measurements, Paths, Process, run

CXX = "g++"


class Program:
    """argv and environment, run to its end; the CPU is that of its process tree."""

    def __init__(self, name, argv, environment=None, is_output_fixed=True):
        self.name = name
        self.argv = argv
        self.environment = environment
        self.is_output_fixed = is_output_fixed
        self.usual_output = None

    @property
    def is_available(self):
        return bool(self.argv[0]) and shutil.which(self.argv[0]) is not None

    @property
    def is_position_independent(self):
        """Of the program's own file, as the ELF header says."""
        with open(shutil.which(self.argv[0]), "rb") as file:
            return file.read(18)[16] == 3

    def measure(self, variant):
        result = run(self.argv, variant, self.environment)
        if self.is_output_fixed:
            if self.usual_output is None:
                usual = result if variant.name == BARE.name else run(self.argv, BARE,
                                                                     self.environment)
                self.usual_output = usual.output
            if result.output != self.usual_output:
                raise Failed(f"{self.name} printed something else")
        return result


class OpensslSpeed(Program):
    """Its time is fixed, the work is not: CPU for each unit of work. The time is that of
    the clock, of which runs that share a processor get a part each: enough of it that a
    start and an end count as little as they do in the other programs."""

    def measure(self, variant):
        result = super().measure(variant)
        # "+R:COUNT:..." a test.
        counts = [int(line.split(":")[1]) for line in result.errors.splitlines()
                  if line.startswith("+R:")]
        if not counts:
            raise Failed(f"{self.name} measured nothing")
        result.cpu_s /= sum(counts)
        return result


class Redis(Program):
    """A fixed number of requests; the CPU is the server's, not the client's."""

    def __init__(self, name, tests, requests):
        super().__init__(name, ["redis-server"])
        self.tests = tests
        self.requests = requests

    @property
    def is_available(self):
        return super().is_available and shutil.which("redis-benchmark") is not None

    def measure(self, variant):
        with tempfile.TemporaryDirectory(dir=Paths.work()) as folder:
            # Short: a socket's path has its limit. Others may be measured at the same time.
            socket = os.path.join(tempfile.gettempdir(),
                                  f"spanprof-bench.{threading.get_native_id()}")
            server = Process(["redis-server", "--port", "0", "--unixsocket", socket, "--save",
                              "", "--appendonly", "no", "--dir", folder], variant, folder)
            try:
                self.load(["redis-cli", "-s", socket], socket)
            except Failed as failure:
                server.kill()
                with contextlib.suppress(Failed):
                    server.finish()
                raise Failed(f"{failure}; its status is {server.process.returncode}") from None
            return server.finish()

    def load(self, client, socket):
        for _ in range(200):
            if subprocess.run(client + ["ping"], capture_output=True).stdout == b"PONG\n":
                break
            time.sleep(0.05)
        else:
            raise Failed("redis-server does not answer")
        if subprocess.run(["redis-benchmark", "-s", socket, "-t", self.tests, "-P", "16",
                           "-n", str(self.requests), "-r", "100000", "-d", "64", "-q"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            raise Failed("redis-benchmark failed")
        subprocess.run(client + ["shutdown", "nosave"], capture_output=True)


def python_program(rounds, environment=None):
    code = ("import json\n"
            f"for r in range({rounds}):\n"
            "    d = {str(i): [i, {'k': 'v' * (i % 10)}] for i in range(20000)}\n"
            "    s = json.dumps(d); assert len(json.loads(s)) == 20000\n"
            "print(len(s))\n")
    # Else each run has its dictionaries in another order, and its own time.
    environment = dict(environment or {}, PYTHONHASHSEED="0")
    return Program("python3", ["/usr/bin/python3", "-c", code], environment)


def cpu_programs():
    return [
        Redis("redis", "set,get,lpush,zadd", 300000),
        python_program(60),
        Program("g++", [CXX, "-O2", "-c", Paths.work("large.cc"), "-o", "large.o"]),
        OpensslSpeed("openssl", ["openssl", "speed", "-mr", "-seconds", "6", "-bytes", "4096",
                                 "-evp", "sha256"], is_output_fixed=False),
        Program("xz", ["xz", "-T1", "-5", "-k", "-c", Paths.work("numbers")]),
    ]


def heap_programs():
    compiler = ""
    if shutil.which(CXX):
        compiler = subprocess.run([CXX, "-print-prog-name=cc1plus"], capture_output=True,
                                  text=True, check=True).stdout.strip()
    query = ('[.[] | {id, n: (.tags | length), s: (.name | ascii_upcase), '
             't: (.tags | join(","))}] | group_by(.n) | '
             'map({n: .[0].n, c: length, l: (map(.s | length) | add)})')
    return [
        Redis("redis-set", "set", 1200000),
        Redis("redis-lpush", "lpush", 2000000),
        python_program(45, {"PYTHONMALLOC": "malloc"}),
        Program("cc1plus", [compiler, "-quiet", "-O1", Paths.work("small.ii"), "-o",
                            "/dev/stdout"]),
        Program("sqlite3", ["sqlite3", ":memory:", ".read " + Paths.work("work.sql")]),
        Program("jq", ["jq", query, Paths.work("records.json")]),
    ]


# Wall time takes part in fewer rounds than what is held.
WALL_EVERY = 3


def measure_programs(programs, variants, rounds):
    """programs: {name: Program}. Returns the runs whose CPU time is compared, of which
    those of a round shared a processor, and those whose wall time is, which ran one after
    the other. The first know what went wrong in both."""
    def measure(name, variant):
        return programs[name].measure(variant)
    # Apart first: that is when each program's usual output is learnt.
    apart = Measurements().take(programs, variants, max(rounds // WALL_EVERY, 1), measure)
    together = Measurements(apart)
    return together.take_together(programs, variants, rounds, measure), apart


# --- inputs ---

def write_source(path, count):
    with open(path, "w", encoding="utf-8") as source:
        source.write("#include <algorithm>\n#include <map>\n#include <regex>\n"
                     "#include <string>\n#include <vector>\n")
        for i in range(count):
            source.write(
                f"struct s{i} {{ std::map<std::string, std::vector<int>> m; int f(int n) {{\n"
                f"  for (int i = 0; i < n; i++) m[std::to_string(i * {i + 1})].push_back(i);\n"
                "  int t = 0; for (auto &p : m) for (int v : p.second) t += v;\n"
                f"  return t + {i}; }} }};\nint g{i}(int n) {{ s{i} s; return s.f(n); }}\n")
        source.write('bool h(const std::string &s) { return std::regex_match(s, '
                     'std::regex("a(b|c)*d")); }\n')


def write_cpu_inputs():
    write_source(Paths.work("large.cc"), 40)
    with open(Paths.work("numbers"), "w", encoding="utf-8") as numbers:
        generator = random.Random(1)
        for _ in range(400000):
            numbers.write(f"{generator.randrange(10 ** 9)}\n")


def write_heap_inputs():
    generator = random.Random(1)
    write_source(Paths.work("small.cc"), 1)
    subprocess.run([CXX, "-E", "-P", Paths.work("small.cc"), "-o", Paths.work("small.ii")],
                   check=True)
    records = [{"id": i, "name": f"name {generator.randrange(10 ** 6)}",
                "tags": [f"t{generator.randrange(50)}" for _ in range(generator.randrange(6))],
                "at": {"x": generator.random(), "y": generator.random()}}
               for i in range(75000)]
    with open(Paths.work("records.json"), "w", encoding="utf-8") as file:
        json.dump(records, file)
    with open(Paths.work("work.sql"), "w", encoding="utf-8") as file:
        file.write(
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, n INTEGER, note TEXT);\n"
            "INSERT INTO t SELECT value, 'name ' || (value * 7919 % 100003),"
            " value * 31 % 1009, hex(zeroblob(value % 40)) FROM generate_series(1, 700000);\n"
            "CREATE INDEX t_name ON t(name);\n"
            "SELECT n, count(*), sum(length(note)), group_concat(substr(name, 1, 8)) FROM t"
            " GROUP BY n ORDER BY 2 DESC, 1 LIMIT 3;\n"
            "SELECT count(*) FROM t a JOIN t b ON a.name = b.name WHERE a.id < 100000;\n"
            "UPDATE t SET note = upper(name) || note WHERE id % 3 = 0;\n"
            "SELECT sum(length(json_extract(json_object('a', name, 'b', json_array(n, id)),"
            " '$.b'))) FROM t;\n")

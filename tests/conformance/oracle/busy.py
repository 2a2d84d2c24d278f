"""Work of many kinds in two threads, for the seconds given."""
import hashlib
import json
import re
import sys
import threading
import time

END = time.time() + float(sys.argv[1])


def work(count):
    data = {str(i): [i, str(i) * 3, {"k": i / 7}] for i in range(count)}
    text = json.dumps(data, indent=1)
    words = re.findall(r'"(\d+)"\s*:', text)
    words.sort(key=lambda word: hashlib.sha256(word.encode()).hexdigest())
    return len(json.loads(text)) + len(words)


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def loop():
    while time.time() < END:
        work(300)
        fib(15)
        sorted(range(2000), key=lambda x: -x)


other = threading.Thread(target=loop)
other.start()
loop()
other.join()

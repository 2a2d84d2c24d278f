// Work of many kinds, interpreted, compiled and in built-in code, for the seconds given.
const crypto = require('crypto');
const zlib = require('zlib');

const end = Date.now() + 1000 * Number(process.argv[2]);

function fib(n) {
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

class Tree {
	constructor(depth) {
		this.value = Math.random();
		if (depth > 0) {
			this.left = new Tree(depth - 1);
			this.right = new Tree(depth - 1);
		}
	}

	sum() {
		return this.value + (this.left ? this.left.sum() + this.right.sum() : 0);
	}
}

function work() {
	const object = {};
	for (let i = 0; i < 500; i++)
		object['k' + i] = {a: i, b: [i, i * 2], s: 'x'.repeat(i % 17)};
	const text = JSON.stringify(object);
	const numbers = [...text.matchAll(/"k(\d+)"/g)].map((match) => +match[1]);
	numbers.sort((a, b) => b - a);
	return Object.keys(JSON.parse(text)).length + numbers[0] + new Tree(9).sum() + fib(18) +
		crypto.createHash('sha256').update(text).digest('hex').length +
		zlib.gzipSync(text).length;
}

let total = 0;
while (Date.now() < end)
	total += work();
console.log(total > 0);

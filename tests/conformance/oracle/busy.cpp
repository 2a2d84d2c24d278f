// Containers, regular expressions, exceptions and virtual calls in two threads, for
// the seconds given. Also what the compiler is given to compile.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Shape {
	virtual ~Shape() = default;
	virtual double area(int depth) const = 0;
};

struct Square : Shape {
	double side;

	explicit Square(double s) : side(s)
	{
	}

	double area(int depth) const override
	{
		return depth ? area(depth - 1) + side : side * side;
	}
};

static int thrower(int n)
{
	if (n == 0)
		throw std::runtime_error("deep");
	std::string keep(static_cast<size_t>(n), 'x');
	return thrower(n - 1) + static_cast<int>(keep.size());
}

static double work()
{
	std::map<std::string, int> counts;
	for (int i = 0; i < 3000; i++)
		counts["key" + std::to_string(i * 7919 % 1000)]++;
	std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
	std::sort(sorted.begin(), sorted.end(), [](const auto &a, const auto &b) {
		return a.second != b.second ? a.second > b.second : a.first < b.first;
	});
	std::stringstream text;
	for (const auto &pair : sorted)
		text << pair.first << "=" << pair.second << ";";
	const std::regex expression("key([0-9]+)=([0-9]+)");
	const std::string all = text.str().substr(0, 2000);
	int length = 0;
	for (std::sregex_iterator it(all.begin(), all.end(), expression), end; it != end; ++it)
		length += static_cast<int>((*it)[0].length());
	try {
		length += thrower(20);
	} catch (const std::exception &error) {
		length += static_cast<int>(std::string(error.what()).size());
	}
	const std::unique_ptr<Shape> shape(new Square(length));
	return shape->area(200);
}

int main(int argc, char **argv)
{
	const auto end = std::chrono::steady_clock::now() +
			 std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 1);
	const auto loop = [&] {
		volatile double sum = 0;
		while (std::chrono::steady_clock::now() < end)
			sum = sum + work();
	};
	std::thread other(loop);
	loop();
	other.join();
	std::cout << "done\n";
}

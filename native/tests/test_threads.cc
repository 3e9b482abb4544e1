// Teams of all sizes, concurrent and nested: each item is done once, each number belongs to one
// thread at a time, and a list sees what the previous one wrote. Most of it is meant for
// ThreadSanitizer. `test_threads SECONDS` runs for that long.
#include "threads.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "check.h"

#if defined(__SANITIZE_THREAD__)
constexpr bool may_fork = false;  // ThreadSanitizer allows no threads in the child
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool may_fork = false;
#else
constexpr bool may_fork = true;
#endif
#else
constexpr bool may_fork = true;
#endif

namespace {

using mv2::Team;

constexpr int most = 64;
const int counts[] = {0, 1, 2, 3, 7, 64, 1000};

std::atomic<int> wrong{0};  // CHECK is for one thread

void want(bool condition) {
    if (!condition) wrong++;
}

// `lists` lists, each of which reads what other items of the previous one wrote. The numbers aren't
// atomic, so that the sanitizer sees threads that aren't synchronized.
void compute(Team& team, int count, int lists) {
    std::vector<int> values[2], of_thread(most);
    for (auto& v : values) v.resize(static_cast<size_t>(count));
    std::vector<std::atomic<bool>> busy(most);
    for (int list = 0; list < lists; list++) {
        const std::vector<int>& from = values[list % 2];
        std::vector<int>& to = values[1 - list % 2];
        team.each(count, [&](int item, int thread) {
            want(item >= 0 && item < count && thread >= 0 && thread < team.size());
            want(!busy[thread].exchange(true, std::memory_order_relaxed));
            want(from[count - 1 - item] == list);
            to[item] = list + 1;
            of_thread[thread]++;
            busy[thread].store(false, std::memory_order_relaxed);
        });
    }
    int all = 0;
    for (int times : of_thread) all += times;
    want(all == count * lists);
}

// Counts how often each item is done.
void count_items(Team& team, int count, int lists) {
    std::vector<int> done(static_cast<size_t>(count));
    for (int list = 0; list < lists; list++) team.each(count, [&](int item, int) { done[item]++; });
    for (int times : done) want(times == lists);
}

void every_item_is_done_once() {
    for (int size : {-1, 0, 1, 2, 3, 8, most, 1000}) {
        Team team(size);
        CHECK(team.size() >= 1 && team.size() <= (size < 1 ? 1 : size < most ? size : most));
        for (int count : counts) {
            count_items(team, count, 20);
            compute(team, count, 5);
        }
    }
    Team team(2);
    team.each(-5, [](int, int) { want(false); });
    count_items(team, (1 << 20) + 5, 1);  // longer than a list can be
}

void teams_fall_asleep_and_wake() {
    Team team(3);
    for (int i = 0; i < 20; i++) {
        count_items(team, 50, 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(i % 5));
        team.each(6, [](int item, int) {  // the leader sleeps until the others are done
            if (item) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
    }
}

void a_team_works_inside_an_item_of_another() {
    Team outer(3);
    std::atomic<int> done{0};
    outer.each(8, [&](int, int) {
        Team inner(2);
        inner.each(10, [&](int, int) {
            Team innermost(4);
            innermost.each(3, [&](int, int) { done++; });
        });
    });
    CHECK(done == 8 * 10 * 3);
}

void what_an_item_throws_comes_out_and_the_team_goes_on() {
    for (int size : {1, 2, 5}) {
        Team team(size);
        for (int at : {0, 1, 99}) {
            bool thrown = false;
            try {
                team.each(100, [&](int item, int) {
                    if (item == at) throw std::runtime_error("item " + std::to_string(item));
                });
            } catch (const std::runtime_error& error) {
                thrown = error.what() == "item " + std::to_string(at);
            }
            CHECK(thrown);
            int threw = 0;
            try {
                team.each(50, [](int, int) { throw 5; });  // all of them
            } catch (int number) {
                threw = number;
            }
            CHECK(threw == 5);
            count_items(team, 100, 3);
        }
    }
}

// Threads that each create team after team.
void stress(double seconds, unsigned threads) {
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
    std::vector<std::thread> all;
    for (unsigned seed = 0; seed < threads; seed++)
        all.emplace_back([seed, end] {
            std::mt19937 random(seed);
            const auto below = [&](int n) {
                return static_cast<int>(random() % static_cast<unsigned>(n));
            };
            while (std::chrono::steady_clock::now() < end) {
                Team team(1 + below(below(4) ? 5 : most));
                const int count = counts[below(7)];
                if (below(2))
                    compute(team, count, 1 + below(20));
                else
                    count_items(team, count, 1 + below(20));
                if (below(8) == 0)
                    std::this_thread::sleep_for(std::chrono::microseconds(below(500)));
            }
        });
    for (std::thread& thread : all) thread.join();
}

#if !defined(_WIN32)
void a_child_has_threads_of_its_own() {
    if (!may_fork) return;
    std::atomic<bool> over{false};
    std::atomic<int> at_work{0};
    std::vector<std::thread> others;
    // They allocate no memory: AddressSanitizer's allocator stays locked in a child whose parent
    // was in it, and a new thread there would wait for it forever.
    for (int i = 0; i < 2; i++)
        others.emplace_back([&] {
            std::atomic<int> items{0};
            for (int teams = 0; !over; teams++) {
                Team team(3);
                for (int list = 0; list < 5; list++) team.each(100, [&](int, int) { items++; });
                if (teams == 0) at_work++;
            }
        });
    while (at_work < 2) std::this_thread::yield();
    for (int i = 0; i < 30; i++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);  // ends a child that hangs
            Team team(3);
            std::atomic<int> by_others{0};
            for (int tries = 0; tries < 1000 && !by_others; tries++)
                team.each(4, [&](int, int thread) {
                    by_others += thread != 0;
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                });
            count_items(team, 1000, 20);
            a_team_works_inside_an_item_of_another();
            if (i % 5 == 0 && fork() == 0) {
                alarm(60);
                Team grandchild(2);
                count_items(grandchild, 100, 5);
                _exit(wrong ? 1 : 0);
            }
            int status = 0;
            if (i % 5 == 0) wait(&status);
            _exit(wrong || status || !by_others ? 1 : 0);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    over = true;
    for (std::thread& thread : others) thread.join();
}
#endif

}  // namespace

int main(int count, char** arguments) {
    CHECK(mv2::processors() >= 1);
    every_item_is_done_once();
    teams_fall_asleep_and_wake();
    a_team_works_inside_an_item_of_another();
    what_an_item_throws_comes_out_and_the_team_goes_on();
#if !defined(_WIN32)
    a_child_has_threads_of_its_own();
#endif
    stress(count > 1 ? std::atof(arguments[1]) : 1, 6);
    CHECK(wrong == 0);
    return failures();
}

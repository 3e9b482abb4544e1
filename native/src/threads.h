// The process's threads, shared by all models, and `Team`, those that one call has.
//
// Built for machines that are busy: nobody waits for a thread that has not begun. A call starts at
// once, alone; others join when they wake, each takes items from its own end of the list, and who
// has none takes half of another's. Waiting is spinning for microseconds, then sleeping.
#pragma once

#include <cstdint>

namespace mv2 {

// How many processors this process may use.
int processors();

struct TeamState;

class Team {
 public:
    // Up to `wanted` threads with the caller; fewer where the others are in other teams.
    explicit Team(int wanted);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Threads that may take items; their numbers are below this, the caller's is 0.
    int size() const { return size_; }

    // Calls f(item, thread) for all items of 0 to count, in any order and at the same time; returns
    // when all are done. Neighboring items mostly go to one thread, in order. What `f` throws
    // first is thrown here, when no item is in work any more; some items may then never have begun.
    template <class F>
    void each(int count, F&& f) {
        run(
            count,
            [](void* context, int item, int thread) { (*static_cast<F*>(context))(item, thread); },
            &f);
    }

 private:
    using Function = void (*)(void* context, int item, int thread);
    void run(int count, Function function, void* context);

    TeamState* state_ = nullptr;
    int size_ = 1;
};

}  // namespace mv2
